"""Intervals and paired tests for right-or-wrong items. Pure functions; numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_Z95 = 1.959963984540054


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """Two conditions on the same items: accuracies, their difference, and how sure it is."""

    first: float
    second: float
    difference: Interval
    """first - second, with a paired bootstrap interval."""
    only_first: int
    """Items that only the first got right."""
    only_second: int
    p: float
    """Exact two-sided McNemar test."""


def wilson(correct: int, total: int) -> Interval:
    """Return a proportion with its 95 % Wilson score interval (Wilson 1927)."""
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"{correct} of {total} is not a proportion")
    p, z2 = correct / total, _Z95**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z95 / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test from the discordant counts (binomial, p = 1/2)."""
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(k + 1)]
    return min(1.0, 2 * math.fsum(math.exp(x) for x in logs))


def paired(first: Sequence[bool], second: Sequence[bool], draws: int = 2000, seed: int = 0) -> Paired:
    """Compare two conditions on the same items, in the same order."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"paired comparison needs two equal, non-empty lists; got {a.shape} and {b.shape}")
    rng = np.random.default_rng(seed)
    difference = a - b
    means = [difference[rng.integers(len(a), size=len(a))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    only_first, only_second = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    interval = Interval(float(difference.mean()), float(low), float(high))
    return Paired(float(a.mean()), float(b.mean()), interval, only_first, only_second, mcnemar(only_first, only_second))
