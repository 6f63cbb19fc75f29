"""The messages and tools of a body, checked field by field and copied into the form that the prompt code takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from earwitness import prompt
from earwitness.serve.errors import wrong

_ROLES = ("system", "developer", "user", "human", "assistant", "tool")
_MOST_MESSAGES, _MOST_TOOLS = 2_000, 128


@dataclass(frozen=True)
class Clip:
    """A clip that is still to be loaded."""

    param: str
    """Where it stands in the body."""
    url: str
    """A ``data:``, http(s) or ``file:`` URL; of an ``input_audio`` part its base64."""
    is_url: bool


def read_messages(value: Any, continue_final: bool) -> list[prompt.Message]:
    """Return the messages, with a ``Clip`` in every audio part; ``ApiError`` names what is wrong."""
    if not isinstance(value, list) or not value:
        raise wrong("messages", "give a list with at least one message")
    if len(value) > _MOST_MESSAGES:
        raise wrong("messages", f"there are {len(value)}, and at most {_MOST_MESSAGES} are read")
    messages = [_message(message, f"messages[{i}]") for i, message in enumerate(value)]
    last = messages[-1]
    if (continue_final or "eot" in last) and last["role"] != "assistant":
        raise wrong("messages", "only an assistant's turn can be continued, and the last one is not one")
    if continue_final and last.get("tool_calls"):
        raise wrong("messages", "a turn that ends in tool calls cannot be continued")
    return messages


def _message(value: Any, param: str) -> prompt.Message:
    if not isinstance(value, dict):
        raise wrong(param, "a message must be an object with role and content")
    role = value.get("role")
    if role not in _ROLES:
        raise wrong(f"{param}.role", f"use one of {', '.join(_ROLES)}")
    message: prompt.Message = {"role": role, "content": _content(value.get("content"), role, param)}
    if role == "assistant":
        if value.get("tool_calls"):
            message["tool_calls"] = _tool_calls(value["tool_calls"], f"{param}.tool_calls")
        elif message["content"] is None:
            raise wrong(f"{param}.content", "it is missing; give a string or a list of parts")
        if value.get("eot") is False:
            message["eot"] = False
    if role == "tool":
        for name in ("name", "tool_call_id"):
            if value.get(name) is not None:
                message[name] = _text(value[name], f"{param}.{name}")
    return message


def _content(value: Any, role: str, param: str) -> Any:
    param = f"{param}.content"
    if isinstance(value, str):
        return _text(value, param)
    if value is None and role == "assistant":
        return None
    if not isinstance(value, list):
        raise wrong(param, "give a string or a list of parts")
    if not value:
        raise wrong(param, "the list is empty; give at least one part")
    parts = [_part(part, f"{param}[{i}]") for i, part in enumerate(value)]
    if role in ("assistant", "tool", "system", "developer") and any(part["type"] == "audio" for part in parts):
        raise wrong(param, f"audio belongs in a user's turn, not in one of role {role!r}")
    return "".join(part["text"] for part in parts) if role == "assistant" else parts


def _part(value: Any, param: str) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return {"type": "text", "text": _text(value.get("text"), f"{param}.text")}
    if kind == "input_audio":
        audio = value.get("input_audio")
        data = audio.get("data") if isinstance(audio, dict) else None
        if not isinstance(data, str) or not data:
            raise wrong(f"{param}.input_audio", 'give {"data": base64 of an audio file, "format": "wav"}')
        return {"type": "audio", "audio": Clip(f"{param}.input_audio", data, is_url=False)}
    if kind == "audio_url":
        audio = value.get("audio_url")
        url = audio.get("url") if isinstance(audio, dict) else audio
        if not isinstance(url, str) or not url:
            raise wrong(f"{param}.audio_url", 'give {"url": "data:audio/wav;base64,..."}')
        return {"type": "audio", "audio": Clip(f"{param}.audio_url", url, is_url=True)}
    raise wrong(param, "a part must be an object whose type is text, input_audio or audio_url")


def _tool_calls(value: Any, param: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > _MOST_TOOLS:
        raise wrong(param, f"give a list of at most {_MOST_TOOLS} calls")
    calls = []
    for i, call in enumerate(value):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise wrong(f"{param}[{i}]", 'give {"id": ..., "type": "function", "function": {"name", "arguments"}}')
        where = f"{param}[{i}].function"
        read = {key: _text(function.get(key), f"{where}.{key}") for key in ("name", "arguments")}
        calls.append({"id": call.get("id"), "type": "function", "function": read})
    return calls


def read_tools(value: Any) -> list[dict[str, Any]] | None:
    """Return the tool schemas as they are, or None; ``ApiError`` where they are none."""
    if not value and (value is None or value == []):
        return None
    if not isinstance(value, list) or len(value) > _MOST_TOOLS:
        raise wrong("tools", f"give a list of at most {_MOST_TOOLS} tools")
    for i, tool in enumerate(value):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise wrong(f"tools[{i}]", 'give {"type": "function", "function": {"name": ..., "parameters": ...}}')
    check_text(json.dumps(value, ensure_ascii=False), "tools")
    return value


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise wrong(param, "it must be a string")
    return check_text(value, param)


def count_characters(messages: list[prompt.Message], tools: list[dict[str, Any]] | None) -> int:
    """Return how many characters of text a prompt of these will hold, at least."""
    total = len(json.dumps(tools, ensure_ascii=False)) if tools else 0
    for message in messages:
        content = message["content"] or ""
        total += sum(len(part if isinstance(part, str) else part.get("text", "")) for part in content)
    return total


def check_text(value: str, param: str) -> str:
    """Return a string that can be written in UTF-8; JSON may hold halves of characters, which cannot."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise wrong(param, "it holds half of a surrogate pair; send whole characters") from None
    return value
