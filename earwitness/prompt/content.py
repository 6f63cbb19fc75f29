"""What a conversation holds: questions, user turns, and the clips in them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from earwitness.records import Sample

TASKS = {
    "transcribe": "Transcribe the speech.",
    "caption": "Describe the sound.",
    "describe": "Describe everything that can be heard: voices, music, events, their order and how they sound.",
}
"""Questions behind ``ask --task``; the small model was trained on the first two."""

AUDIO_PARTS = ("audio", "input_audio", "audio_url")

Message = dict[str, Any]


def question_text(question: str, choices: Sequence[str] = ()) -> str:
    """Return a question with its choices as the ``tiny`` preset was trained to read them."""
    return f"{question}\nOptions: {', '.join(choices)}." if choices else question


def report_choices(question: str, choices: Sequence[str]) -> str:
    """Return a multiple-choice question in the words that Step-Audio-R1's published examples use."""
    options = "".join(f"{chr(ord('A') + i)}. {choice}\n" for i, choice in enumerate(choices))
    ask = "Please choose the answer from the following options, do not provide any additional explanations or content: "
    return f"{question}\n{ask}\n{options}"


def user_message(text: str, clips: Iterable[Any] = ()) -> Message:
    """Return a human turn: the text, then the clips, the order of the published examples."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return {"role": "human", "content": parts + [{"type": "audio", "audio": clip} for clip in clips]}


def sample_messages(sample: Sample) -> list[Message]:
    """Return the messages that ask a sample; its own ``messages`` if it has them."""
    if sample.messages:
        return [dict(message) for message in sample.messages]
    return [user_message(question_text(sample.question, sample.choices), sample.audio)]


def clips(messages: Sequence[Message]) -> list[Any]:
    """Return the clips of a conversation in the order in which they are heard.

    Values of ``audio`` parts are returned as they are; ``input_audio`` and ``data:`` URLs are decoded to bytes.
    """
    found = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, (list, tuple)):
            found += [_clip(part) for part in content if isinstance(part, dict) and part.get("type") in AUDIO_PARTS]
    return found


def translate(
    messages: Sequence[Message],
    roles: Mapping[str, str],
    sound: Callable[[Any], tuple[list[dict[str, Any]], float]],
) -> tuple[list[Message], float]:
    """Return (messages in another form, seconds of audio in them).

    Roles are renamed by ``roles``; strings among the parts become text parts; each clip becomes the parts that
    ``sound`` gives for it, with its length in seconds.
    """
    heard, seconds = iter(clips(messages)), 0.0
    out = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, (list, tuple)):
            parts: list[dict[str, Any]] = []
            for part in content:
                if isinstance(part, str) or part.get("type") == "text":
                    parts.append({"type": "text", "text": part if isinstance(part, str) else part["text"]})
                    continue
                sounds, length = sound(next(heard))
                parts, seconds = parts + sounds, seconds + length
            content = parts
        out.append({**message, "role": roles.get(message["role"], message["role"]), "content": content})
    return out, seconds


def _clip(part: dict[str, Any]) -> Any:
    value = part.get(part["type"])
    if value is None:
        raise ValueError(f"a content part of type {part['type']!r} holds no audio; give it under {part['type']!r}")
    if part["type"] == "input_audio" and isinstance(value, dict):
        return _decode_base64(value.get("data", ""))
    if part["type"] == "audio_url":
        value = value.get("url", "") if isinstance(value, dict) else value
        if isinstance(value, str) and value.startswith("data:"):
            return _decode_base64(value.partition(",")[2])
    return value


def _decode_base64(data: str) -> bytes:
    if data.startswith("data:"):  # the hosted API of the publisher wants data URLs inside input_audio
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(
            f"input_audio data is not valid base64 ({error}); encode the bytes of an audio file"
        ) from error


def count_clips(messages: Sequence[Message]) -> int:
    """Return how many clips a conversation holds."""
    contents = [m.get("content") for m in messages]
    parts = [part for content in contents if isinstance(content, (list, tuple)) for part in content]
    return sum(isinstance(part, dict) and part.get("type") in AUDIO_PARTS for part in parts)
