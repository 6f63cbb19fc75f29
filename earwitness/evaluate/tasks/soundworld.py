"""SoundWorld as a benchmark: its suites with sound, made on the spot, 1,000 items each.

``--data`` names ``SUITE`` or ``SUITE/SPLIT``, or a folder that ``earwitness soundworld write`` made; without it all
suites are asked in turn, split ``test``, so that the first N items are N / 7 of each. The official scorer takes the
answer as a whole, but for case, articles and punctuation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import overload

from earwitness import soundworld
from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Problems, Score, Task
from earwitness.prompt import question_text
from earwitness.records import Sample, read_manifest
from earwitness.rewards import normalised
from earwitness.rewards.extraction import after_chain

SUITES = tuple(name for name in soundworld.ALL_SUITES if name not in ("open_ended", "text_tasks"))
ITEMS = 1000


class SoundWorld(Task):
    """See the module."""

    id = "soundworld"
    groups = {
        "suite": lambda sample: sample.domain,
        "question": lambda sample: f"{sample.domain} / {sample.task}",
        "steps": lambda sample: next((tag for tag in sample.tags if tag.startswith("steps:")), ""),
    }

    def load(self, data: pathlib.Path) -> Dataset:
        """Return the items of the suites that ``data`` names, or those of an exported manifest."""
        named = [part for part in data.parts if part not in (".", "..", "/")][-2:]
        if (data.is_file() and data.suffix == ".jsonl") or (named and data.is_dir() and any(data.glob("*-*.jsonl"))):
            return _exported(data)
        if named and named[0] not in SUITES and not data.exists():
            raise ValueError(f"{data} is no file, folder or suite; the suites are {', '.join(SUITES)}")
        suites = [named.pop(0)] if named and named[0] in SUITES else list(SUITES)
        split = named[0] if len(suites) == 1 and named else "test"
        if split not in soundworld.SPLITS:
            raise ValueError(f"{data} names no SoundWorld split; there are {', '.join(soundworld.SPLITS)}")
        what = f"{'+'.join(suites)}/{split}/{ITEMS}@{soundworld.VERSION}"
        return Dataset(_Items(suites, split), soundworld.VERSION, hashlib.sha256(what.encode()).hexdigest())

    def is_heard(self, sample: Sample) -> bool:
        """Return False for the items of ``hearing`` that are asked without a clip on purpose."""
        return sample.extra.get("condition") != "missing"

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the question in the words that the ``tiny`` preset was trained with, under any of ``prompts``."""
        super().text(sample, prompt)
        return question_text(sample.question, sample.choices)

    def official(self, sample: Sample, output: str | None) -> Score:
        """Whether the whole answer is the key or one of the accepted ones; no text is wrong."""
        if sample.answer_type == "open":
            return None
        answer = after_chain(output or "")
        keys = {normalised(key) for key in (sample.answer or "", *sample.acceptable) if key}
        return answer is not None and normalised(answer) in keys


class _Items(Sequence[Sample]):
    """Samples in turn of the suites, made when they are asked for: all of them would take a minute."""

    def __init__(self, suites: Sequence[str], split: str):
        self._suites, self._split = suites, split

    def __len__(self) -> int:
        return ITEMS * len(self._suites)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(len(self))[index])
        number, place = divmod(range(len(self))[index], len(self._suites))
        return soundworld.sample(self._suites[place], self._split, number)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))


def _exported(data: pathlib.Path) -> Dataset:
    manifests = [data] if data.is_file() else sorted(data.glob("*-*.jsonl"))
    problems, samples = Problems(), []
    for manifest in manifests:
        for number, sample in enumerate(read_manifest(manifest), 1):
            row = files.Row({"audio": list(sample.audio)}, manifest, number, problems, (manifest.parent,))
            clips = row.clips(sample.id, "audio") if sample.audio else ()
            samples.append(dataclasses.replace(sample, audio=clips))
    files.check(samples, problems)
    versions = {str(sample.source.get("version", "unknown")) for sample in samples}
    return Dataset(tuple(samples), "+".join(sorted(versions)), files.digest(manifests), problems.sentences())


TASK = SoundWorld()
