"""What the recipe is given before its first round: clips without chains, and text with them (report, section 3.1).

A clip gives its question with the answer alone, its description and its transcript. Chains stand on text only: sums,
logic, code, dialogues, and captions and transcripts that are argued about in words. So a model that begins here has
learned to think, and has never seen a thought about a sound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from earwitness import prompt, soundworld
from earwitness.data import dialogue
from earwitness.records import Sample

MOST_SEEDS = 200
"""Chains about sound that may be written where a cold-started model gives none at all."""


def world(suites: Sequence[str], first: int, count: int, split: str = "train") -> Iterator[Sample]:
    """Yield items ``first`` to ``first + count - 1`` of every suite, the suites taking turns."""
    for index in range(first, first + count):
        for suite in suites:
            yield soundworld.sample(suite, split, index)


def heard(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield what samples with sound give to learn: direct answer, description, transcript; never a chain.

    A conversation keeps its turns and loses the chain of its last reply. Samples without sound are passed on as they
    are, with an empty chain: they teach that there is nothing to hear.
    """
    for sample in samples:
        if dialogue.fits(sample, "direct"):
            yield _direct(sample)
        if not sample.audio:
            continue
        for kind, text in (("caption", sample.extra.get("caption")), ("transcribe", sample.transcript)):
            if text:
                task = prompt.TASKS[kind]
                yield Sample(f"{sample.id}-{kind}", sample.audio, task, answer=text, domain=sample.domain, task=kind)


def _direct(sample: Sample) -> Sample:
    if sample.messages:
        messages, _, answer = dialogue.dialogue(sample, "direct")
        turns = (*messages, {"role": "assistant", "content": answer})
        return dataclasses.replace(sample, messages=turns, reasoning=None)
    return bare(sample)


def bare(sample: Sample) -> Sample:
    """Return a question without what only SoundWorld or an annotator knows: chain, facts, captions, parameters."""
    condition = {k: v for k, v in sample.extra.items() if k == "condition"}
    return dataclasses.replace(sample, reasoning=None, facts=None, rubric=None, transcript=None, extra=condition)


def text(first: int, count: int) -> Iterator[Sample]:
    """Yield SoundWorld's text tasks, every third without its chain and the others with it.

    Were all of them with a chain, a model would learn that texts are thought about and sounds are not, and an opened
    chain would say nothing to it where there is sound.
    """
    for number, sample in enumerate(world(("text_tasks",), first, count)):
        reasoning = sample.reasoning if (number + 1) % 3 else None
        yield dataclasses.replace(sample, reasoning=reasoning, facts=None, extra={})


def seeds(suites: Sequence[str], first: int, count: int) -> list[Sample]:
    """Return ``count`` chains about sound written from SoundWorld's facts; a model that needs them has it on its card.

    Raises:
        ValueError: more than ``MOST_SEEDS``.
    """
    if count > MOST_SEEDS:
        raise ValueError(f"{count} seed chains are more than {MOST_SEEDS}; a model must find its own")
    items = world(suites, first, -(-count // max(1, len(suites))))
    return [dataclasses.replace(bare(s), id=f"{s.id}-seed", reasoning=s.reasoning) for s in items][:count]


def gist(sample: Sample) -> Sample:
    """Return a SoundWorld item whose caption says what is heard and not how, as a tagger or a person would write it.

    Its own caption lists every fact that a question may ask for, so that no question would need the sound.
    """
    events = (sample.facts or {}).get("events", ())
    names = {str(e[key]) for e in events for key in ("timbre", "sound", "speaker") if key in e}
    caption = f"There is {', '.join(sorted(names))}." if names else ""
    return dataclasses.replace(sample, extra={**sample.extra, "caption": caption})


def texts(samples: Iterable[Sample]) -> Iterator[str]:
    """Yield the texts of samples, for a tokenizer."""
    for sample in samples:
        yield from (sample.question, sample.reasoning or "", sample.answer or "", ", ".join(sample.choices))
        yield from (m["content"] for m in sample.messages if isinstance(m.get("content"), str))
