"""The answers of a session: responses begun, released in the pace of playing, interrupted, cut to what was heard."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.realtime import events
from earwitness.realtime.audio_in import whole_clip
from earwitness.realtime.configuration import updated
from earwitness.realtime.conversation import Conversation, Item
from earwitness.realtime.orders import Begin, Order, Send, Stop
from earwitness.realtime.response import Response


@dataclass(frozen=True)
class Limits:
    """Bounds of one session."""

    lead_seconds: float = 0.32
    """How far sound is sent ahead of playing; a large number sends as fast as it is made, as OpenAI does."""
    input_seconds: float = 130.0
    """Sound in the input buffer; at least the longest turn and its prefix."""
    queued_seconds: float = 120.0
    """Sound of one response that may wait to be sent."""
    history_items: int = 512
    history_seconds: float = 1800.0
    """Sound kept in the conversation; older sound is dropped, its items stay."""
    history_characters: int = 1_000_000
    beside: int = 4
    """Responses outside the conversation (``conversation: none``) at a time."""


class Answers:
    """The half of ``Session`` that speaks."""

    def __init__(self, session_id: str, config: dict[str, Any], limits: Limits) -> None:
        self.id, self.config, self.limits = session_id, config, limits
        self.count = self.generation = 0
        self.conversation = Conversation(limits.history_items, limits.history_seconds, limits.history_characters)
        self.responses: dict[int, Response] = {}
        self.cancelled: deque[int] = deque(maxlen=64)
        """The latest generations that were cancelled."""
        self.active: Response | None = None
        """The response that writes to the conversation; stays here while its sound is still played."""
        self.draft: Response | None = None
        """The response that is made ahead of the hard end of a turn."""
        self.held = False
        """Speech that may be a backchannel keeps the active response's sound back."""
        self.out: list[Order] = []

    def _prefix(self, kind: str) -> str:
        return f"{kind}_{self.id.removeprefix('sess_')}_"

    def _id(self, kind: str) -> str:
        self.count += 1
        return f"{self._prefix(kind)}{self.count}"

    @property
    def _conversation_id(self) -> str:
        return f"conv_{self.id.removeprefix('sess_')}"

    def _send(self, *sent: events.Event, generation: int | None = None) -> None:
        self.out += [Send(event, generation) for event in sent]

    def _flush(self) -> list[Order]:
        out, self.out = self.out, []
        return out

    def stale(self, order: Send) -> bool:
        """Say whether this is sound, text or thought of a response cancelled since; a writer must not send it."""
        return order.generation in self.cancelled and order.event["type"].endswith(".delta")

    def _release(self, now: float) -> None:
        for response in list(self.responses.values()):
            held = self.held and response is self.active
            sent = response.release(now, self.limits.lead_seconds, held)
            self._send(*self._woven(response, sent), generation=response.generation)
            if response.closed:
                del self.responses[response.generation]
                self._trim()

    def _woven(self, response: Response, sent: list[events.Event]) -> list[events.Event]:
        """Return a response's events with those of the conversation that its items join."""
        out: list[events.Event] = []
        for event in sent:
            out.append(event)
            kind = event["type"]
            if response.config["conversation"] == "none" or not kind.startswith("response.output_item."):
                continue
            name = event["item"]["id"]
            if kind.endswith("added"):
                item = next(item for item in response.new_items if item.data["id"] == name)
                previous = self.conversation.add(item)
                out.append(events.item_event("added", event["item"], previous))
            else:
                out.append(events.item_event("done", event["item"]))
        return out

    def _trim(self) -> None:
        """Let the oldest items go where there are too many; what is being written stays."""
        writing = {item.data["id"] for r in self.responses.values() for item in r.new_items}
        self._send(*(events.item_deleted(gone) for gone in self.conversation.trim(writing)))

    def _fail(self, response: Response, code: str, message: str) -> None:
        self._send(*self._woven(response, response.close("failed", code, message)), generation=response.generation)
        self._end(response)

    def _end(self, response: Response) -> None:
        """Forget a response that was closed early; what it had sent but not voiced leaves the history."""
        self.responses.pop(response.generation, None)
        self.cancelled.append(response.generation)
        self.out.append(Stop(response.generation))
        if response is self.draft:
            self.draft = None
        if response.message is not None:
            response.message.cut(response.message.sent_ms)
        self._trim()

    def _cancel(self, response: Response, reason: str, now: float) -> None:
        """End a response early; its queue is gone before anything else is sent."""
        self._send(*self._woven(response, response.close("cancelled", reason)), generation=response.generation)
        self._end(response)
        if response is self.active:
            self.held = False

    def _cut(self, response: Response, heard_ms: float) -> None:
        """Truncate the message that was being heard, so that the history holds no more than that."""
        item = response.message
        if item is not None and item.data["id"] in self.conversation.items and heard_ms < item.said_ms - 1:
            item.cut(heard_ms)
            self._send(events.item_truncated(item.data["id"], int(heard_ms)))

    def _interrupt(self, now: float) -> None:
        """Stop what is being answered or heard, because the user speaks."""
        active = self.active
        if active is None:
            return
        audible, heard = active.audible(now), active.heard_ms(now)
        if not active.closed:
            self._cancel(active, "turn_detected", now)
        if audible:
            self._cut(active, heard)
        self.active, self.held = None, False

    def _begin(self, turn: str | None = None, asked: dict[str, Any] | None = None) -> Response:
        """Order work on a new response; ``turn`` names the open turn that it answers ahead of its end."""
        asked = asked or {}
        self.generation += 1
        config = updated(
            self.config, {k: v for k, v in asked.items() if k not in ("input", "conversation", "metadata")}
        )
        config |= {"conversation": asked.get("conversation", "auto"), "metadata": asked.get("metadata")}
        config["conversation_id"] = None if config["conversation"] == "none" else self._conversation_id
        items = self._input(asked["input"]) if "input" in asked else tuple(self.conversation.items.values())
        response = Response(self.generation, self._id("resp"), self._id, config)
        self.responses[self.generation] = response
        self.out.append(Begin(self.generation, turn, tuple(item.snapshot() for item in items), config))
        return response

    def _activate(self, response: Response) -> None:
        """Open a response that writes to the conversation; it plays after what still plays."""
        if self.active is not None:
            response.after = self.active.play_end
        self.active, self.held = response, False
        self._send(*response.open(), generation=response.generation)

    def _input(self, given: list[dict[str, Any]]) -> tuple[Item, ...]:
        return tuple(
            self.conversation.get(data["id"]) if data["type"] == "item_reference" else self._made(data)
            for data in given
        )

    def _drop_draft(self) -> None:
        if self.draft is not None:
            self.draft.close("cancelled")
            self._end(self.draft)

    def _answering(self) -> bool:
        return self.active is not None and not self.active.closed

    def _made(self, data: dict[str, Any]) -> Item:
        """Return an item that the client describes; its sound is decoded and taken out of it."""
        data = {**data, "id": data.get("id") or self._id("item"), "object": "realtime.item", "status": "completed"}
        if data["type"] == "function_call":
            data.setdefault("call_id", self._id("call"))
        waves, content = [], []
        for i, part in enumerate(data.get("content", [])):
            if "audio" in part:
                form = self.config["audio"]["input"]["format"]["type"]
                waves.append(whole_clip(part["audio"], form, f"item.content[{i}].audio"))
                part = {"type": "input_audio", "transcript": part.get("transcript")}
            content.append(part)
        if "content" in data:
            data["content"] = content
        return Item(data, as_stored(np.concatenate(waves)) if waves else None)


def as_stored(wave: np.ndarray) -> np.ndarray:
    """Return a wave as int16, half the memory."""
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)
