"""What a SoundWorld suite is made of, and how a sample is drawn from it.

A sample is a pure function of (suite, split, index, ``VERSION``). The order of the draws is what keeps it honest:

1. question type, parameters and choices; then the answer, uniform over the choices;
2. the layout: clip length, level, number of events, everything a shortcut could read; it never sees the answer;
3. facts, proposed until they give that answer and their hash falls into the split's share of all facts.

So neither the text nor (length, level) tells the answer, and no two splits share facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.records import Sample
from earwitness.soundworld.grammar import Phrasings

VERSION = "1"
SAMPLE_RATE = 16_000
SPLITS = ("train", "validation", "test", "heldout")
# Shares of the 256 values of a facts hash's first byte.
_SHARES = {"train": (0, 200), "validation": (200, 216), "test": (216, 240), "heldout": (240, 256)}
_MAX_PROPOSALS = 200_000

Facts = dict[str, Any]
Params = dict[str, Any]
Layout = dict[str, Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Span:
    """A labelled stretch of a clip, in seconds; ``tag`` is ``group=value``, such as ``timbre=flute``."""

    start: float
    end: float
    tag: str


@dataclass(frozen=True)
class QuestionType:
    """One kind of question. ``draw`` and ``layout`` never see the answer; ``answer`` is the only source of truth."""

    name: str
    steps: int
    """Number of dependent steps to the answer: 1, 2, or 3 for three and more."""
    reasoning_type: str
    phrasings: Phrasings
    draw: Callable[[Rng, str], Params]
    """(rng, split) -> parameters; must hold ``choices`` (tuple of str) and every ``{name}`` of the phrasings."""
    answer: Callable[[Facts, Params], str | None]
    """The true answer, or None where the question is not well posed on these facts."""
    chain: Callable[[Facts, Params], str]
    """A reasoning chain in plain English that follows from the facts and leads to the answer."""
    propose: Callable[[Rng, str, Layout, Params, str], Facts] | None = None
    """Faster proposals for a given answer than the suite's own; must still draw everything else at random."""
    min_events: int = 2
    weight: float = 1.0
    heldout: bool = True
    """False where the question cannot be asked of held-out timbres or voices."""


@dataclass(frozen=True)
class Suite:
    """A family of clips and the questions that can be asked of them."""

    name: str
    types: tuple[QuestionType, ...]
    layout: Callable[[Rng, str, QuestionType, Params], Layout]
    """Answer-independent frame of a clip: at least ``seconds`` (clip length) and ``level_db`` (RMS, dBFS)."""
    propose: Callable[[Rng, str, Layout, Params], Facts]
    """Random facts within a layout: ``events`` in time order (start, end, attributes) and clip-wide attributes."""
    key: Callable[[Facts], Any]
    """What two clips share when they have the same facts: the symbols, without times and detunings."""
    render: Callable[[Facts, Rng], tuple[np.ndarray, list[Span]]]
    """Facts -> (float32 waveform before levelling, spans for dense supervision)."""
    caption: Callable[[Facts], str]
    """The text twin: everything a question may ask for, in one or two sentences."""
    tags: tuple[str, ...]
    """Every tag that ``render`` may emit."""

    def type(self, name: str) -> QuestionType:
        """Return the question type called ``name``."""
        return next(t for t in self.types if t.name == name)


def rng_of(*parts: object) -> Rng:
    """Return a generator seeded by the text of ``parts``, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def facts_hash(suite: Suite, facts: Facts) -> str:
    """Return the hash of the symbolic facts, which decides the split they belong to."""
    return hashlib.sha256(json.dumps([suite.name, suite.key(facts)]).encode()).hexdigest()


def split_of(digest: str) -> str:
    """Return the split that owns a facts hash."""
    byte = int(digest[:2], 16)
    return next(name for name, (low, high) in _SHARES.items() if low <= byte < high)


@dataclass(frozen=True)
class Draft:
    """A drawn sample before it is put into words."""

    type: QuestionType
    params: Params
    answer: str
    facts: Facts
    digest: str
    question: str


def draw(suite: Suite, split: str, index: int) -> Draft:
    """Draw item ``index`` of a split: question, answer and facts, in the order the module docstring explains."""
    rng = rng_of("soundworld", VERSION, suite.name, split, index)
    types = [t for t in suite.types if split != "heldout" or t.heldout]
    weights = np.array([t.weight for t in types])
    kind = types[int(rng.choice(len(types), p=weights / weights.sum()))]
    params = kind.draw(rng, split)
    choices = params["choices"]
    answer = choices[int(rng.integers(len(choices)))]
    layout = suite.layout(rng, split, kind, params)
    for _ in range(_MAX_PROPOSALS):
        if kind.propose:
            facts = kind.propose(rng, split, layout, params, answer)
        else:
            facts = suite.propose(rng, split, layout, params)
        if kind.answer(facts, params) != answer:
            continue
        facts = {"suite": suite.name, "seconds": layout["seconds"], "level_db": layout["level_db"], **facts}
        digest = facts_hash(suite, facts)
        if split_of(digest) == split:
            return Draft(kind, params, answer, facts, digest, kind.phrasings.draw(rng, split, params))
    raise RuntimeError(f"{suite.name}/{kind.name}: no facts give {answer!r} with {params}; widen its proposals")


def to_sample(suite: Suite, split: str, index: int) -> Sample:
    """Return the sample at an address, with question, choices, answer, facts, caption and chain."""
    draft = draw(suite, split, index)
    return Sample(
        id=f"{suite.name}-{split}-{index}",
        audio=(f"soundworld:{suite.name}/{split}/{index}@{VERSION}",),
        question=draft.question,
        choices=tuple(draft.params["choices"]),
        answer=draft.answer,
        answer_type="choice",
        domain=suite.name,
        task=draft.type.name,
        reasoning_type=draft.type.reasoning_type,
        tags=(f"steps:{draft.type.steps}",),
        transcript=draft.facts.get("transcript"),
        facts=draft.facts,
        reasoning=draft.type.chain(draft.facts, draft.params),
        source={"benchmark": "soundworld", "version": VERSION, "hash": draft.digest},
        extra={"caption": suite.caption(draft.facts), "params": draft.params},
    )


def render(suite: Suite, facts: Facts, seed: str) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, spans): mono float32 at 16 kHz, of exactly ``facts['seconds']``, at RMS ``level_db`` dBFS."""
    wave, spans = suite.render(facts, rng_of("render", VERSION, suite.name, seed))
    length = round(facts["seconds"] * SAMPLE_RATE)
    wave = np.pad(wave[:length], (0, max(0, length - len(wave)))).astype(np.float32)
    rms = float(np.sqrt(np.mean(np.square(wave)))) or 1.0
    wave = wave * (10 ** (facts["level_db"] / 20) / rms)
    # Levels are drawn low enough that this limit is not reached; it guards the file format, not the loudness.
    return np.clip(wave, -1, 1).astype(np.float32), spans
