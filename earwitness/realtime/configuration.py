"""The configuration of a session as the protocol's ``session`` object in GA form, and how updates change it."""

from __future__ import annotations

import copy
from typing import Any

SILENCE_MS = 320
"""Silence that ends a turn where the client names none; OpenAI's own default is 500."""
_SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": SILENCE_MS,
    "create_response": True,
    "interrupt_response": True,
    "idle_timeout_ms": None,
}
_SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
_PCM = {"type": "audio/pcm", "rate": 24000}
# Accepted because stock clients send them; they have no effect here, so the effective configuration does not show them.
_WITHOUT_EFFECT = ("include", "tracing", "truncation", "parallel_tool_calls", "prompt")


def default_session(session_id: str, model: str, instructions: str = "", voice: str = "default") -> dict[str, Any]:
    """Return the configuration that a session begins with."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "instructions": instructions,
        "output_modalities": ["audio"],
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "thinking_events": False,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_SERVER_VAD),
            },
            "output": {"format": dict(_PCM), "voice": voice, "speed": 1.0},
        },
    }


def updated(session: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """Return the effective configuration after a checked ``session.update``; only the fields that it has change.

    ``model`` stays what the server serves. Noise reduction is never applied, and shown so.
    """
    new = copy.deepcopy(session)
    for name, value in update.items():
        if name not in ("audio", "model", *_WITHOUT_EFFECT):
            new[name] = copy.deepcopy(value)
    audio = copy.deepcopy(update.get("audio", {}))
    new["audio"]["output"] |= audio.get("output", {})
    new["audio"]["input"] |= audio.get("input", {})
    sound = new["audio"]["input"]
    sound["noise_reduction"] = None
    turns = sound["turn_detection"]
    if turns:
        sound["turn_detection"] = {**(_SEMANTIC_VAD if turns["type"] == "semantic_vad" else _SERVER_VAD), **turns}
    for place in ("input", "output"):
        if new["audio"][place]["format"]["type"] == "audio/pcm":
            new["audio"][place]["format"]["rate"] = 24000
        else:
            new["audio"][place]["format"].pop("rate", None)
    return new
