"""Intervals, paired tests and blind baselines for scored items. Pure functions; numpy only."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from earwitness.records import Sample

_Z95 = 1.959963984540054
_Z80 = 0.8416212335729143


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


def clustered(scores: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """Return a mean with its 95 % interval where items of one cluster (a clip, a passage, repeats) are not independent.

    The standard error is the cluster-robust one (Liang and Zeger 1986) with the correction G / (G - 1) for G clusters,
    and the interval takes Student's t with G - 1 degrees of freedom. One cluster alone says nothing: then it is all of
    0 to 1.
    """
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1 or not len(values) or len(values) != len(clusters):
        raise ValueError(
            f"{len(values)} scores in {len(clusters)} clusters; give one cluster a score, and one at least"
        )
    sums = _cluster_sums(values - values.mean(), clusters)
    groups = len(sums)
    mean = float(values.mean())
    if groups < 2:
        return Interval(mean, 0.0, 1.0)
    error = math.sqrt(groups / (groups - 1) * float((sums**2).sum())) / len(values)
    half = t_quantile(groups - 1) * error
    return Interval(mean, mean - half, mean + half)


def _cluster_sums(values: np.ndarray, clusters: Sequence[Hashable]) -> np.ndarray:
    """Return the sum of each cluster, in the order in which clusters first occur."""
    places: dict[Hashable, int] = {}
    index = [places.setdefault(cluster, len(places)) for cluster in clusters]
    return np.bincount(index, weights=values, minlength=len(places))


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % point of Student's t: exact for 1 and 2 degrees of freedom, else within 0.3 %.

    The expansion around the normal's is number 26.7.5 of Abramowitz and Stegun.
    """
    if freedom < 1:
        raise ValueError(f"Student's t has at least 1 degree of freedom, not {freedom}")
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = _Z95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def paired(
    first: Sequence[float],
    second: Sequence[float],
    draws: int = 2000,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Paired:
    """Compare two conditions on the same items, in the same order.

    Args:
        first: right or wrong, or scores, of one condition.
        second: of the other.
        draws: bootstrap samples behind the interval.
        seed: of those samples.
        clusters: of each item; then the bootstrap draws whole clusters. McNemar's test takes items as independent.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"paired comparison needs two equal, non-empty lists; got {a.shape} and {b.shape}")
    rng = np.random.default_rng(seed)
    difference = a - b
    if clusters is None:
        means = [difference[rng.integers(len(a), size=len(a))].mean() for _ in range(draws)]
    else:
        if len(clusters) != len(a):
            raise ValueError(f"{len(a)} items have {len(clusters)} clusters; give one an item")
        sums, sizes = _cluster_sums(difference, clusters), _cluster_sums(np.ones(len(a)), clusters)
        picks = (rng.integers(len(sums), size=len(sums)) for _ in range(draws))
        means = [sums[pick].sum() / sizes[pick].sum() for pick in picks]
    low, high = np.quantile(means, [0.025, 0.975])
    only_first, only_second = int((a > b).sum()), int((a < b).sum())
    interval = Interval(float(difference.mean()), float(low), float(high))
    return Paired(float(a.mean()), float(b.mean()), interval, only_first, only_second, mcnemar(only_first, only_second))


def detectable_difference(items: int, discordant: float) -> float:
    """Return the smallest difference of two accuracies on the same items that a test finds with 80 % power at 5 %.

    Args:
        items: how many both are asked.
        discordant: share of items that only one of them gets right, as between two runs of ``paired``; two models that
            err independently at accuracies p and q have p (1 - q) + q (1 - p).

    Returns:
        The difference, which ``discordant`` bounds: infinite where the items are too few to find even that. Connor
        (1987) gives the items that a difference needs; this is the inverse.
    """
    if items < 1 or not 0 <= discordant <= 1:
        raise ValueError(f"{items} items of which a share of {discordant} differs; give at least 1, and 0 to 1")
    a, b = _Z95, _Z80
    root = a * math.sqrt(items) + b * math.sqrt(max(0.0, items + b**2 - a**2))
    least = math.sqrt(discordant) * root / (items + b**2)
    return least if least <= discordant else math.inf


def position_baseline(counts: Sequence[int], right: Sequence[int]) -> list[float]:
    """Return what always answering choice 0, 1, ... scores; ``counts`` are the choices of each item."""
    if len(counts) != len(right) or not counts:
        raise ValueError(f"{len(counts)} items have {len(right)} answers; give one an item, and one at least")
    return [sum(place == k for place in right) / len(right) for k in range(max(counts))]


def longest_baseline(lengths: Sequence[Sequence[int]], right: Sequence[int]) -> float:
    """Return what always answering the longest choice scores; of several longest, each counts its share."""
    if len(lengths) != len(right) or not lengths:
        raise ValueError(f"{len(lengths)} items have {len(right)} answers; give one an item, and one at least")
    shares = [(of[place] == max(of)) / of.count(max(of)) for of, place in zip(lengths, right)]
    return sum(shares) / len(shares)


def shuffled(sample: Sample, seed: int) -> Sample:
    """Return the sample with its choices in an order that depends on ``seed`` and its id alone."""
    if len(sample.choices) < 2:
        return sample
    digest = hashlib.sha256(f"{seed}/{sample.id}".encode()).digest()
    order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(sample.choices))
    return dataclasses.replace(sample, choices=tuple(sample.choices[i] for i in order))
