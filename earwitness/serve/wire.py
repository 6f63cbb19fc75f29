"""The body of ``POST /v1/chat/completions`` -> ``Ask``; everything in it is checked, nothing is loaded."""

from __future__ import annotations

import difflib
import json
import math
import secrets
from dataclasses import dataclass
from typing import Any

from earwitness import prompt
from earwitness.engines import Sampling
from earwitness.serve.errors import ApiError, wrong
from earwitness.serve.settings import Settings
from earwitness.serve.turns import check_text, read_messages, read_tools

_UNDERSTOOD = {
    *("model", "messages", "temperature", "top_p", "top_k", "repetition_penalty", "max_tokens", "seed", "stop", "n"),
    *("max_completion_tokens", "stop_token_ids", "stream", "stream_options", "logprobs", "tools", "tool_choice"),
    *("think", "think_budget", "reasoning_effort", "continue_final_message", "add_generation_prompt"),
    "skip_special_tokens",
}
# Accepted without effect: they change nothing about the answer.
_WITHOUT_EFFECT = {
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention",),
}
# Not supported, so only their neutral value is accepted.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "top_logprobs": (0,),
    "audio": (),
    "functions": ([],),
    "function_call": ("none",),
    "verbosity": ("medium",),
    "prediction": (),
    "web_search_options": (),
}
_KNOWN = _UNDERSTOOD | _WITHOUT_EFFECT | set(_NEUTRAL)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_MOST_STOPS = 16


@dataclass
class Ask:
    """A chat completion that was asked for."""

    messages: list[prompt.Message]
    """Audio parts hold a ``turns.Clip`` until ``audio_parts.load_clips`` puts the waveform there."""
    sampling: Sampling
    seed: int
    think: bool | None
    continue_final: bool
    tools: list[dict[str, Any]] | None
    choices: int
    stream: bool
    include_usage: bool
    separate: bool
    """Reasoning apart from the answer; False sends the model's text with its tags, as a client that prefills wants."""


def read_json(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; ``ApiError`` for anything else."""
    try:
        body = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120] or "nested too deeply"
        raise ApiError(400, f"the body is not JSON ({reason}); send one JSON object in UTF-8") from None
    if not isinstance(body, dict):
        raise ApiError(400, f"the body is a JSON {type(body).__name__}; send one JSON object")
    return body


def read_ask(body: dict[str, Any], settings: Settings) -> Ask:
    """Return what a body asks for; ``ApiError`` names the first field that is wrong."""
    _check_names(body)
    model = body.get("model")
    if not isinstance(model, str):
        raise wrong("model", f"name the model, {settings.name!r}")
    if model != settings.name:
        message = f"model: there is no model {model[:80]!r} here; use {settings.name!r}, see /v1/models"
        raise ApiError(404, message, "model", "model_not_found")
    tools = read_tools(body.get("tools"))
    choice = body.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise wrong("tool_choice", "only 'auto' and 'none' are supported", "unsupported")
    stream = _boolean(body, "stream", False)
    continue_final = _boolean(body, "continue_final_message", False)
    if continue_final and _boolean(body, "add_generation_prompt", False):
        raise wrong("add_generation_prompt", "it must be false where continue_final_message is true")
    messages = read_messages(body.get("messages"), continue_final)
    budget = _integer(body, "think_budget", None, 0)
    think = _prefilled(messages) if continue_final else _think(body)
    seed = _integer(body, "seed", None, -(2**63), 2**64 - 1)
    return Ask(
        messages=messages,
        sampling=_sampling(body, budget),
        seed=secrets.randbits(63) if seed is None else seed,
        think=think,
        continue_final=continue_final,
        tools=None if choice == "none" else tools,
        choices=_integer(body, "n", 1, 1, settings.max_choices) or 1,
        stream=stream,
        include_usage=_include_usage(body, stream),
        separate=_boolean(body, "skip_special_tokens", True),
    )


def _check_names(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name not in _KNOWN:
            near = difflib.get_close_matches(name[:60], _KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise ApiError(400, f"unknown field {name[:60]!r}; {hint}", name[:60], "unknown_parameter")
        if name in _NEUTRAL and value is not None and not (value in _NEUTRAL[name] and not isinstance(value, bool)):
            raise wrong(name, "this is not supported here; leave it out", "unsupported")


def _sampling(body: dict[str, Any], budget: int | None) -> Sampling:
    most = _integer(body, "max_completion_tokens", None, 1) or _integer(body, "max_tokens", None, 1)
    default = Sampling()
    ids = body.get("stop_token_ids") or []
    if not isinstance(ids, list) or any(isinstance(i, bool) or not isinstance(i, int) for i in ids):
        raise wrong("stop_token_ids", "give a list of token ids")
    return Sampling(
        temperature=_number(body, "temperature", 0.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 1e-9, 1),
        top_k=_integer(body, "top_k", 0, 0, 1 << 30) or 0,
        repetition_penalty=_number(body, "repetition_penalty", 1.0, 0.01, 100),
        max_new_tokens=most or default.max_new_tokens,
        think_budget=budget,
        stop=_stops(body.get("stop")),
        stop_ids=tuple(ids[:1024]),
        logprobs=_boolean(body, "logprobs", False),
    )


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or len(stops) > _MOST_STOPS:
        raise wrong("stop", f"give a string or a list of at most {_MOST_STOPS} strings")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= 256:
            raise wrong("stop", "every stop string must have 1 to 256 characters")
        check_text(stop, "stop")
    return tuple(stops)


def _think(body: dict[str, Any]) -> bool | None:
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise wrong("reasoning_effort", f"use one of {', '.join(_EFFORTS)}")
    return _boolean(body, "think", effort != "none")


def _prefilled(messages: list[prompt.Message]) -> bool | None:
    """Return how a prefilled turn stands: True in an open chain, False after a closed one, None without any."""
    text = str(messages[-1]["content"] or "")
    if prompt.END_THINK in text:
        return False
    return True if text.lstrip().startswith(prompt.THINK) else None


def _include_usage(body: dict[str, Any], stream: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict) or not set(options) <= {"include_usage", "include_obfuscation"}:
        raise wrong("stream_options", 'give {"include_usage": true}')
    if not stream:
        raise wrong("stream_options", "it needs stream: true")
    return _boolean(options, "include_usage", False)


def _number(body: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise wrong(name, f"it must be a number from {low:g} to {high:g}")
    return float(value)


def _integer(body: dict[str, Any], name: str, default: int | None, low: int, high: float = math.inf) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(name, f"it must be a whole number, {low} or more" + ("" if high == math.inf else f", to {high}"))
    return min(value, 2**64 - 1)


def _boolean(body: dict[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong(name, "it must be true or false")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
