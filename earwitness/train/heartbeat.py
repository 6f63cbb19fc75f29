"""Each rank tells the others that it lives, so that a rank that died or hangs ends the run within a minute.

A collective cannot tell a slow rank from a dead one: rollouts of ten thousand tokens make ranks wait for long. A
thread that writes the time into the store of the process group can.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import torch.distributed as dist

PERIOD_SECONDS = 5.0
SILENCE_SECONDS = 45.0
"""A rank that has been silent for so long is taken to be dead."""
EXIT_CODE = 1

_stopped = threading.Event()
_threads: list[threading.Thread] = []
_DONE = "done"


def start(period: float = PERIOD_SECONDS, silence: float = SILENCE_SECONDS) -> None:
    """Begin to beat and to watch; ends the process with one sentence when another rank falls silent."""
    # A store handle of its own: a blocking call of another thread must not hold this one up.
    store = dist.distributed_c10d._get_default_store().clone()  # type: ignore[attr-defined]
    rank, size = dist.get_rank(), dist.get_world_size()
    _stopped.clear()
    _threads.append(threading.Thread(target=_beat, args=(store, rank, size, period, silence), daemon=True))
    _threads[-1].start()


def stop() -> None:
    """Say that this rank ends in good order, so that nobody takes it for dead."""
    _stopped.set()
    while _threads:  # a thread that still talks to a store that is gone would abort the process
        _threads.pop().join()
    store = dist.distributed_c10d._get_default_store()
    store.set(f"alive/{dist.get_rank()}", _DONE)


def _beat(store: dist.Store, rank: int, size: int, period: float, silence: float) -> None:
    seen = {other: ("", time.monotonic()) for other in range(size) if other != rank}
    beats = 0
    while not _stopped.wait(period):
        beats += 1
        try:
            store.set(f"alive/{rank}", str(beats))
            for other, (last, since) in seen.items():
                key = f"alive/{other}"
                now = store.get(key).decode() if store.check([key]) else ""
                if now != last or now == _DONE:
                    seen[other] = (now, time.monotonic())
                elif time.monotonic() - since > silence:
                    _end(f"rank {other} has been silent for {silence:.0f} s and is taken to be dead")
        except Exception:  # the store lives in rank 0
            if _stopped.is_set():
                return
            _end("rank 0 cannot be reached any more")


def _end(what: str) -> None:
    print(f"error: {what}; start the same command again to continue from the last checkpoint", file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_CODE)
