"""The one thread that drives an engine with sessions: tokens of all answers, those first that somebody waits for.

Fair scheduling: a step takes what is waited for before what is still played before what is only thought, and within
each those rows first that have had the fewest tokens. While somebody waits in silence, nothing else runs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from earwitness.realtime.answer import Answer, Row

_LOG = logging.getLogger("earwitness.realtime")
_LOOK_SECONDS = 0.01  # how soon it is seen that an answer has been played so far that more is due
_FAILED = "the engine failed while it answered; ask again, or look into the server's log"


class Desk:
    """Answers that run. ``call`` is for any thread; everything else happens in the desk's own."""

    def __init__(self, minds: Any, width: int = 4, begin: Callable[[], None] = lambda: None) -> None:
        """Hold the engine.

        Args:
            minds: as ``answer.Minds``, with ``push`` and ``forget_all``.
            width: most rows of a step; more keep a GPU busy and slow a CPU down.
            begin: called once in the thread, such as to set how many cores it may use.
        """
        self.minds, self.width, self._begin = minds, width, begin
        self.answers: list[Answer] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="earwitness-mind")

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """End the thread; one that hangs is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def call(self, what: Callable[[], None]) -> None:
        """Run something in the thread, between two steps."""
        with self._changed:
            self._calls.append(what)
            self._changed.notify()

    def drop(self, answer: Answer) -> None:
        """End an answer that nobody wants."""
        answer.close()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        self._begin()
        while not self._closing:
            try:
                self._turn()
            except Exception:
                _LOG.exception("the engine failed; its answers are lost")
                self._lose_all()

    def _turn(self) -> None:
        """Run what was called, then one step; wait where there is nothing to do."""
        while self._calls:
            self._calls.popleft()()
        self.answers = [answer for answer in self.answers if not answer.over]
        rows = picked([row for answer in list(self.answers) for row in self._wanted(answer)], self.width)
        if rows:
            self._step(rows)
            return
        with self._changed:
            if not self._calls and not self._closing:
                self._changed.wait(_LOOK_SECONDS if self.answers else None)

    def _wanted(self, answer: Answer) -> list[Row]:
        """Return an answer's rows; one whose context is full or lost fails alone."""
        try:
            return answer.rows()
        except ValueError as error:
            answer.fail("context_full", str(error))
            return []

    def _step(self, rows: list[Row]) -> None:
        tokens, _ = self.minds.choose(
            [row.session for row in rows],
            [row.sampling for row in rows],
            [(row.seed, row.made) for row in rows],
            [row.forbidden for row in rows],
        )
        kept = [(row.session, token) for row, token in zip(rows, tokens) if row.accept(token)]
        if kept:
            self.minds.push([session for session, _ in kept], [token for _, token in kept])

    def _lose_all(self) -> None:
        for answer in self.answers:
            try:
                answer.fail("engine_failed", _FAILED)
            except Exception:
                _LOG.exception("an answer could not be ended")
        self.answers = []
        self.minds.forget_all()


def picked(rows: list[Row], width: int) -> list[Row]:
    """Return the rows of the next step."""
    order = sorted(rows, key=lambda row: (row.priority, row.made))
    if order and order[0].priority == 0:
        order = [row for row in order if row.priority == 0]
    return order[:width]
