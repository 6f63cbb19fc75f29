"""What a session asks of the layer around it: events to send, and work to begin, feed and stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.realtime.conversation import Item
from earwitness.realtime.events import Event


@dataclass(frozen=True)
class Send:
    """An event for the client, in GA form. ``Session.stale`` says whether it may still leave a writer's queue."""

    event: Event
    generation: int | None = None


@dataclass(frozen=True)
class Listen:
    """New sound of the open turn, float32 at 16 kHz, to encode and prefill while it comes."""

    turn: str
    """Id of the user item that the turn will become."""
    wave: np.ndarray


@dataclass(frozen=True)
class Forget:
    """The open turn will become no item."""

    turn: str


@dataclass(frozen=True)
class Begin:
    """Work on an answer; its pieces go to ``Session.produce`` with this generation. It may not be heard yet."""

    generation: int
    turn: str | None
    """The open turn that comes after ``items``, heard so far through ``Listen``; None: ``items`` are all."""
    items: tuple[Item, ...]
    config: dict[str, Any]
    """The effective configuration of the response, GA form."""


@dataclass(frozen=True)
class Stop:
    """Nothing more of this generation is wanted."""

    generation: int


Order = Send | Listen | Forget | Begin | Stop
