"""Many questions, each answered several times by a trained model, kept in a file that a killed run goes on from.

What the recipe decides - which questions need the sound, which chains are learned, which questions are hard enough -
it decides from such files, with no model in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from earwitness.data import dialogue
from earwitness.data.cache import FeatureCache, UnusableAudio
from earwitness.engines.local import LocalEngine
from earwitness.engines.protocol import Request, Sampling
from earwitness.engines.sampling import combine_seeds
from earwitness.records import Reply, Sample, append_line
from earwitness.rewards import verify
from earwitness.rewards.scores import SCORED
from earwitness.stages.start import StartConfig, published, say
from earwitness.train.world import start as join

_GROUP = 64  # questions asked together; what a kill costs at most
_KEPT = ("thinking", "answer", "status", "thinking_tokens", "answer_tokens")

Answered = tuple[Sample, list[Reply]]
"""A question with its replies; none where its sound could not be read."""


@dataclass(frozen=True)
class AskConfig:
    """How a question is asked."""

    samples: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 320
    think: bool = True
    prompt: str = ""
    """Put before the question to elicit what is wanted; never trained on."""
    opening: str = ""
    """Words that begin every chain, which the model goes on from; part of the chain."""


class Respondent:
    """A trained model that answers samples."""

    def __init__(self, model: str, cache: str, device: str = "auto", seed: int = 0) -> None:
        """Load a published layout from a folder or the hub; ``cache`` keeps encoder states."""
        self._tokenizer, reasoner = published(StartConfig(model=model))
        on_device: Any = reasoner
        self._engine = LocalEngine(on_device.to(join(device).device), self._tokenizer, name=model)
        self._cache, self._seed = FeatureCache(cache, reasoner), seed

    def answers(self, samples: Sequence[Sample], config: AskConfig) -> list[list[Reply]]:
        """Return ``config.samples`` replies to each sample; none, said aloud, to one whose sound cannot be read."""
        with contextlib.suppress(UnusableAudio):  # many clips in one pass; what is missing is encoded one by one
            self._cache.fill(samples)
        requests: list[Request] = []
        counts = []
        for sample in samples:
            try:
                asked = self._requests(sample, config)
            except UnusableAudio as error:
                say(str(error))
                asked = []
            requests += asked
            counts.append(len(asked))
        sampling = Sampling(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
        replies = (_opened(reply, config) for reply in self._engine.generate(requests, sampling))
        return [list(itertools.islice(replies, count)) for count in counts]

    def _requests(self, sample: Sample, config: AskConfig) -> list[Request]:
        states = self._cache.states(sample) if dialogue.clips(sample) else []
        asked = prompted(sample, config.prompt)
        ids = dialogue.question(self._tokenizer, asked, states, think=config.think)
        if config.think and config.opening:
            ids = ids + self._tokenizer.encode(config.opening, add_special_tokens=False)
        features = self._engine.adapt(states) if states else []
        seed = combine_seeds(self._seed, zlib.crc32(sample.id.encode()))
        return [
            Request(prompt_ids=ids, features=features, think=config.think, seed=combine_seeds(seed, k))
            for k in range(config.samples)
        ]


def prompted(sample: Sample, words: str) -> Sample:
    """Return a question with words before it; a conversation is asked as it is."""
    if not words or sample.messages:
        return sample
    return dataclasses.replace(sample, question=f"{words} {sample.question}")


def answered(
    respondent: Respondent, samples: Sequence[Sample], config: AskConfig, path: pathlib.Path
) -> Iterator[Answered]:
    """Yield samples with their replies: what ``path`` holds is read, the others are asked and added to it."""
    kept = _read(path)
    for start in range(0, len(samples), _GROUP):
        group = samples[start : start + _GROUP]
        missing = [s for s in group if s.id not in kept]
        for sample, replies in zip(missing, respondent.answers(missing, config) if missing else []):
            kept[sample.id] = replies
            said = [{name: getattr(reply, name) for name in _KEPT} for reply in replies]
            line = {"id": sample.id, "question": sample.question, "replies": said}
            append_line(path, json.dumps(line, ensure_ascii=False) + "\n")
        yield from ((sample, kept[sample.id]) for sample in group)


def is_right(sample: Sample, reply: Reply) -> bool:
    """Return whether a reply has the right answer, by the verifier that gives the rewards."""
    return reply.status in SCORED and verify(sample, reply.answer).right


def write_manifest(path: pathlib.Path, samples: Iterable[Sample]) -> int:
    """Write samples as a manifest, all of it or nothing; return how many."""
    count = 0
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        for sample in samples:
            file.write(json.dumps(sample.to_json(), ensure_ascii=False) + "\n")
            count += 1
    os.replace(partial, path)
    return count


def _opened(reply: Reply, config: AskConfig) -> Reply:
    """Return a reply whose chain has the words that it began with."""
    if not (config.think and config.opening):
        return reply
    return dataclasses.replace(reply, thinking=f"{config.opening} {reply.thinking}".strip())


def _read(path: pathlib.Path) -> dict[str, list[Reply]]:
    """Return the replies in a file by sample; a last line without its end, which a kill may leave, is cut off."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    lines = (json.loads(line) for line in data[:whole].splitlines())
    return {line["id"]: [Reply(**said) for said in line["replies"]] for line in lines}
