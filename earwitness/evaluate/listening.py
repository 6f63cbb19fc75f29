"""Does the model listen, and does thinking help? SoundWorld items under several conditions, scored by exact answer.

Conditions: ``think``; ``direct`` (the empty chain); ``filler`` (as many meaningless tokens as the item's own chain had,
then the answer); ``swapped`` (think, with another item's sound for which the same question has another answer).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness import audio, prompt, soundworld
from earwitness.engines.protocol import Engine, Request, Sampling
from earwitness.records import Reply, Sample

CONDITIONS = ("think", "direct", "filler", "swapped")
_FILLER = "."
_DONOR_TRIES = 400


@dataclass(frozen=True)
class Item:
    """A sample and the two sounds that it may be asked with."""

    sample: Sample
    wave: np.ndarray
    other: np.ndarray | None
    """Another item's sound, for which the question has another answer; None where no item of the set has one."""


def items(suite: str, split: str, count: int) -> list[Item]:
    """Return the first ``count`` items of a split, each with the sound of a donor drawn from the same items."""
    samples = [soundworld.sample(suite, split, i) for i in range(count)]
    waves = [soundworld.waveform(s) for s in samples]
    rng = np.random.default_rng(0)
    return [Item(s, w, _donor(s, samples, waves, rng)) for s, w in zip(samples, waves)]


def _donor(sample: Sample, samples: list[Sample], waves: list[np.ndarray], rng: np.random.Generator) -> Any:
    kind = soundworld.suite(sample.domain).type(sample.task)
    for other in rng.integers(len(samples), size=_DONOR_TRIES):
        facts = samples[other].facts
        assert facts is not None
        try:
            answer = kind.answer(facts, sample.extra["params"])
        except (LookupError, StopIteration):  # the question names an event that the other clip does not have
            continue
        if answer in sample.choices and answer != sample.answer:
            return waves[other]
    return None


def normalise(text: str) -> str:
    """Return an answer in lower case without surrounding space, quotes and final stops."""
    return re.sub(r"\s+", " ", text.strip().strip("\"'.!").lower())


def is_right(sample: Sample, reply: Reply) -> bool:
    """Whether the reply ended properly and its answer is, exactly, the sample's."""
    accepted = {normalise(a) for a in (sample.answer or "", *sample.acceptable)}
    return reply.status == "complete" and normalise(reply.answer) in accepted


def ask(
    engine: Engine, asked: Sequence[Item], condition: str, sampling: Sampling, thought: Sequence[Reply] = ()
) -> list[Reply]:
    """Return one reply an item; ``filler`` needs the replies of ``think`` to know how long to be."""
    if condition == "filler":
        requests = [_filler_request(engine, item, reply.thinking_tokens) for item, reply in zip(asked, thought)]
    else:
        requests = []
        for item in asked:
            wave = item.other if condition == "swapped" else item.wave
            text = prompt.question_text(item.sample.question, item.sample.choices)
            requests.append(Request([prompt.user_message(text, [wave])], think=condition != "direct"))
    return list(engine.generate(requests, sampling))


def _filler_request(engine: Any, item: Item, tokens: int) -> Request:
    text = prompt.question_text(item.sample.question, item.sample.choices)
    counts = [[audio.audio_token_count(len(item.wave))]]
    asked = prompt.segments([prompt.user_message(text, [item.wave])], think=True, audio_counts=counts)
    tokenizer = engine.tokenizer
    filler = tokenizer.encode(_FILLER, add_special_tokens=False)[:1] * tokens
    close = prompt.encode(tokenizer, [prompt.Segment(prompt.CLOSE_CHAIN, True)])
    return Request(prompt_ids=prompt.encode(tokenizer, asked) + filler + close, audio=[item.wave], think=False)
