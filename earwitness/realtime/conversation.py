"""The items of a conversation, in order, within bounds of memory, with what was heard of every answer.

``conversation.item.*`` of the protocol. Items are GA objects; sound stands beside them, not in them.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from earwitness.realtime.shapes import Refusal

_WORD = re.compile(r"\S*$")


@dataclass
class Voiced:
    """A clause of an answer: its text and where its sound lies in the answer, in milliseconds."""

    text: str
    start_ms: float
    end_ms: float


@dataclass
class Item:
    """One item: the protocol's object without sound, and what belongs to it."""

    data: dict[str, Any]
    wave: np.ndarray | None = None
    """A user's sound: 16 kHz, int16."""
    voiced: list[Voiced] = field(default_factory=list)
    """The clauses of an answer that were sent."""
    sent_ms: float = 0.0
    """Sound of an answer that was sent."""
    heard_ms: float | None = None
    """How much of it was heard, where speech or the client cut it short; None: all that was sent."""

    @property
    def weight(self) -> int:
        """Characters of text."""
        parts = self.data.get("content", [])
        size = sum(len(part.get("text") or part.get("transcript") or "") for part in parts)
        return size + sum(len(self.data.get(name) or "") for name in ("arguments", "output"))

    @property
    def said_ms(self) -> float:
        """Length of the sound of all text that was sent, sent or not."""
        return self.voiced[-1].end_ms if self.voiced else 0.0

    def snapshot(self) -> Item:
        """Return a copy that later changes do not reach; the sound is shared."""
        return Item(copy.deepcopy(self.data), self.wave, list(self.voiced), self.sent_ms, self.heard_ms)

    def cut(self, heard_ms: float) -> None:
        """Keep of an answer only the words that had been heard whole at this time of its sound."""
        self.heard_ms = min(heard_ms, self.sent_ms)
        for part in self.data["content"]:
            if part["type"] == "output_audio":
                part["transcript"] = heard_text(self.voiced, self.heard_ms)


def heard_text(voiced: list[Voiced], heard_ms: float) -> str:
    """Return the words whose sound had ended by ``heard_ms``; inside a clause characters are taken as equally long."""
    words = []
    for clause in voiced:
        length = clause.end_ms - clause.start_ms
        if heard_ms >= clause.end_ms:
            words.append(clause.text)
        elif heard_ms > clause.start_ms and length > 0:
            reached = int(len(clause.text) * (heard_ms - clause.start_ms) / length)
            whole = clause.text[:reached]
            if not clause.text[reached].isspace():
                whole = whole[: len(whole) - len(_WORD.search(whole).group())]  # type: ignore[union-attr]
            words.append(whole)
    return "".join(words).rstrip()


class Conversation:
    """Items in order. Past the bounds the oldest go: first their sound, then they themselves."""

    def __init__(self, most_items: int, most_seconds: float, most_characters: int) -> None:
        self.most_items, self.most_characters = most_items, most_characters
        self.most_samples = int(most_seconds * 16_000)
        self.items: dict[str, Item] = {}

    @property
    def last(self) -> str | None:
        """Id of the latest item."""
        return next(reversed(self.items), None)

    def get(self, item_id: str) -> Item:
        """Return an item or refuse."""
        if item_id not in self.items:
            raise Refusal(f"there is no item {item_id!r} in the conversation", "item_not_found", "item_id")
        return self.items[item_id]

    def add(self, item: Item, previous: str | None = None) -> str | None:
        """Insert an item after another (``root``: first, None: last); return the id of the one before it."""
        new = item.data["id"]
        if new in self.items:
            raise Refusal(f"an item {new!r} exists already; choose another id", "item_id_taken", "item.id")
        order = list(self.items)
        if previous not in (None, "root") and previous not in self.items:
            raise Refusal(f"there is no item {previous!r} to follow", "item_not_found", "previous_item_id")
        place = len(order) if previous is None else 0 if previous == "root" else order.index(previous) + 1
        if place == len(order):
            self.items[new] = item
        else:
            rest = {name: self.items.pop(name) for name in order[place:]}
            self.items |= {new: item, **rest}
        return order[place - 1] if place else None

    def delete(self, item_id: str) -> None:
        """Remove an item or refuse."""
        self.get(item_id)
        del self.items[item_id]

    def trim(self, keep: set[str]) -> list[str]:
        """Bring the conversation within its bounds and return the ids of removed items; those in ``keep`` stay."""
        surplus = sum(len(i.wave) for i in self.items.values() if i.wave is not None) - self.most_samples
        for item in self.items.values():
            if surplus <= 0:
                break
            if item.wave is not None:
                surplus -= len(item.wave)
                item.wave = None
        removed = []
        weight = sum(item.weight for item in self.items.values())
        for name in list(self.items):
            if len(self.items) <= self.most_items and weight <= self.most_characters:
                break
            if name not in keep:
                weight -= self.items[name].weight
                del self.items[name]
                removed.append(name)
        return removed
