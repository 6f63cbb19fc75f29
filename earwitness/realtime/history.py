"""What was said so far as the messages of a prompt: the items of a conversation, answers as far as they were heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from earwitness.prompt import Message
from earwitness.realtime.conversation import Item


def messages(items: Sequence[Item], config: dict[str, Any], turn: str | None = None) -> tuple[list[Message], list[str]]:
    """Return (messages, ids of the items whose sound they hold, in order).

    A sound part holds its item's id in place of a clip. Consecutive items of the user are one turn, so that a question
    in text and the sound that it asks about stand together. ``turn`` is the open turn that ends the conversation.
    """
    out: list[Message] = []
    if config.get("instructions"):
        out.append({"role": "system", "content": config["instructions"]})
    for item in items:
        _add(out, item)
    if turn is not None:
        _say(out, [_sound(turn)])
    parts = [p for m in out if isinstance(m["content"], list) for p in m["content"]]
    return out, [p["audio"] for p in parts if p["type"] == "audio"]


def tools(config: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the tools that the model may call."""
    return None if config.get("tool_choice") == "none" else config.get("tools") or None


def last_answer(items: Sequence[Item]) -> int:
    """Return the place of the last answer among the items; -1 where there is none."""
    answers = [i for i, item in enumerate(items) if item.data.get("role") == "assistant"]
    return answers[-1] if answers else -1


def _sound(item_id: str) -> dict[str, Any]:
    return {"type": "audio", "audio": item_id}


def _say(out: list[Message], parts: list[dict[str, Any]]) -> None:
    """Add parts to the user's turn, and begin one where another's came last."""
    if not out or out[-1]["role"] != "human":
        out.append({"role": "human", "content": []})
    out[-1]["content"] += parts


def _add(out: list[Message], item: Item) -> None:
    data = item.data
    if data["type"] == "function_call":
        call = {"id": data["call_id"], "function": {"name": data["name"], "arguments": data["arguments"]}}
        out.append({"role": "assistant", "content": "", "tool_calls": [call]})
    elif data["type"] == "function_call_output":
        out.append({"role": "tool", "tool_call_id": data["call_id"], "content": data["output"]})
    elif data["role"] == "user":
        heard = [part for part in data["content"] if part["type"] == "input_audio"]
        parts = []
        for part in data["content"]:
            if part["type"] != "input_audio":
                parts.append({"type": "text", "text": part["text"]})
            elif part is heard[0] and item.wave is not None:  # the sound of all its parts is one wave
                parts.append(_sound(data["id"]))
        if parts:
            _say(out, parts)
    else:
        said = "".join(part.get("transcript") or part.get("text") or "" for part in data["content"])
        if said:
            out.append({"role": "system" if data["role"] == "system" else "assistant", "content": said})


def shortened(conversation: list[Message]) -> list[Message] | None:
    """Return the conversation without its oldest turn, the system's apart; None where only the last one is left."""
    first = next((i for i, message in enumerate(conversation) if message["role"] != "system"), len(conversation))
    following = [i for i in range(first + 1, len(conversation)) if conversation[i]["role"] == "human"]
    return conversation[:first] + conversation[following[0] :] if following else None
