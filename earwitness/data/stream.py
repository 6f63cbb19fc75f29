"""Which examples a step learns from: a mixture of sources as a pure function of (seed, step).

A run that stopped goes on at its step, and ranks cut the same global batch in parts. Items of a window of batches are
sorted by length before they are cut into batches, so little is padded; the batches then come in random order. A step
is cut into passes of the model either padded (``micro_batches``) or packed (``packing.groups``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np

from earwitness.data.cache import UnusableAudio
from earwitness.data.dialogue import Example
from earwitness.data.mixture import Mixture, Shuffle
from earwitness.records import Sample

WINDOW_BATCHES = 24
_MEASURED = 64  # items of a source whose mean length stands for all of them
_MOST_SKIPPED = 100  # in a row: then the source is at fault and not a sample
T = TypeVar("T")


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def length(self) -> int: ...


N = TypeVar("N", bound=_Named)


class Samples(Protocol):
    """Samples by number: a list, or a ``Manifest``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Source:
    """Samples and how they become dialogues."""

    samples: Samples
    weight: float = 1.0
    """Share of the items, or of the tokens, relative to the other sources."""
    kinds: dict[str, float] = field(default_factory=lambda: {"think": 1.0})
    """Dialogue kind -> relative frequency; a kind that a sample cannot give (``fits``) is not drawn for it."""


class Stream:
    """The examples of every step."""

    def __init__(
        self,
        sources: dict[str, Source],
        example: Callable[[Sample, str, np.random.Generator], Example],
        fits: Callable[[Sample, str], bool],
        batch: int,
        seed: int,
        *,
        by_tokens: bool = False,
        max_tokens: int | None = None,
        skip: Callable[[str], None] | None = None,
    ) -> None:
        """Make a stream; every rank makes it with the same arguments.

        Args:
            sources: by name.
            example: builds the example of a sample and a kind; may draw from the generator.
            fits: whether a sample can give a dialogue of a kind.
            batch: items of a step, over all ranks.
            seed: of the order and of every choice.
            by_tokens: weights are shares of tokens, as the report gives its budgets, by the mean length of each
                source's first items.
            max_tokens: an example that is longer cannot be used; None for no limit.
            skip: is told once of every sample that cannot be used, and the next of its source takes its place, the
                same on every rank; None makes such a sample an error.
        """
        self._sources, self._example, self._fits = sources, example, fits
        self._batch, self._seed, self._max_tokens, self._skip = batch, seed, max_tokens, skip
        self.skipped: dict[str, str] = {}
        """Sample id -> why it cannot be used, as far as was read."""
        self._orders = {name: Shuffle(len(source.samples), seed, name) for name, source in sources.items()}
        weights = {name: source.weight for name, source in sources.items()}
        means = {name: self._mean_tokens(name) for name in sources} if by_tokens else {}
        self._mixture = Mixture.by_tokens(weights, means, seed) if by_tokens else Mixture(weights, seed)
        self._window = lru_cache(maxsize=2)(self._draw_window)

    def at(self, step: int) -> list[Example]:
        """Return the examples of a step, over all ranks, the longest last."""
        window, position = divmod(step, WINDOW_BATCHES)
        return self._window(window)[position]

    def item(self, number: int) -> Example:
        """Return item ``number`` of the stream; window w holds items w * window .. (w + 1) * window - 1."""
        return self._take(*self._mixture.at(number))

    def _mean_tokens(self, name: str) -> float:
        counts = range(min(_MEASURED, len(self._sources[name].samples)))
        return float(np.mean([len(self._take(name, count).ids) for count in counts]))

    def _take(self, name: str, count: int) -> Example:
        """Return what a source gives in its draw ``count``."""
        epoch, first = self._orders[name].at(count)
        length = len(self._sources[name].samples)
        for index in range(first, first + min(_MOST_SKIPPED, length)):
            sample = self._sources[name].samples[index % length]
            try:
                return self._make(name, epoch, index % length, sample)
            except (ValueError, UnusableAudio) as error:
                if self._skip is None:
                    raise
                if sample.id not in self.skipped:
                    self._skip(f"left out: {error}")
                self.skipped[sample.id] = str(error)
        raise ValueError(
            f"{min(_MOST_SKIPPED, length)} samples in a row of source {name!r} cannot be used, the last because: "
            f"{self.skipped[sample.id]}"
        )

    def _make(self, name: str, epoch: int, index: int, sample: Sample) -> Example:
        source = self._sources[name]
        rng = np.random.default_rng([self._seed, epoch, index, *name.encode()])
        kinds = {kind: share for kind, share in source.kinds.items() if share > 0 and self._fits(sample, kind)}
        if not kinds:
            raise ValueError(
                f"sample {sample.id} of source {name!r} has nothing for {', '.join(source.kinds)}; take it out or "
                "add a kind"
            )
        shares = np.array(list(kinds.values()))
        kind = list(kinds)[rng.choice(len(kinds), p=shares / shares.sum())]
        made = self._example(sample, kind, rng)
        if self._max_tokens is not None and len(made.ids) > self._max_tokens:
            raise ValueError(
                f"sample {sample.id} has {len(made.ids)} tokens and max_tokens is {self._max_tokens}; cut it or raise "
                "max_tokens"
            )
        return made

    def _draw_window(self, window: int) -> list[list[Example]]:
        size = self._batch * WINDOW_BATCHES
        items = [self.item(n) for n in range(window * size, (window + 1) * size)]
        items.sort(key=lambda example: len(example.ids))
        batches = [items[i : i + self._batch] for i in range(0, size, self._batch)]
        order = np.random.default_rng([self._seed, window]).permutation(len(batches))
        return [batches[i] for i in order]


def thinned(samples: Samples, shares: dict[str, float]) -> list[Sample]:
    """Return the samples less those of some question types, of which a share (0 to 1) stays, evenly spread."""
    due = dict.fromkeys(shares, 0.0)
    kept = []
    for sample in (samples[number] for number in range(len(samples))):
        before = due.get(sample.task, 0.0)
        due[sample.task] = before + shares.get(sample.task, 1.0)
        if int(due[sample.task]) > int(before):
            kept.append(sample)
    return kept


def part(items: Sequence[T], rank: int, size: int) -> list[T]:
    """Return a rank's part of a step's items, every ``size``-th: sorted by length, parts have like lengths."""
    return list(items[rank::size])


def micro_batches(rows: Sequence[N], max_tokens: int) -> list[list[N]]:
    """Cut a rank's rows (anything with a ``length`` in tokens and a ``name``) into groups for one pass each.

    The padded size of a group is at most ``max_tokens``.

    Raises:
        ValueError: an example that is longer, naming it.
    """
    groups: list[list[N]] = []
    for row in sorted(rows, key=lambda r: r.length):
        if row.length > max_tokens:
            raise ValueError(
                f"sample {row.name} has {row.length} tokens and a pass holds {max_tokens}; cut it or raise max_tokens"
            )
        if not groups or (len(groups[-1]) + 1) * row.length > max_tokens:
            groups.append([])
        groups[-1].append(row)
    return groups
