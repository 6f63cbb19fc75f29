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
_LOOK_SECONDS = 0.5  # how soon a held batch sees that another one has failed
Replies = Generator[tuple[int, Reply], None, None]


class Arrivals:
    """Rows that come from any thread while others run, and that several batches read."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Put a row at the end of the queue."""
        with self._changed:
            self._rows.append(row)
            self._changed.notify()

    def remove(self, row: Row) -> bool:
        """Take a row out of the queue; False if a batch has read it already."""
        with self._changed:
            found = next((i for i, waiting in enumerate(self._rows) if waiting is row), None)
            if found is not None:
                del self._rows[found]
            return found is not None

    def close(self) -> None:
        """Let the batches end when the queue is empty."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def read(self, batch: Batch) -> Iterator[Row | None]:
        """Yield what waits to a batch, then a None, and so on; an idle batch is held here until there is something."""
        while not batch.stopped.is_set():
            with self._changed:
                while not (self._rows or self._is_closed or batch.stopped.is_set()) and batch.is_idle:
                    self._changed.wait(_LOOK_SECONDS)
            while (row := self._pop()) is not None:
                yield row
            if self._is_closed:
                return
            yield None

    def _pop(self) -> Row | None:
        with self._changed:
            return self._rows.popleft() if self._rows else None


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


def run_arrivals(batches: Sequence[Batch], arrivals: Arrivals, cores_each: int) -> Replies:
    """Yield (index, reply) as they end, from batches that read one queue, until it is closed and empty."""
    return _run(batches, [arrivals.read(batch) for batch in batches], cores_each)


def run_batches(batches: Sequence[Batch], rows: Iterator[Row], cores_each: int, in_turn: bool = False) -> Replies:
    """Yield (index, reply) from batches that share the rows; several run in a thread each.

    Which batch a row joins depends on timing, and rounding on the batch; with ``in_turn`` rows are dealt out in turn,
    so that the same rows give the same replies to the bit.

    Until it is closed, torch uses ``cores_each`` cores an operation in the whole process; then the setting is
    restored, and all threads have ended.
    """
    if len(batches) == 1:
        return _run(batches, [rows], cores_each)
    parts = _Dealt(rows, len(batches)).parts() if in_turn else [_Shared(rows)] * len(batches)
    return _run(batches, parts, cores_each)


def _run(batches: Sequence[Batch], parts: Sequence[Iterator[Row | None]], cores_each: int) -> Replies:
    cores = torch.get_num_threads()
    torch.set_num_threads(cores_each)
    try:
        if len(batches) == 1:
            yield from batches[0].run(parts[0])
        else:
            yield from _run_threads(batches, parts, cores_each)
    finally:
        torch.set_num_threads(cores)


def _run_threads(batches: Sequence[Batch], parts: Sequence[Iterator[Row | None]], cores_each: int) -> Replies:
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


def _work(batch: Batch, rows: Iterator[Row | None], results: queue.SimpleQueue[_Result], cores: int) -> None:
    torch.set_num_threads(cores)
    try:
        for result in batch.run(rows):
            results.put(result)
        results.put(None)
    except BaseException as error:  # raised again where the replies are read
        results.put(error)
