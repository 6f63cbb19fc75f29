"""Several batches side by side on one CPU, each on its own core.

The products of a small model are too small to share: two cores together are hardly faster on one than one core
alone, and twice as fast on two (measured: 64 rows of 256 by 2,048). The weights are shared, and they fit the cache.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence

import torch

from earwitness.engines.batch import Batch
from earwitness.engines.rows import Row
from earwitness.records import Reply

_Result = tuple[int, Reply] | BaseException | None
_BLOCK = 16  # replies to one prompt stand together, and are then prefilled together
Replies = Generator[tuple[int, Reply], None, None]


class _Shared(Iterator[Row]):
    """An iterator that several threads may read."""

    def __init__(self, rows: Iterator[Row]):
        self._rows = rows
        self._lock = threading.Lock()

    def __next__(self) -> Row:
        with self._lock:
            return next(self._rows)


class _Dealt:
    """An iterator dealt out to several threads in turn, ``_BLOCK`` rows each, however fast they are."""

    def __init__(self, rows: Iterator[Row], parts: int):
        self._rows = enumerate(rows)
        self._lock = threading.Lock()
        self._waiting: list[deque[Row]] = [deque() for _ in range(parts)]

    def parts(self) -> list[Iterator[Row]]:
        """Return one iterator for each thread."""
        return [self._part(mine) for mine in self._waiting]

    def _part(self, mine: deque[Row]) -> Iterator[Row]:
        while True:
            with self._lock:
                while not mine:
                    index, row = next(self._rows, (-1, None))
                    if row is None:
                        return
                    self._waiting[index // _BLOCK % len(self._waiting)].append(row)
                row = mine.popleft()
            yield row


def run_batches(batches: Sequence[Batch], rows: Iterator[Row], cores_each: int, in_turn: bool = False) -> Replies:
    """Yield (index, reply) from batches that share the rows; several run in a thread each.

    Which batch a row joins depends on timing, and rounding on the batch; with ``in_turn`` rows are dealt out in turn,
    so that the same rows give the same replies to the bit.

    Until it is closed, torch uses ``cores_each`` cores an operation in the whole process; then the setting is
    restored, and all threads have ended.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(cores_each)
    try:
        if len(batches) == 1:
            yield from batches[0].run(rows)
        else:
            parts = _Dealt(rows, len(batches)).parts() if in_turn else [_Shared(rows)] * len(batches)
            yield from _run_threads(batches, parts, cores_each)
    finally:
        torch.set_num_threads(cores)


def _run_threads(batches: Sequence[Batch], parts: Sequence[Iterator[Row]], cores_each: int) -> Replies:
    results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
    workers = [
        threading.Thread(target=_work, args=(batch, part, results, cores_each), daemon=True, name="earwitness-batch")
        for batch, part in zip(batches, parts)
    ]
    try:
        for worker in workers:
            worker.start()
        running = len(workers)
        while running:
            result = results.get()
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        for batch in batches:
            batch.stopped.set()
        for worker in workers:
            worker.join()


def _work(batch: Batch, rows: Iterator[Row], results: queue.SimpleQueue[_Result], cores: int) -> None:
    torch.set_num_threads(cores)
    try:
        for result in batch.run(rows):
            results.put(result)
        results.put(None)
    except BaseException as error:  # raised again where the replies are read
        results.put(error)
