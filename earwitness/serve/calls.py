"""One HTTP request while its choices run: the engine's threads put in what happens, the event loop takes it out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from earwitness.engines.rows import Row
from earwitness.records import Reply
from earwitness.serve.errors import ApiError
from earwitness.serve.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a streamed choice; ``kind`` is ``thinking`` or ``answer``."""

    choice: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a choice; no reply where the engine failed."""

    choice: int
    reply: Reply | None


class Call:
    """The rows of one request, from submission to the last reply or to whatever ends it early."""

    def __init__(self, scheduler: Scheduler, rows: list[Row]):
        """Queue the rows; must be made on the event loop."""
        self.rows = rows
        self._scheduler, self._loop = scheduler, asyncio.get_running_loop()
        self._items: asyncio.Queue[Piece | Ending | ApiError] = asyncio.Queue()
        for choice, row in enumerate(rows):
            self._submit(choice, row)

    def _submit(self, choice: int, row: Row) -> None:
        def on_event(kind: str, text: str) -> None:
            self._put(Piece(choice, kind, text))

        def on_end(reply: Reply | None) -> None:
            self._put(Ending(choice, reply))

        self._scheduler.submit(row, on_event, on_end)

    def _put(self, item: Piece | Ending | ApiError) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    def end(self, error: ApiError) -> None:
        """Stop the rows and raise ``error`` where the items are read; on the event loop only."""
        self.cancel()
        self._items.put_nowait(error)

    def cancel(self) -> None:
        """Stop the rows; harmless when they are over."""
        for row in self.rows:
            self._scheduler.cancel(row)

    async def items(self) -> AsyncIterator[Piece | Ending]:
        """Yield what happens until every choice has ended; raises the ``ApiError`` that ends the call early."""
        left = len(self.rows)
        while left:
            item = await self._items.get()
            if isinstance(item, ApiError):
                raise item
            if isinstance(item, Ending):
                left -= 1
                if item.reply is None:
                    raise ApiError(500, "the engine failed while it answered; try again, or look into the server's log")
            yield item
