"""The beta dialect of the OpenAI Realtime protocol: its names to and from those of the GA dialect."""

from __future__ import annotations

from typing import Any

FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
"""Audio formats: the beta word and GA's."""
_BETA_FORMATS = {ga: word for word, ga in FORMATS.items()}
_RENAMED = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
_GA_ONLY = ("conversation.item.done", "input_audio_buffer.timeout_triggered")
_PARTS = {"output_text": "text", "output_audio": "audio"}
_GA_PARTS = {word: ga for ga, word in _PARTS.items()}
_WORDS = ("auto", "none", "required")


def ga_format(word: str) -> dict[str, Any]:
    """Return GA's format object for a word of the beta dialect."""
    return {"type": FORMATS[word], **({"rate": 24000} if word == "pcm16" else {})}


def event_from_beta(event: dict[str, Any]) -> dict[str, Any]:
    """Return a checked client event of the beta dialect in GA form."""
    event = dict(event)
    if "session" in event:
        event["session"] = _session_from_beta(event["session"])
    if event.get("response"):
        event["response"] = _response_from_beta(event["response"])
    if "item" in event:
        event["item"] = _item(event["item"], _GA_PARTS)
    return event


def event_to_beta(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return a server event of the GA dialect in beta form, or None where beta has no such event."""
    kind = event["type"]
    if kind in _GA_ONLY:
        return None
    event = {**event, "type": _RENAMED.get(kind, kind)}
    if "session" in event:
        event["session"] = _session_to_beta(event["session"])
    if "response" in event:
        event["response"] = _response_to_beta(event["response"])
    if "item" in event:
        event["item"] = _item(event["item"], _PARTS)
    if kind == "response.function_call_arguments.done":
        event.pop("name", None)
    return event


def _item(item: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    if "content" not in item:
        return item
    return {**item, "content": [{**part, "type": names.get(part["type"], part["type"])} for part in item["content"]]}


def _choice_from_beta(word: str) -> Any:
    return word if word in _WORDS else {"type": "function", "name": word}


def _choice_to_beta(choice: Any) -> str:
    return choice if isinstance(choice, str) else choice["name"]


def _set(target: dict[str, Any], *path: str, value: Any) -> None:
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value


_SAME = ("model", "instructions", "tools", "temperature", "thinking_events", "conversation", "metadata")
_MOVED = {
    "max_response_output_tokens": ("max_output_tokens",),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
}


def _common_from_beta(fields: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {name: fields[name] for name in _SAME if name in fields}
    for name, path in _MOVED.items():
        if name in fields:
            _set(out, *path, value=fields[name])
    for name, place in (("input_audio_format", "input"), ("output_audio_format", "output")):
        if name in fields:
            _set(out, "audio", place, "format", value=ga_format(fields[name]))
    if "modalities" in fields:
        out["output_modalities"] = ["audio"] if "audio" in fields["modalities"] else ["text"]
    if "tool_choice" in fields:
        out["tool_choice"] = _choice_from_beta(fields["tool_choice"])
    return out


def _session_from_beta(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "realtime", **_common_from_beta(fields)}


def _response_from_beta(fields: dict[str, Any]) -> dict[str, Any]:
    out = _common_from_beta(fields)
    if "input" in fields:
        out["input"] = [_item(item, _GA_PARTS) for item in fields["input"]]
    return out


def _modalities(ga: list[str]) -> list[str]:
    return ["audio", "text"] if "audio" in ga else ["text"]


def _voice(voice: Any) -> Any:
    return voice["id"] if isinstance(voice, dict) else voice


def _session_to_beta(session: dict[str, Any]) -> dict[str, Any]:
    sound_in, sound_out = session["audio"]["input"], session["audio"]["output"]
    turns = sound_in["turn_detection"]
    return {
        **{name: session[name] for name in ("id", "object", *_SAME) if name in session},
        "modalities": _modalities(session["output_modalities"]),
        "voice": _voice(sound_out["voice"]),
        "speed": sound_out["speed"],
        "input_audio_format": _BETA_FORMATS[sound_in["format"]["type"]],
        "output_audio_format": _BETA_FORMATS[sound_out["format"]["type"]],
        "input_audio_transcription": sound_in["transcription"],
        "input_audio_noise_reduction": sound_in["noise_reduction"],
        "turn_detection": turns and {name: value for name, value in turns.items() if name != "idle_timeout_ms"},
        "tool_choice": _choice_to_beta(session["tool_choice"]),
        "max_response_output_tokens": session["max_output_tokens"],
    }


def _response_to_beta(response: dict[str, Any]) -> dict[str, Any]:
    same = ("id", "object", "status", "status_details", "usage", "conversation_id", "metadata")
    out = {name: response[name] for name in same if name in response}
    sound = response["audio"]["output"]
    return {
        **out,
        "output": [_item(item, _PARTS) for item in response["output"]],
        "modalities": _modalities(response["output_modalities"]),
        "max_output_tokens": response["max_output_tokens"],
        "voice": _voice(sound["voice"]),
        "output_audio_format": _BETA_FORMATS[sound["format"]["type"]],
    }
