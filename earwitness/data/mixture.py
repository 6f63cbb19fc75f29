"""Mixtures of data sources as a stream without state: item number n is a pure function of (seed, n).

A run that stopped at item n goes on at item n. Ranks of a distributed run take items n with n % ranks == rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

MIDTRAINING_TOKENS = {"text": 1_000_000_000, "audio": 4_000_000_000}  # report, section 3.1
RL_ITEMS = {"text": 2_000, "audio": 3_000}  # report, section 3.2

_MIN_BLOCK = 64
_MAX_BLOCK = 1 << 20


class Draw(NamedTuple):
    """The source of an item, and how many items the stream took from that source before it."""

    source: str
    number: int


class Mixture:
    """Items from several sources in fixed shares.

    The stream is cut into blocks. At the end of every block each source has its share of all items so far to within
    one item; inside of a block the items of each source are spread evenly, with a random offset each.
    """

    def __init__(self, weights: Mapping[str, float], seed: int) -> None:
        """Make a mixture by items.

        Args:
            weights: source -> weight above 0; only ratios count. Their order is part of the result.
            seed: of the order.

        Raises:
            ValueError: no sources, a weight that is not above 0, or one below a millionth of all.
        """
        if not weights:
            raise ValueError("a mixture needs at least one source; give weights such as {'text': 1, 'audio': 4}")
        for name, weight in weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"the weight of source {name!r} is {weight}; give a number above 0 or leave it out")
        exact = {name: Fraction(weight) for name, weight in weights.items()}
        total = sum(exact.values())
        self.shares = {name: weight / total for name, weight in exact.items()}
        self.seed = seed
        smallest = min(self.shares, key=self.shares.__getitem__)
        # With at least one item of each source a block, no cumulative count falls from one block to the next.
        self.block = max(_MIN_BLOCK, math.ceil(1 / self.shares[smallest]))
        if self.block > _MAX_BLOCK:
            raise ValueError(f"source {smallest!r} has less than a millionth of the mixture; raise its weight")
        self._draws = lru_cache(maxsize=4)(self._draw_block)

    @classmethod
    def by_tokens(cls, tokens: Mapping[str, float], mean_tokens: Mapping[str, float], seed: int) -> Mixture:
        """Return the mixture whose sources supply tokens in given shares.

        Args:
            tokens: source -> budget; the report's is ``MIDTRAINING_TOKENS``.
            mean_tokens: source -> mean tokens of its items. Over whole passes of a source the share is exact; within
                one it varies with the lengths that were drawn.
            seed: of the order.
        """
        for name in tokens:
            if not mean_tokens.get(name, 0) > 0:
                raise ValueError(f"source {name!r} needs its mean tokens an item, above 0, in mean_tokens")
        return cls(
            {name: float(Fraction(budget) / Fraction(mean_tokens[name])) for name, budget in tokens.items()}, seed
        )

    def at(self, n: int) -> Draw:
        """Return the source of item n (from 0), and the item's number within that source."""
        if n < 0:
            raise ValueError(f"item {n} of a mixture was asked for; items begin at 0")
        block, position = divmod(n, self.block)
        return self._draws(block)[position]

    def draws(self, start: int = 0) -> Iterator[Draw]:
        """Yield the items from number ``start`` on, without end."""
        n = start
        while True:
            yield self.at(n)
            n += 1

    def counts(self, blocks: int) -> dict[str, int]:
        """Return how many items each source has in the first blocks; each within one of its share."""
        edges, below = [0], Fraction(0)
        for share in self.shares.values():
            below += share
            edges.append(math.floor(blocks * self.block * below + Fraction(1, 2)))
        edges[-1] = blocks * self.block
        return {name: high - low for name, low, high in zip(self.shares, edges, edges[1:])}

    def _draw_block(self, block: int) -> list[Draw]:
        rng = np.random.default_rng([self.seed, block])
        before, after = self.counts(block), self.counts(block + 1)
        keyed = []
        for name in self.shares:
            number = after[name] - before[name]
            places = (np.arange(number) + rng.random(number)) / max(number, 1)
            keyed += [(float(place), name, before[name] + i) for i, place in enumerate(places)]
        return [Draw(name, number) for _, name, number in sorted(keyed)]


class Shuffle:
    """The order in which a source of known length is read: every item once an epoch, each epoch anew."""

    def __init__(self, length: int, seed: int, name: str = "") -> None:
        if length < 1:
            raise ValueError(f"source {name!r} has no items; give it some or leave it out of the mixture")
        self.length = length
        self._entropy = [seed, *name.encode()]
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([epoch, *self._entropy]).permutation(self.length)

    def at(self, number: int) -> tuple[int, int]:
        """Return (epoch, item) of the draw with this number."""
        epoch, position = divmod(number, self.length)
        return epoch, int(self._order(epoch)[position])
