"""One response: what a worker made for it waits here and leaves as events, paced by playing; it ends exactly once.

``response.*`` of the protocol. Everything a worker makes carries the generation of its response; a closed response
takes nothing and gives nothing, so that no sound of a cancelled generation can be sent.
"""

from __future__ import annotations

import base64
import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.realtime import events
from earwitness.realtime.audio_out import SoundOut, bytes_per_second
from earwitness.realtime.conversation import Item, Voiced

CHUNK_MS = 40
"""Sound in one delta."""
_MOST_CHARACTERS = 262_144  # of one response, a long chain several times over


@dataclass(frozen=True)
class Thought:
    """A piece of the chain. Goes to clients that opted in, as text, and nowhere else."""

    text: str


@dataclass(frozen=True)
class Speech:
    """A clause of the answer, its sound as float32 at ``rate`` (None for a text response)."""

    text: str
    wave: np.ndarray | None = None
    rate: int = 16_000


@dataclass(frozen=True)
class Call:
    """A function call of the answer."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Finish:
    """The end of the answer: ``completed``, or ``incomplete`` with a reason of the protocol, or ``failed``."""

    status: str = "completed"
    reason: str | None = None
    message: str | None = None
    usage: dict[str, int] | None = None


Piece = Thought | Speech | Call | Finish


@dataclass
class _Clause:
    """Sound of one clause in the output format, not yet sent; ``text`` leaves with the first of it."""

    text: str
    sound: bytes
    total_ms: float
    sent: int = 0


class Response:
    """A response from its first piece to ``response.done``. ``opened`` false: made ahead of the turn's end."""

    def __init__(self, generation: int, response_id: str, item_ids: Any, config: dict[str, Any]) -> None:
        self.generation, self.id, self.item_ids, self.config = generation, response_id, item_ids, config
        self.spoken = config["output_modalities"] == ["audio"]
        self.form = config["audio"]["output"]["format"]["type"]
        self.opened = self.closed = False
        self.queue: deque[_Clause | Call | Finish] = deque()
        self.thoughts: deque[str] = deque()
        self.thought: list[str] = []
        self.queued_ms = 0.0
        self.characters = 0
        """Text that was offered, the chain's included where the client asked for it."""
        self.finishing = False
        self.stream: SoundOut | None = None
        self.message: Item | None = None
        self.part: events.Part | None = None
        self.text: list[str] = []
        self.output: list[dict[str, Any]] = []
        self.new_items: list[Item] = []
        """Items that joined the output; the session takes them into the conversation."""
        self.play_end = 0.0
        """When what was sent will have been played, on the session's clock, in seconds."""
        self.after = 0.0
        """When an earlier response will have been played, which this one follows."""
        self.sent_ms = 0.0
        """Sound of the current message that was sent."""

    def heard_ms(self, now: float) -> float:
        """Return how much of the current message's sound has been played, if it plays as soon as it is sent."""
        return max(0.0, self.sent_ms - max(0.0, self.play_end - now) * 1000)

    def audible(self, now: float) -> bool:
        """Say whether its sound is being played, or has begun and goes on."""
        return self.play_end > 0 and (not self.closed or now < self.play_end)

    # What the worker makes

    def offer(self, piece: Piece) -> None:
        """Take a piece. After ``Finish``, and once closed, nothing is taken."""
        if self.closed or self.finishing:
            return
        if isinstance(piece, Thought):
            if self.config["thinking_events"]:
                self.characters += len(piece.text)
                self.thoughts.append(piece.text)
            return
        if isinstance(piece, Speech):
            self.characters += len(piece.text)
            clause = self._clause(piece)
            self.queue.append(clause)
            self.queued_ms += clause.total_ms
            return
        if self.stream is not None and (rest := self.stream.end()):  # the filter's tail belongs to the last clause
            length = len(rest) / bytes_per_second(self.form) * 1000
            self.queue.append(_Clause("", rest, length))
            self.queued_ms += length
        self.finishing = isinstance(piece, Finish)
        self.queue.append(piece)

    def too_much(self, most_seconds: float) -> bool:
        """Say whether more was made than memory is set aside for."""
        return self.queued_ms > most_seconds * 1000 or len(self.queue) > 4096 or self.characters > _MOST_CHARACTERS

    def _clause(self, piece: Speech) -> _Clause:
        sound = b""
        if self.spoken and piece.wave is not None:
            if self.stream is None:
                self.stream = SoundOut(self.form, piece.rate)
            sound = self.stream.push(piece.wave)
        return _Clause(piece.text, sound, len(sound) / bytes_per_second(self.form) * 1000)

    # What the client gets

    def resource(self, status: str, details: dict[str, Any] | None = None, usage: Any = None) -> dict[str, Any]:
        """Return the protocol's response object."""
        sound = self.config["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": copy.deepcopy(self.output),
            "conversation_id": self.config.get("conversation_id"),
            "output_modalities": self.config["output_modalities"],
            "max_output_tokens": self.config["max_output_tokens"],
            "audio": {"output": {"format": sound["format"], "voice": sound["voice"]}},
            "metadata": self.config.get("metadata"),
            "usage": usage,
        }

    def open(self) -> list[events.Event]:
        """Return ``response.created``; from now on ``release`` gives events."""
        self.opened = True
        return [events.response_event("created", self.resource("in_progress"))]

    def release(self, now: float, lead: float, held: bool = False) -> list[events.Event]:
        """Return what may leave at ``now``: sound up to ``lead`` seconds ahead of playing, none while held."""
        out: list[events.Event] = []
        if not self.opened or self.closed:
            return out
        while self.thoughts:
            out += self._start_message()
            text = self.thoughts.popleft()
            self.thought.append(text)
            assert self.part is not None
            out.append(self.part.thinking("delta", text))
        while self.queue and not self.closed:
            head = self.queue[0]
            if isinstance(head, Finish):
                out += self.close(head.status, head.reason, head.message, head.usage)
            elif isinstance(head, Call):
                self.queue.popleft()
                out += self._call(head)
            else:
                if self.spoken and (held or max(self.play_end, self.after) - now >= lead):
                    break
                out += self._send(head, now)
        return out

    def _send(self, clause: _Clause, now: float) -> list[events.Event]:
        """Return the next chunk of a clause, with its text before the first."""
        out = self._start_message()
        assert self.part is not None and self.message is not None
        if not clause.sent and clause.text:
            out.append(self.part.text_delta(clause.text))
            self.text.append(clause.text)
            self.message.voiced.append(Voiced(clause.text, self.sent_ms, self.sent_ms + clause.total_ms))
        size = bytes_per_second(self.form) * CHUNK_MS // 1000
        chunk = clause.sound[clause.sent : clause.sent + size]
        if chunk:
            clause.sent += len(chunk)
            length = len(chunk) / bytes_per_second(self.form)
            self.play_end = max(self.play_end, self.after, now) + length
            self.sent_ms += length * 1000
            self.message.sent_ms = self.sent_ms
            self.queued_ms = max(0.0, self.queued_ms - length * 1000)
            out.append(self.part.audio_delta(base64.b64encode(chunk).decode()))
        if clause.sent >= len(clause.sound):
            self.queue.popleft()
        return out

    def _start_message(self) -> list[events.Event]:
        if self.part is not None:
            return []
        content: list[dict[str, Any]] = []
        self.sent_ms = 0.0
        self.message = self._item({"type": "message", "role": "assistant", "content": content})
        index = len(self.output) - 1
        self.part = events.Part(self.id, self.message.data["id"], index, self.spoken)
        out = [events.output_item("added", self.id, index, copy.deepcopy(self.message.data)), self.part.bounds("added")]
        empty = {"type": "output_audio", "transcript": ""} if self.spoken else {"type": "output_text", "text": ""}
        content.append(empty)
        return out

    def _item(self, fields: dict[str, Any]) -> Item:
        own = {"id": self.item_ids("item"), "object": "realtime.item", "status": "in_progress"}
        item = Item({**own, **fields})
        self.output.append(item.data)
        self.new_items.append(item)
        return item

    def _end_message(self, status: str) -> list[events.Event]:
        if self.part is None or self.message is None:
            return []
        part, message, text = self.part, self.message, "".join(self.text)
        out = [part.thinking("done", "".join(self.thought))] if self.thought else []
        out += [part.audio_done()] if self.spoken else []
        message.data["content"][0]["transcript" if self.spoken else "text"] = text
        message.data["status"] = status
        out += [part.text_done(text), part.bounds("done", text)]
        out.append(events.output_item("done", self.id, part.where["output_index"], copy.deepcopy(message.data)))
        self.part, self.text, self.thought = None, [], []
        return out

    def _call(self, call: Call) -> list[events.Event]:
        out = self._end_message("completed")
        fields = {"type": "function_call", "name": call.name, "call_id": self.item_ids("call")}
        item = self._item({**fields, "arguments": call.arguments})
        index = len(self.output) - 1
        out.append(events.output_item("added", self.id, index, {**item.data, "arguments": ""}))
        item.data["status"] = "completed"
        out += [events.arguments(word, self.id, index, item.data) for word in ("delta", "done")]
        out.append(events.output_item("done", self.id, index, dict(item.data)))
        return out

    def close(
        self, status: str, reason: str | None = None, message: str | None = None, usage: Any = None
    ) -> list[events.Event]:
        """End the response and return the last events; an empty list if it had ended or was never opened."""
        if self.closed:
            return []
        self.closed = True
        self.queue.clear()
        self.thoughts.clear()
        self.queued_ms = 0.0
        if not self.opened:
            return []
        out = self._end_message("completed" if status == "completed" else "incomplete")
        details: dict[str, Any] = {"type": status}
        if reason:
            details["reason"] = reason
        if message:
            details["error"] = {"type": "server_error", "code": reason or "engine_failed", "message": message}
            details.pop("reason", None)
        return [*out, events.response_event("done", self.resource(status, details, usage))]
