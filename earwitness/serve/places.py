"""How many replies the server has taken on: those that run, those that wait, and those still being read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from earwitness.serve.errors import ApiError

_KEPT = 0.8  # of the running mean, at each request that ends


class Places:
    """Counts accepted replies and refuses what is too much; used on the event loop only."""

    def __init__(self, most: int):
        """Set how many replies may be there at once."""
        self._most = most
        self._mean_seconds = 1.0
        self.used = 0
        self.draining = False
        """Set to take no new requests; those that are there go on."""

    @contextlib.contextmanager
    def take(self, replies: int) -> Iterator[None]:
        """Hold places for so many replies; ``ApiError`` 503 while the server drains, 429 where there are too few."""
        if replies and self.draining:
            raise ApiError(503, "the server is shutting down; send the request again", retry_after_seconds=5)
        if self.used + replies > self._most:
            seconds = min(60, max(1, round(self._mean_seconds)))
            raise ApiError(
                429,
                f"{self.used} of {self._most} places are taken; try again in {seconds} s",
                None,
                "queue_full",
                seconds,
            )
        self.used += replies
        start = time.monotonic()
        try:
            yield
        finally:
            self.used -= replies
            if replies:
                self._mean_seconds = _KEPT * self._mean_seconds + (1 - _KEPT) * (time.monotonic() - start)
