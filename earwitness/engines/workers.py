"""Several batches side by side on one CPU, each on its own core.

The products of a small model are too small to share: two cores together are hardly faster on one than one core
alone, and twice as fast on two (measured: 64 rows of 256 by 2,048). The weights are shared, and they fit the cache.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

import torch

from earwitness.engines.batch import Batch
from earwitness.engines.rows import Row
from earwitness.records import Reply

_Result = tuple[int, Reply] | BaseException | None


class _Shared(Iterator[Row]):
    """An iterator that several threads may read."""

    def __init__(self, rows: Iterator[Row]):
        self._rows = rows
        self._lock = threading.Lock()

    def __next__(self) -> Row:
        with self._lock:
            return next(self._rows)


def run_workers(batches: Sequence[Batch], rows: Iterator[Row]) -> Iterator[tuple[int, Reply]]:
    """Yield (index, reply) from batches that share the rows, each in a thread; ends them all when it is closed.

    While it runs, torch uses one core a thread for everything; the setting is restored at the end.
    """
    results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
    shared = _Shared(rows)
    cores = torch.get_num_threads()
    share = max(1, cores // len(batches))
    workers = [
        threading.Thread(target=_work, args=(batch, shared, results, share), daemon=True, name="earwitness-batch")
        for batch in batches
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
        torch.set_num_threads(cores)


def _work(batch: Batch, rows: Iterator[Row], results: queue.SimpleQueue[_Result], cores: int) -> None:
    torch.set_num_threads(cores)
    try:
        for result in batch.run(rows):
            results.put(result)
        results.put(None)
    except BaseException as error:  # noqa: BLE001 - raised again where the replies are read
        results.put(error)
