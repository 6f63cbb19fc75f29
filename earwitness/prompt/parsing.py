"""Generated text -> ``Reply``: chain, answer, tool calls, and how it ended."""

from __future__ import annotations

import json
import re
from typing import Any

from earwitness.prompt.tokens import EOT
from earwitness.records import Reply

_TAG = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
_CLOSING = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_OPENING = re.compile(r"\A\s*(?:<think(?:ing)?>\s*)+", re.IGNORECASE)
_RESPONSE = re.compile(r"\A\s*<response>(.*?)(?:</response>\s*)?\Z", re.IGNORECASE | re.DOTALL)
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
# Seen in Step-Audio-R1's issue 12: a request to another provider in place of the answer.
_FOREIGN = re.compile(
    r'\A\s*(?:```(?:json)?\s*)?\{\s*"model"\s*:\s*"[^"]*"\s*,\s*"(?:prompt|messages|input|contents)"', re.IGNORECASE
)
_MAX_PERIOD = 1_000
_MIN_REPEATS = 4
_MIN_REPEATED_CHARACTERS = 160


def parse(text: str, think: bool | None = True, finished: bool | None = None) -> Reply:
    """Split generated text into chain and answer and say how it ended; never raises.

    Args:
        text: what the model wrote after the prompt, with or without ``<|EOT|>``.
        think: whether the prompt opened a chain (``think=True`` in ``render``); then text without a closing tag is
            an unfinished chain, and is never mined for an answer.
        finished: False where generation stopped at a limit; None where it is not known.

    The answer is what follows the last closing tag. Token counts and times are left to the engine.
    """
    text = text if isinstance(text, str) else ""
    ended, text = EOT in text, text.split(EOT)[0]
    closings = list(_CLOSING.finditer(text))
    opening = _OPENING.match(text)
    if closings:
        chain, answer, closed = text[: closings[-1].start()], text[closings[-1].end() :], True
    elif think or opening:
        chain, answer, closed = text, "", False
    else:
        chain, answer, closed = "", text, True
    chain = _OPENING.sub("", chain).strip()
    if match := _RESPONSE.match(answer):
        answer = match.group(1)
    calls, answer = _tool_calls(answer)
    answer = answer.strip()
    status = _status(chain, answer, closed, calls, think, finished if finished is not None else ended or None)
    return Reply(thinking=chain, answer=answer, status=status, tool_calls=calls)


def _status(
    chain: str, answer: str, closed: bool, calls: tuple[dict[str, Any], ...], think: bool | None, finished: bool | None
) -> str:
    if calls:
        return "tool_call"
    if _FOREIGN.match(answer):
        return "foreign"
    if is_degenerate(chain) or is_degenerate(answer):
        return "degenerate"
    if finished is False or (not closed and not finished):
        return "truncated"
    if not _TAG.sub("", answer).strip():
        return "no_answer"
    return "empty_thinking" if think and not _TAG.sub("", chain).strip() else "complete"


def is_degenerate(text: str) -> bool:
    """Whether the text ends in a unit of up to 1,000 characters that repeats at least four times (160 characters)."""
    tail = text.rstrip()[-8 * _MAX_PERIOD :]
    for period in range(1, min(_MAX_PERIOD, len(tail) // _MIN_REPEATS) + 1):
        span = max(_MIN_REPEATS * period, _MIN_REPEATED_CHARACTERS)
        # A suffix of that length that equals itself shifted by one period is periodic.
        if span <= len(tail) and tail[-span + period :] == tail[-span:-period]:
            return True
    return False


def _tool_calls(answer: str) -> tuple[tuple[dict[str, Any], ...], str]:
    """Return (calls, the answer without them); reads the published form and Qwen's JSON form."""
    calls = []
    for match in _CALL.finditer(answer):
        body = match.group(1).removeprefix("function\n")
        name, _, arguments = body.partition("\n")
        whole = _json(body)
        if isinstance(whole, dict) and "name" in whole:
            calls.append({"name": str(whole["name"]), "arguments": whole.get("arguments", {})})
        else:
            parsed = _json(arguments)
            calls.append({"name": name.strip(), "arguments": arguments if parsed is None else parsed})
    return tuple(calls), _CALL.sub("", answer) if calls else answer


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
