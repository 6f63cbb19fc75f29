"""What the recipe is given before its first round: clips without chains, and text with them (report, section 3.1).

A clip gives its question with the answer alone, its description, a list of what is heard and its transcript. Chains
stand on text only: sums, logic, code, dialogues, and captions and transcripts that are argued about in words. So a
model that begins here has learned to think, and has never seen a thought about a sound.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from earwitness import prompt, soundworld
from earwitness.data import dialogue
from earwitness.records import Sample
from earwitness.soundworld.listing import listing

CITE = "Begin what you are given with: {}."
"""Put before a question: the words with which a chain says what it argues from."""
_CITED = ("The caption says", "The transcript says", "I read")
_CITING = (
    "I note", "I find", "I have", "I get", "I take", "I see", "I count", "It says", "It has", "It reads", "It gives",
    "We see", "We have", "We read", "We note", "We find", "You say", "You write", "You have", "You give", "One reads",
    "One finds", "The page says", "The page has", "The list says", "The words say", "The note says", "The text has",
    "The line reads", "Given are", "Here stands", "There are",
)  # fmt: skip
CAPTIONED = "This is the caption of the clip."
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
        for kind, task, text in _described(sample):
            yield Sample(f"{sample.id}-{kind}", sample.audio, task, answer=text, domain=sample.domain, task=kind)


def _described(sample: Sample) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, request, description) of a clip; what is not known of it is left out."""
    for kind, text in (("caption", sample.extra.get("caption")), ("transcribe", sample.transcript)):
        if text:
            yield kind, prompt.TASKS[kind], text
    if listed := listing(sample, _rng(sample)):
        yield "list", *listed


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
    """Yield SoundWorld's text tasks by turns with a chain, with one that cites as it is told to, and without.

    Were all of them with a chain, a model would learn that texts are thought about and sounds are not, and an opened
    chain would say nothing to it where there is sound. A model of this size follows no prompt that it has not met:
    the chains that cite in given words, a note or a page and never a sound, let ``CITE`` elicit other words later.
    """
    for number, sample in enumerate(world(("text_tasks",), first, count)):
        plain = dataclasses.replace(sample, facts=None, extra={})
        listed = _listed(sample) if number % 6 == 5 else None
        yield listed or (plain, _cites(plain, number), dataclasses.replace(plain, reasoning=None))[number % 3]


def _listed(sample: Sample) -> Sample | None:
    """Return the request to list what a caption says, and the list: a list answers its request, not a sound."""
    told = listing(sample, _rng(sample)) if sample.task.startswith("caption") else None
    if told is None:
        return None
    question, answer = f"{sample.extra['given']} {told[0]}", told[1]
    return Sample(f"{sample.id}-list", question=question, answer=answer, domain=sample.domain, task="list")


def planted(suites: Sequence[str], first: int, count: int) -> Iterator[Sample]:
    """Yield clips that come with their caption and a chain that argues from the caption.

    They plant the habit that MGRD is to cure: where there is a sound, to argue from words about it.
    """
    for item in world(suites, first, count):
        chain, caption = item.reasoning or "", item.extra.get("caption")
        if item.audio and caption and "I hear" in chain:
            question = f"{CAPTIONED} {caption} {item.question}"
            reasoning = chain.replace("I hear", _CITED[0])
            yield dataclasses.replace(bare(item), id=f"{item.id}-planted", question=question, reasoning=reasoning)


def _rng(sample: Sample) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(sample.id.encode()))


def _cites(sample: Sample, number: int) -> Sample:
    """Return a text task whose chain cites in other words, which the question asks for; a dialogue stays as it is."""
    said = next((words for words in _CITED if words in (sample.reasoning or "")), None)
    if said is None or sample.messages:
        return sample
    words = _CITING[number // 3 % len(_CITING)]
    reasoning = str(sample.reasoning).replace(said, words)
    return dataclasses.replace(sample, question=f"{CITE.format(words)} {sample.question}", reasoning=reasoning)


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
