"""Messages -> segments of a prompt, in the published format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from earwitness.prompt.content import AUDIO_PARTS, Message, count_clips
from earwitness.prompt.tokens import (
    AUDIO_END,
    AUDIO_PATCH,
    AUDIO_START,
    BOT,
    CLOSE_CHAIN,
    EMPTY_CHAIN,
    END_THINK,
    END_TOOL_CALL,
    EOT,
    OPEN_CHAIN,
    THINK,
    TOOL_CALL,
    Segment,
)

_ROLES = {
    "system": "system",
    "developer": "system",
    "human": "human",
    "user": "human",
    "assistant": "assistant",
    "tool_json_schemas": "tool_json_schemas",
    "function_output": "function_output",
    "tool": "function_output",
    "input": "input",
}


def audio_block(chunk_tokens: int | Sequence[int]) -> str:
    """Return the placeholders of one clip: one ``<audio_start>...<audio_end>`` block for each chunk of at most 25 s."""
    counts = [chunk_tokens] if isinstance(chunk_tokens, int) else chunk_tokens
    return "".join(AUDIO_START + AUDIO_PATCH * n + AUDIO_END for n in counts)


def render(
    messages: Sequence[Message],
    think: bool | None = True,
    tools: Sequence[dict[str, Any]] | None = None,
    continue_final: bool = False,
    audio_counts: Sequence[int | Sequence[int]] | None = None,
) -> str:
    """Return the prompt as one string, for people, logs and servers; encode ``segments`` instead where ids are made."""
    return "".join(s.text for s in segments(messages, think, tools, continue_final, audio_counts))


def segments(
    messages: Sequence[Message],
    think: bool | None = True,
    tools: Sequence[dict[str, Any]] | None = None,
    continue_final: bool = False,
    audio_counts: Sequence[int | Sequence[int]] | None = None,
) -> list[Segment]:
    """Return the prompt as segments that ``encode`` turns into ids.

    Args:
        messages: turns with ``role`` and ``content``: a string, or parts ``{"type": "text", "text": ...}`` and
            ``{"type": "audio", "audio": ...}`` (also ``input_audio`` and ``audio_url``) in any order. Assistant turns
            may hold OpenAI ``tool_calls``.
        think: True opens a chain, False prefills an empty one, None leaves the assistant's turn bare.
        tools: tool schemas, put after the system message.
        continue_final: leave the last turn, an assistant's, open and add no prefill.
        audio_counts: audio tokens of each clip, or of each 25 s chunk of it; None writes one placeholder a clip.

    Raises:
        ValueError: unknown role or part, or ``audio_counts`` does not fit the clips.
    """
    if audio_counts is not None and len(audio_counts) != (heard := count_clips(messages)):
        raise ValueError(f"the messages hold {heard} clips and audio_counts {len(audio_counts)}; give one entry a clip")
    counts = iter(audio_counts) if audio_counts is not None else None
    out: list[Segment] = []
    position = _tools_position(messages) if tools else -1
    for i, message in enumerate(messages):
        if i == position:
            out += _tools_turn(tools)
        is_open = i == len(messages) - 1 and (continue_final or message.get("eot") is False)
        out += _turn(message, messages[:i], counts, is_open)
        if is_open:
            if _role(message) != "assistant":
                raise ValueError(
                    f"only an assistant's turn can be continued, and the last one is {message['role']!r}'s"
                )
            return _merged(out)
    if position == len(messages):
        out += _tools_turn(tools)
    prefill = {True: OPEN_CHAIN, False: EMPTY_CHAIN, None: ""}[think]
    return _merged([*out, Segment(f"{BOT}assistant\n{prefill}", True)])


def completion(answer: str, reasoning: str | None = None) -> list[Segment]:
    """Return what the model should write after the prompt.

    With reasoning it follows ``think=True`` and closes the chain; without (``None`` or ``""``) it follows
    ``think=False``, whose prefill is the empty chain that the report trains such samples on.
    """
    chain = [Segment(reasoning, False), Segment(CLOSE_CHAIN, True)] if reasoning else []
    return [*chain, Segment(answer, False), Segment(EOT, True)]


def _role(message: Message) -> str:
    role = message.get("role")
    if role not in _ROLES:
        raise ValueError(f"unknown role {role!r} in a message; use {', '.join(_ROLES)}")
    return _ROLES[role]


def _tools_position(messages: Sequence[Message]) -> int:
    is_system = [_role(message) == "system" for message in messages]
    return is_system.index(False) if False in is_system else len(messages)


def _tools_turn(tools: Sequence[dict[str, Any]] | None) -> list[Segment]:
    schemas = json.dumps(list(tools or ()), ensure_ascii=False)
    return [Segment(f"{BOT}tool_json_schemas\n", True), Segment(schemas, False), Segment(EOT, True)]


def _turn(message: Message, earlier: Sequence[Message], counts: Any, is_open: bool) -> list[Segment]:
    role = _role(message)
    out = [Segment(f"{BOT}{role}\n", True)]
    content = message.get("content")
    if role == "assistant":
        out += _assistant_content(content, is_open)
        for call in message.get("tool_calls") or ():
            out += _tool_call(call)
    else:
        if role == "function_output" and (name := message.get("name") or _call_name(message, earlier)):
            out.append(Segment(f"{name}\n", False))
        out += _content(content, counts)
    return out if is_open else [*out, Segment(EOT, True)]


def _content(content: Any, counts: Any) -> list[Segment]:
    if content is None or isinstance(content, str):
        return [Segment(content or "", False)]
    if not isinstance(content, (list, tuple)):
        raise ValueError(f"message content is {type(content).__name__}; give a string or a list of parts")
    out = []
    for part in content:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind == "text":
            out.append(Segment(str(part.get("text", "")), False))
        elif kind in AUDIO_PARTS:
            out.append(Segment(audio_block(1 if counts is None else next(counts)), True))
        else:
            raise ValueError(f"unknown content part {kind!r}; use text, {', '.join(AUDIO_PARTS)}")
    return out


def _assistant_content(content: Any, is_open: bool) -> list[Segment]:
    if isinstance(content, (list, tuple)):
        content = "".join(str(p.get("text", "")) if isinstance(p, dict) else str(p) for p in content)
    content = content or ""
    if not is_open:
        # Reasoning of earlier turns is dropped: it is not part of what was said, and it fills the context.
        return [Segment(content.rpartition(END_THINK)[2].lstrip("\n") if END_THINK in content else content, False)]
    pieces = re.split(f"({re.escape(THINK)}|{re.escape(END_THINK)})", content)
    return [Segment(piece, piece in (THINK, END_THINK)) for piece in pieces if piece]


def _tool_call(call: dict[str, Any]) -> list[Segment]:
    function = call.get("function", call)
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    body = f"function\n{function.get('name', '')}\n{text}"
    return [Segment(TOOL_CALL, True), Segment(body, False), Segment(END_TOOL_CALL, True)]


def _call_name(message: Message, earlier: Sequence[Message]) -> str:
    wanted = message.get("tool_call_id")
    calls = [call for turn in earlier for call in turn.get("tool_calls") or ()]
    return next((c.get("function", c).get("name", "") for c in calls if wanted and c.get("id") == wanted), "")


def _merged(pieces: Iterable[Segment]) -> list[Segment]:
    out: list[Segment] = []
    for piece in pieces:
        if not piece.text:
            continue
        if out and out[-1].is_control == piece.is_control:
            out[-1] = Segment(out[-1].text + piece.text, piece.is_control)
        else:
            out.append(piece)
    return out
