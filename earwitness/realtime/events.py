"""Server events of the OpenAI Realtime protocol, in GA form; ``encode`` puts one in the client's dialect.

https://platform.openai.com/docs/api-reference/realtime-server-events. Times are milliseconds of input sound since the
session began; sound is base64 in the session's output format.
"""

from __future__ import annotations

import json
from typing import Any

from earwitness.realtime import beta

Event = dict[str, Any]
THINKING = ("response.thinking.delta", "response.thinking.done")
"""The opt-in extension: a chain as text, with item_id and content_index, never voiced."""


def encode(event: Event, dialect: str, event_id: str) -> str | None:
    """Return the JSON text of an event in a dialect, or None where that dialect has no such event."""
    spoken = beta.event_to_beta(event) if dialect == "beta" else event
    return None if spoken is None else json.dumps({"event_id": event_id, **spoken})


def session_event(word: str, session: Event) -> Event:
    """Return ``session.created`` or ``session.updated``."""
    return {"type": f"session.{word}", "session": session}


def conversation_created(conversation_id: str) -> Event:
    """Return ``conversation.created``."""
    return {
        "type": "conversation.created",
        "conversation": {"id": conversation_id, "object": "realtime.conversation"},
    }


def item_event(word: str, item: Event, previous: str | None = None) -> Event:
    """Return ``conversation.item.added``, ``.done`` or ``.retrieved``."""
    event = {"type": f"conversation.item.{word}", "item": item}
    return event if word == "retrieved" else {**event, "previous_item_id": previous}


def item_deleted(item_id: str) -> Event:
    """Return ``conversation.item.deleted``."""
    return {"type": "conversation.item.deleted", "item_id": item_id}


def item_truncated(item_id: str, audio_end_ms: int) -> Event:
    """Return ``conversation.item.truncated``; the client's own, or the server's guess when speech cut an answer."""
    place = {"item_id": item_id, "content_index": 0, "audio_end_ms": audio_end_ms}
    return {"type": "conversation.item.truncated", **place}


def transcription(word: str, item_id: str, value: str, seconds: float = 0.0) -> Event:
    """Return ``conversation.item.input_audio_transcription.`` with ``delta``, ``completed`` or ``failed``."""
    event: Event = {"item_id": item_id, "content_index": 0}
    if word == "delta":
        event["delta"] = value
    elif word == "completed":
        event |= {"transcript": value, "usage": {"type": "duration", "seconds": seconds}}
    else:
        event["error"] = {"type": "transcription_error", "code": "transcription_failed", "message": value}
    return {"type": f"conversation.item.input_audio_transcription.{word}", **event}


def speech_started(item_id: str, audio_start_ms: int) -> Event:
    """Return ``input_audio_buffer.speech_started``; the time includes the prefix padding."""
    return {"type": "input_audio_buffer.speech_started", "item_id": item_id, "audio_start_ms": audio_start_ms}


def speech_stopped(item_id: str, audio_end_ms: int) -> Event:
    """Return ``input_audio_buffer.speech_stopped``; the time includes the silence that ended the turn."""
    return {"type": "input_audio_buffer.speech_stopped", "item_id": item_id, "audio_end_ms": audio_end_ms}


def timeout_triggered(item_id: str, audio_start_ms: int, audio_end_ms: int) -> Event:
    """Return ``input_audio_buffer.timeout_triggered`` (GA only)."""
    times = {"audio_start_ms": audio_start_ms, "audio_end_ms": audio_end_ms}
    return {"type": "input_audio_buffer.timeout_triggered", "item_id": item_id, **times}


def committed(item_id: str, previous: str | None) -> Event:
    """Return ``input_audio_buffer.committed``."""
    return {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": previous}


def cleared() -> Event:
    """Return ``input_audio_buffer.cleared``."""
    return {"type": "input_audio_buffer.cleared"}


def response_event(word: str, response: Event) -> Event:
    """Return ``response.created`` or ``response.done``."""
    return {"type": f"response.{word}", "response": response}


def output_item(word: str, response_id: str, index: int, item: Event) -> Event:
    """Return ``response.output_item.added`` or ``.done``."""
    return {"type": f"response.output_item.{word}", "response_id": response_id, "output_index": index, "item": item}


class Part:
    """Names the one content part of a message being answered, for the events that fill it."""

    def __init__(self, response_id: str, item_id: str, index: int, spoken: bool) -> None:
        self.where: dict[str, Any] = {
            "response_id": response_id,
            "item_id": item_id,
            "output_index": index,
            "content_index": 0,
        }
        self.spoken = spoken
        """Sound with its transcript, or text."""

    def bounds(self, word: str, text: str = "") -> Event:
        """Return ``response.content_part.added`` or ``.done``; the type of the part is ``audio`` or ``text``."""
        part = {"type": "audio", "transcript": text} if self.spoken else {"type": "text", "text": text}
        return {"type": f"response.content_part.{word}", **self.where, "part": part}

    def text_delta(self, delta: str) -> Event:
        """Return a piece of the text, or of the transcript where the part is spoken."""
        kind = "output_audio_transcript" if self.spoken else "output_text"
        return {"type": f"response.{kind}.delta", **self.where, "delta": delta}

    def text_done(self, text: str) -> Event:
        """Return the end of the text or transcript."""
        kind, name = ("output_audio_transcript", "transcript") if self.spoken else ("output_text", "text")
        return {"type": f"response.{kind}.done", **self.where, name: text}

    def audio_delta(self, sound: str) -> Event:
        """Return a piece of sound, base64."""
        return {"type": "response.output_audio.delta", **self.where, "delta": sound}

    def audio_done(self) -> Event:
        """Return the end of the sound."""
        return {"type": "response.output_audio.done", **self.where}

    def thinking(self, word: str, text: str) -> Event:
        """Return ``response.thinking.delta`` or ``.done``, the extension that a session opts in to."""
        return {"type": f"response.thinking.{word}", **self.where, "delta" if word == "delta" else "text": text}


def arguments(word: str, response_id: str, index: int, item: Event) -> Event:
    """Return ``response.function_call_arguments.delta`` or ``.done`` with all arguments of a call."""
    event = {"response_id": response_id, "item_id": item["id"], "output_index": index, "call_id": item["call_id"]}
    if word == "delta":
        return {"type": "response.function_call_arguments.delta", **event, "delta": item["arguments"]}
    done = {**event, "name": item["name"], "arguments": item["arguments"]}
    return {"type": "response.function_call_arguments.done", **done}


def rate_limits(limits: list[Event]) -> Event:
    """Return ``rate_limits.updated``; an entry has name, limit, remaining and reset_seconds."""
    return {"type": "rate_limits.updated", "rate_limits": limits}
