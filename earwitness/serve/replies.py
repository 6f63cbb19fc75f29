"""Replies -> the JSON of chat completions, whole and in chunks."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import earwitness
from earwitness import prompt
from earwitness.engines.rows import Row
from earwitness.records import Reply
from earwitness.serve.wire import Ask


class Completion:
    """What all parts of one completion share, and the sum of its tokens."""

    def __init__(self, ask: Ask, model: str, tokenizer: Any, stops: frozenset[int]):
        """Give the completion its id and time."""
        self._ask, self._tokenizer, self._stops = ask, tokenizer, stops
        self._base = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"earwitness-{earwitness.__version__}",
        }
        self.ended: dict[int, tuple[Row, Reply]] = {}
        """Choice -> what it was made from."""

    def whole(self) -> dict[str, Any]:
        """Return the completion when all choices have ended."""
        choices = []
        for index, (row, reply) in sorted(self.ended.items()):
            message: dict[str, Any] = {"role": "assistant", "content": reply.answer}
            if not self._ask.separate:
                message["content"] = _joined(reply, bool(self._ask.think))
            elif reply.thinking:
                message["reasoning_content"] = reply.thinking
            if reply.tool_calls:
                message["tool_calls"] = _tool_calls(reply)
                message["content"] = message["content"] or None
            choices.append({"index": index, "message": message, **self._ending(row, reply)})
        return {**self._base, "object": "chat.completion", "choices": choices, "usage": self.usage()}

    def chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a piece of a streamed choice."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._chunk([choice])

    def last_chunk(self, index: int, row: Row, reply: Reply) -> dict[str, Any]:
        """Return the chunk that says why a choice ended; it holds the log-probabilities, if they were asked for."""
        delta = {}
        if reply.tool_calls:
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(_tool_calls(reply))]
        return self._chunk([{"index": index, "delta": delta, **self._ending(row, reply)}])

    def usage_chunk(self) -> dict[str, Any]:
        """Return the last chunk of ``stream_options.include_usage``."""
        return {**self._chunk([]), "usage": self.usage()}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"usage": None} if self._ask.include_usage else {}
        return {**self._base, "object": "chat.completion.chunk", "choices": choices, **usage}

    def usage(self) -> dict[str, Any]:
        """Return the token counts; the prompt is counted once, however many choices share it."""
        rows, replies = [row for row, _ in self.ended.values()], [reply for _, reply in self.ended.values()]
        prompt_tokens = len(rows[0].prompt_ids) if rows else 0
        audio_tokens = rows[0].audio_tokens if rows else 0
        completion = sum(len(reply.token_ids) for reply in replies)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": prompt_tokens + completion,
            "prompt_tokens_details": {"audio_tokens": audio_tokens, "cached_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": sum(reply.thinking_tokens for reply in replies),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _ending(self, row: Row, reply: Reply) -> dict[str, Any]:
        """Return the fields of a choice that has ended; ``status`` is ours: how the reply fares as an answer."""
        logprobs = self._logprobs(row, reply) if row.sampling.logprobs else None
        return {"logprobs": logprobs, "finish_reason": self._finish_reason(row, reply), "status": reply.status}

    def _finish_reason(self, row: Row, reply: Reply) -> str:
        if reply.status == "tool_call":
            return "tool_calls"
        is_full = len(reply.token_ids) >= row.max_new_tokens and not self._ended(row, reply)
        cut = reply.status == "truncated" or (is_full and reply.status in ("degenerate", "foreign"))
        return "length" if cut else "stop"

    def _ended(self, row: Row, reply: Reply) -> bool:
        """Whether the last token is one that ends replies, and so no part of this one."""
        return bool(reply.token_ids) and reply.token_ids[-1] in self._stops.union(row.sampling.stop_ids)

    def _logprobs(self, row: Row, reply: Reply) -> dict[str, Any]:
        """Return the log-probabilities of the answer's tokens."""
        pairs = list(zip(reply.token_ids, reply.logprobs))
        if self._ended(row, reply):
            pairs.pop()
        content = []
        for token, logprob in pairs[len(pairs) - reply.answer_tokens :]:
            text = self._tokenizer.decode([token], skip_special_tokens=False)
            spelled = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
            content.append({**spelled, "top_logprobs": []})
        return {"content": content, "refusal": None}


class Deltas:
    """Pieces of one choice -> the deltas that a client gets; all of them together are the final message.

    What might become a stop string or a tool call is held back until it is certain.
    """

    def __init__(self, ask: Ask):
        """Begin a choice."""
        self._separate, self._opened = ask.separate, bool(ask.think)
        self._stops = ask.sampling.stop
        self._held = {"thinking": "", "answer": ""}
        self._sent = {"thinking": "", "answer": ""}
        self._in_call = False

    def feed(self, kind: str, text: str) -> list[dict[str, Any]]:
        """Return the deltas that a piece completes."""
        deltas = self._release("thinking", "", self._held["thinking"].rstrip()) if kind == "answer" else []
        if self._in_call:
            return deltas
        text = self._held[kind] + text
        marks = (*self._stops, prompt.TOOL_CALL) if kind == "answer" else self._stops
        certain = _certain(text, marks)
        if kind == "answer" and prompt.TOOL_CALL in text:
            self._in_call = True
            text = text[: text.index(prompt.TOOL_CALL)].rstrip()
            certain = len(text)
        return deltas + self._release(kind, text[certain:], text[:certain])

    def finish(self, reply: Reply) -> list[dict[str, Any]]:
        """Return the deltas for what was still held back, now that the whole reply is known."""
        deltas = []
        for kind, final in (("thinking", reply.thinking), ("answer", reply.answer)):
            sent = self._sent[kind]
            if final.startswith(sent):
                deltas += self._release(kind, "", final[len(sent) :])
        return deltas

    def _release(self, kind: str, held: str, text: str) -> list[dict[str, Any]]:
        self._held[kind] = held
        if not text:
            return []
        first = not self._sent[kind]
        self._sent[kind] += text
        if self._separate:
            return [{"reasoning_content" if kind == "thinking" else "content": text}]
        closes = kind == "answer" and first and (self._opened or self._sent["thinking"])
        return [{"content": prompt.CLOSE_CHAIN + text if closes else text}]


def sse(payload: dict[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def _certain(text: str, marks: tuple[str, ...]) -> int:
    """Return how much of a text cannot be part of a mark, or of white space before one or at the end."""
    longest = max((len(mark) for mark in marks), default=0)
    for start in range(max(0, len(text) - longest + 1), len(text)):
        if any(mark.startswith(text[start:]) for mark in marks):
            return len(text[:start].rstrip())
    return len(text.rstrip())


def _joined(reply: Reply, opened: bool) -> str:
    """Return the model's text with its tags, as it followed the prompt."""
    if not (reply.thinking or opened):
        return reply.answer
    return reply.thinking + (prompt.CLOSE_CHAIN + reply.answer if reply.answer else "")


def _tool_calls(reply: Reply) -> list[dict[str, Any]]:
    calls = []
    for call in reply.tool_calls:
        given = call["arguments"]
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        function = {"name": call["name"], "arguments": arguments}
        calls.append({"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function})
    return calls
