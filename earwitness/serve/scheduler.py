"""The engine behind the server: one thread drives it, rows of all requests run together, each is told when it ends."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from earwitness.engines import Event, Request, Sampling
from earwitness.engines.local import LocalEngine
from earwitness.engines.rows import Row
from earwitness.engines.workers import Arrivals
from earwitness.records import Reply

_PAUSE_SECONDS = 0.05  # before each start, so that an engine that cannot start does not spin
_LOG = logging.getLogger("earwitness.serve")


@dataclass(frozen=True)
class _Job:
    row: Row
    on_event: Callable[[str, str], None]
    on_end: Callable[[Reply | None], None]


class Scheduler:
    """Takes prepared rows from any thread; continuous batching and places are the engine's business."""

    def __init__(self, engine: LocalEngine):
        """Hold the engine; ``start`` begins to answer."""
        self._engine, self._arrivals = engine, Arrivals()
        self._jobs: dict[int, _Job] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="earwitness-engine")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Cancel what is there and end the thread."""
        self._closing.set()
        with self._lock:
            rows = [job.row for job in self._jobs.values()]
        for row in rows:
            self.cancel(row)
        self._arrivals.close()
        self._thread.join()

    @property
    def queued(self) -> int:
        """Rows that wait for a place."""
        return len(self._arrivals)

    @property
    def running(self) -> int:
        """Rows that an engine's batch has taken."""
        return max(0, len(self._jobs) - len(self._arrivals))

    def prepare(self, request: Request, sampling: Sampling, follow: bool) -> Row:
        """Return a row for ``submit``; raises as ``LocalEngine.prepare`` does, before anything is computed."""
        return self._engine.prepare(request, sampling, next(self._numbers), follow)

    def submit(self, row: Row, on_event: Callable[[str, str], None], on_end: Callable[[Reply | None], None]) -> None:
        """Queue a row; both callbacks are called in the engine's threads.

        Args:
            row: from ``prepare``.
            on_event: gets (kind, text) of every piece, if the row is followed.
            on_end: gets the reply, once; None where it never ran or the engine failed under it.
        """
        with self._lock:
            self._jobs[row.index] = _Job(row, on_event, on_end)
        self._arrivals.add(row)

    def cancel(self, row: Row) -> None:
        """Stop a row; its place is free after the next token, at once if it still waits. Harmless when it is over."""
        row.request.cancel()
        if self._arrivals.remove(row):
            self._end(row.index, None)

    def _end(self, index: int, reply: Reply | None) -> None:
        with self._lock:
            job = self._jobs.pop(index, None)
        if job is not None:
            job.on_end(reply)

    def _on_event(self, event: Event) -> None:
        job = self._jobs.get(event.index)
        if job is not None:
            job.on_event(event.kind, event.text)

    def _work(self) -> None:
        while not self._closing.wait(_PAUSE_SECONDS):
            try:
                for index, reply in self._engine.run(self._arrivals, self._on_event):
                    self._end(index, reply)
                return
            except Exception:
                _LOG.exception("the engine failed; what ran is lost, what waits goes on")
                self._drop_running()

    def _drop_running(self) -> None:
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            if self._arrivals.remove(job.row):
                self._arrivals.add(job.row)  # in turn, so their order stays
            else:
                self._end(job.row.index, None)
