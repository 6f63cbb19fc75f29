"""Client events of the OpenAI Realtime protocol, in its GA and its beta dialect, parsed into one form: GA's.

https://platform.openai.com/docs/api-reference/realtime-client-events. Everything behind ``parse`` speaks GA;
``beta.event_to_beta`` translates what is sent. Opt-in extension of both: ``session.thinking_events`` (boolean) adds
``response.thinking.delta`` and ``response.thinking.done``.
"""

from __future__ import annotations

import json
from typing import Any

from earwitness.realtime import beta
from earwitness.realtime.shapes import (
    Check,
    Refusal,
    anything,
    either,
    flag,
    kinds,
    many,
    mapping,
    number,
    one_of,
    optional,
    pairs,
    record,
    refused,
    text,
)

APPEND_LIMIT = 15 * 2**20
"""Bytes of sound in one ``input_audio_buffer.append``, after base64 decoding: 15 MiB, as in the protocol."""
EVENT_LIMIT = APPEND_LIMIT * 4 // 3 + 4096
"""Characters of one client event."""

_ID = text(64, 1)
_SOUND = text(APPEND_LIMIT * 4 // 3 + 4)
_MODALITIES = many(one_of("text", "audio"), 2, 1)
_FORMAT = kinds(
    {
        "audio/pcm": record({"type": anything, "rate": one_of(24000)}),
        "audio/pcmu": record({"type": anything, "rate": one_of(8000)}),
        "audio/pcma": record({"type": anything, "rate": one_of(8000)}),
    }
)
_BETA_FORMAT = one_of(*beta.FORMATS)
_VOICE = either(text(64, 1), record({"id": text(64, 1)}, ("id",)), str)
_MOST_TOKENS = either(one_of("inf"), number(1, 4096, whole=True), str)
_TOOL = {"type": anything, "name": text(64, 1), "description": text(), "parameters": optional(mapping)}
_TOOLS = many(kinds({"function": record(_TOOL, ("name",))}), 128)
_CHOICE = one_of("auto", "none", "required")
_TOOL_CHOICE = either(_CHOICE, record({"type": one_of("function"), "name": text(64, 1)}, ("type", "name")), str)
_TRANSCRIPTION = optional(
    record({"model": text(128), "language": text(16), "prompt": text(4096), "delay": anything, "keywords": anything})
)
_NOISE = optional(record({"type": one_of("near_field", "far_field"), "strength": number(0, 1)}))
_SERVER_VAD: dict[str, Check] = {
    "type": anything,
    "threshold": number(0, 1),
    "prefix_padding_ms": number(0, 5000, whole=True),
    "silence_duration_ms": number(32, 10_000, whole=True),
    "create_response": flag,
    "interrupt_response": flag,
}
_SEMANTIC_VAD: dict[str, Check] = {
    "type": anything,
    "eagerness": one_of("low", "medium", "high", "auto"),
    "create_response": flag,
    "interrupt_response": flag,
}
_EFFORT = record({"effort": one_of("minimal", "low", "medium", "high", "xhigh")})
_SESSION = record(
    {
        "type": one_of("realtime"),
        "model": text(256),
        "instructions": text(),
        "output_modalities": many(one_of("text", "audio"), 1, 1),
        "tools": _TOOLS,
        "tool_choice": _TOOL_CHOICE,
        "max_output_tokens": _MOST_TOKENS,
        "reasoning": _EFFORT,
        "thinking_events": flag,
        "include": anything,
        "tracing": anything,
        "truncation": anything,
        "parallel_tool_calls": anything,
        "prompt": refused("send the instructions themselves"),
        "audio": record(
            {
                "input": record(
                    {
                        "format": _FORMAT,
                        "transcription": _TRANSCRIPTION,
                        "noise_reduction": _NOISE,
                        "turn_detection": optional(
                            kinds(
                                {
                                    "server_vad": record(
                                        {**_SERVER_VAD, "idle_timeout_ms": optional(number(1000, 600_000, whole=True))}
                                    ),
                                    "semantic_vad": record(_SEMANTIC_VAD),
                                }
                            )
                        ),
                    }
                ),
                "output": record({"format": _FORMAT, "voice": _VOICE, "speed": number(0.25, 1.5)}),
            }
        ),
    },
    ("type",),
)
_BETA_SESSION = record(
    {
        "model": text(256),
        "instructions": text(),
        "modalities": _MODALITIES,
        "tools": _TOOLS,
        "tool_choice": text(64, 1),
        "max_response_output_tokens": _MOST_TOKENS,
        "temperature": number(0, 2),
        "thinking_events": flag,
        "tracing": anything,
        "client_secret": anything,
        "voice": text(64, 1),
        "speed": number(0.25, 1.5),
        "input_audio_format": _BETA_FORMAT,
        "output_audio_format": _BETA_FORMAT,
        "input_audio_transcription": _TRANSCRIPTION,
        "input_audio_noise_reduction": _NOISE,
        "turn_detection": optional(kinds({"server_vad": record(_SERVER_VAD), "semantic_vad": record(_SEMANTIC_VAD)})),
    }
)


def _items(answer_text: str, reference: bool) -> Check:
    """Return the check of a conversation item; ``answer_text`` is the dialect's type of an assistant's text part."""
    own: dict[str, Check] = {"id": _ID, "object": one_of("realtime.item"), "type": anything}
    own["status"] = one_of("completed", "incomplete", "in_progress")
    said = record({"type": one_of("input_text"), "text": text()}, ("type", "text"))
    heard = {
        "input_text": said,
        "input_audio": record({"type": anything, "audio": _SOUND, "transcript": optional(text())}, ("audio",)),
    }
    answer = kinds({answer_text: record({"type": anything, "text": text()}, ("text",))})
    roles = {"system": said, "user": kinds(heard), "assistant": answer}
    shapes = {
        "message": kinds(
            {r: record({**own, "role": anything, "content": many(c, 64, 1)}, ("content",)) for r, c in roles.items()},
            "role",
        ),
        "function_call": record(
            {**own, "name": text(64, 1), "arguments": text(), "call_id": _ID}, ("name", "arguments")
        ),
        "function_call_output": record({**own, "call_id": _ID, "output": text()}, ("call_id", "output")),
    }
    if reference:
        shapes["item_reference"] = record({"type": anything, "id": _ID}, ("id",))
    return kinds(shapes)


def _response(dialect: str) -> Check:
    fields: dict[str, Check] = {
        "conversation": one_of("auto", "none"),
        "input": many(_items("text" if dialect == "beta" else "output_text", reference=True), 256),
        "instructions": text(),
        "metadata": optional(pairs(16, 64, 512)),
        "tools": _TOOLS,
    }
    if dialect == "beta":
        fields |= {"modalities": _MODALITIES, "tool_choice": text(64, 1), "voice": text(64, 1)}
        fields |= {"max_response_output_tokens": _MOST_TOKENS, "temperature": number(0, 2)}
        return record({**fields, "output_audio_format": _BETA_FORMAT})
    fields |= {"output_modalities": many(one_of("text", "audio"), 1, 1), "tool_choice": _TOOL_CHOICE}
    fields |= {"max_output_tokens": _MOST_TOKENS, "reasoning": _EFFORT, "parallel_tool_calls": anything}
    fields["prompt"] = refused("send the instructions themselves")
    fields["audio"] = record({"output": record({"format": _FORMAT, "voice": _VOICE})})
    return record(fields)


def _events(dialect: str) -> Check:
    item = _items("text" if dialect == "beta" else "output_text", reference=False)
    session = _BETA_SESSION if dialect == "beta" else _SESSION
    place = number(0, 2**31 - 1, whole=True)
    shapes: dict[str, tuple[dict[str, Check], tuple[str, ...]]] = {
        "session.update": ({"session": session}, ("session",)),
        "input_audio_buffer.append": ({"audio": _SOUND}, ("audio",)),
        "input_audio_buffer.commit": ({}, ()),
        "input_audio_buffer.clear": ({}, ()),
        "conversation.item.create": ({"item": item, "previous_item_id": optional(_ID)}, ("item",)),
        "conversation.item.retrieve": ({"item_id": _ID}, ("item_id",)),
        "conversation.item.delete": ({"item_id": _ID}, ("item_id",)),
        "conversation.item.truncate": (
            {"item_id": _ID, "content_index": place, "audio_end_ms": place},
            ("item_id", "content_index", "audio_end_ms"),
        ),
        "response.create": ({"response": optional(_response(dialect))}, ()),
        "response.cancel": ({"response_id": optional(_ID)}, ()),
    }
    own: dict[str, Check] = {"type": anything, "event_id": optional(text(512))}
    return kinds({name: record({**own, **fields}, required) for name, (fields, required) in shapes.items()})


_CHECKS = {dialect: _events(dialect) for dialect in ("ga", "beta")}


def dialect_of(beta_header: str | None, subprotocols: list[str] | tuple[str, ...] = ()) -> str:
    """Return ``beta`` where the client asks for it by the header ``OpenAI-Beta`` or a subprotocol, else ``ga``."""
    asked = {part.strip() for part in (beta_header or "").split(",")}
    return "beta" if "realtime=v1" in asked or "openai-beta.realtime-v1" in subprotocols else "ga"


def _no_constant(word: str) -> Any:
    raise ValueError(word)


def parse(message: str | bytes, dialect: str = "ga") -> dict[str, Any]:
    """Return one client event in GA form.

    Raises:
        Refusal: names the field, in the client's own dialect, and carries the client's ``event_id`` where it has one.
    """
    if len(message) > EVENT_LIMIT:
        raise Refusal(f"the event has {len(message)} characters; send at most {EVENT_LIMIT}", "event_too_large")
    try:
        event = json.loads(message, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal("the message is not a JSON object; send one event in each message", "invalid_json") from None
    if not isinstance(event, dict):
        raise Refusal("the message is not a JSON object; send one event in each message", "invalid_json")
    event_id = event.get("event_id")
    try:
        event = _CHECKS[dialect](event, "")
    except Refusal as refusal:
        refusal.event_id = event_id if isinstance(event_id, str) and len(event_id) <= 512 else None
        raise
    return beta.event_from_beta(event) if dialect == "beta" else event
