"""LAT-Bench (mcshao/LAT-Bench): when something happens in a recording of up to half an hour, in Chinese and English.

Data: ``task/bench-{CN,EN}-TAG.jsonl`` with the recordings, which their publishers fetch from the web, as ``ID.wav`` (or
.mp3, .m4a, .flac, .opus) beside it or under ``audio``. Of the three tasks temporal grounding (TAG) is scored: the
overlap of two stretches of time. Captions (DAC, TAC) need the FENSE model: their items are left out, which is counted.
Predictions: the items with ``response``.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Score, Task
from earwitness.records import Sample
from earwitness.rewards import Verdict
from earwitness.rewards.extraction import after_chain

_STRETCH = re.compile(r"(\d+):(\d+)\s*-\s*(\d+):(\d+)")
_SUFFIXES = (".wav", ".mp3", ".m4a", ".flac", ".opus")
_NAMES = ("bench-EN-TAG.jsonl", "task/bench-EN-TAG.jsonl", "bench-CN-TAG.jsonl", "task/bench-CN-TAG.jsonl")
_LEVELS = (0.3, 0.5, 0.7)


class LATBench(Task):
    """See the module."""

    id = "lat_bench"
    groups = {"language": lambda sample: sample.extra["language"]}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the English grounding file of a folder, or the file given."""
        return files.dataset(data, _NAMES, _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the items with the model's text."""
        return files.predictions(path, _sample, ("response", "prediction", "model_output"))

    def official(self, sample: Sample, output: str | None) -> Score:
        """Return the overlap (IoU) of the first stretch in the output; without one None, which they leave out."""
        said, wanted = stretch(output or ""), stretch(sample.answer or "")
        return None if said is None or wanted is None else overlap(said, wanted)

    def robust(self, sample: Sample, output: str) -> Verdict:
        """Whether the last stretch after the chain overlaps by at least a half."""
        wanted = stretch(sample.answer or "")
        if wanted is None:
            raise ValueError(
                f"sample {sample.id}: the answer {sample.answer!r} is no stretch of time such as 1:05-1:20"
            )
        found = list(_STRETCH.finditer(after_chain(output) or ""))
        said = stretch(found[-1][0]) if found else None
        if said is None:
            return Verdict(False, "unparsed")
        return Verdict(overlap(said, wanted) >= 0.5, "stretch", found[-1][0])

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Add the recalls at three overlaps, over all items, and over those that could be read as the authors do."""
        read = [float(d.official) for d in decisions if d.official is not None]
        recalls = {f"recall@{level}": sum(v >= level for v in read) / len(read) for level in _LEVELS} if read else {}
        over_all = {f"recall@{level}, all": sum(v >= level for v in read) / len(decisions) for level in _LEVELS}
        return super().aggregate(samples, decisions) | recalls | over_all


def stretch(text: str) -> tuple[int, int] | None:
    """Return the first ``m:ss - m:ss`` in seconds."""
    match = _STRETCH.search(text)
    if match is None:
        return None
    a, b, c, d = (int(each) for each in match.groups())
    return 60 * a + b, 60 * c + d


def overlap(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return intersection over union of two stretches; 0 for one that ends before it begins."""
    shared = max(0, min(first[1], second[1]) - max(first[0], second[0]))
    union = max(first[1], second[1]) - min(first[0], second[0])
    return shared / union if union > 0 and first[0] <= first[1] else 0.0


def _sample(row: files.Row) -> Sample:
    name = row.name("id")
    recording = row.text("audio", "") or name
    beside = row.within("audio", "..", "../audio")
    places = [recording, *(f"{recording}{suffix}" for suffix in _SUFFIXES)]
    place = next((each for each in places if files.clip(each, beside.roots)), recording)
    return Sample(
        id=f"{name}/{row.number}",  # a recording has several questions
        audio=files.Row({"audio": place}, row.file, row.number, row.problems, beside.roots).clips(name, "audio"),
        question=row.text("question"),
        answer=row.text("answer"),
        answer_type="text",
        domain="speech",
        task="TAG" if stretch(row.text("answer")) else "caption",
        source={"benchmark": "lat_bench", "id": row.fields.get("id")},
        extra={"language": "CN" if "-CN-" in row.file.name else "EN" if "-EN-" in row.file.name else ""},
    )


TASK = LATBench()
