"""Which items make up the batch of a step: shuffled, of similar length, and a pure function of (seed, step)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_POOL_BATCHES = 24


class LengthBatches:
    """Batches of ``batch`` items with similar lengths; an epoch sees every item once (but for a last partial batch)."""

    def __init__(self, lengths: np.ndarray, batch: int, seed: int) -> None:
        if len(lengths) < batch:
            raise ValueError(f"{len(lengths)} items cannot fill a batch of {batch}")
        self.lengths, self.batch, self.seed = np.asarray(lengths), batch, seed
        self.per_epoch = len(lengths) // batch
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def _draw_epoch(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        pool = self.batch * _POOL_BATCHES
        pools = [order[i : i + pool] for i in range(0, len(order), pool)]
        order = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
        batches = [order[i : i + self.batch] for i in range(0, self.per_epoch * self.batch, self.batch)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def at(self, step: int) -> tuple[int, np.ndarray]:
        """Return (epoch, item indices) of a step."""
        epoch, position = divmod(step, self.per_epoch)
        return epoch, self._epoch(epoch)[position]
