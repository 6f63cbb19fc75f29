"""CEAEval (TianRW/CEAEval-Data): how fitting the expression of Mandarin speech is, from 0 to 5, beside people's scores.

The model ends with ``<score>X.X</score>``. Published is the linear correlation with the human scores (LCC); rank
correlation and mean squared error stand beside it, and the authors' code for them is not public. Data: JSON lines or
parquet with ``audio``, ``score`` (people's) and, where the items bring one, ``question``. Predictions: the items with
``response``. The robust scorer calls a score right that is at most half a point off.
"""

from __future__ import annotations

import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Score, Task
from earwitness.records import Sample
from earwitness.rewards import Verdict
from earwitness.rewards.extraction import after_chain

_TAGGED = re.compile(r"<score>\s*([0-9]+(?:\.[0-9]+)?)\s*</score>")
_QUESTION = (
    "Listen and rate how well the expression of the voice fits what is said, from 0 to 5. End with your score as "
    "<score>X.X</score>."
)
_TOLERANCE = 0.5


class CEAEval(Task):
    """See the module."""

    id = "ceaeval"
    groups = {"dimension": lambda sample: sample.task}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the JSON lines, or the parquet files."""
        return files.dataset(data, ("ceaeval.jsonl", "test.jsonl"), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the items with the model's text."""
        return files.predictions(path, _sample, ("response", "prediction", "model_output"))

    def official(self, sample: Sample, output: str | None) -> Score:
        """Return the model's score, the last tagged one; None, which no correlation counts, where there is none."""
        found = _TAGGED.findall(output or "")
        return float(found[-1]) if found and float(found[-1]) <= 5 else None

    def robust(self, sample: Sample, output: str) -> Verdict:
        """Whether the score after the chain is at most half a point off the human one."""
        found = _TAGGED.findall(after_chain(output) or "")
        if not found:
            return Verdict(False, "unparsed")
        return Verdict(abs(float(found[-1]) - float(sample.answer or "nan")) <= _TOLERANCE, "score", found[-1])

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Return the correlations as the official score."""
        pairs = [
            (float(d.official), float(s.answer or "nan")) for s, d in zip(samples, decisions) if d.official is not None
        ]
        return super().aggregate(samples, decisions) | {"official": correlations(pairs)}


def correlations(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return LCC (as ``score``), SRCC and mean squared error of (said, human) pairs; None where they do not exist."""
    said, human = np.array([p for p, _ in pairs]), np.array([h for _, h in pairs])
    error = float(((said - human) ** 2).mean()) if len(pairs) else None
    return {
        "score": _pearson(said, human),
        "srcc": _pearson(_ranks(said), _ranks(human)),
        "mse": error,
        "n": len(pairs),
    }


def _pearson(first: np.ndarray, second: np.ndarray) -> float | None:
    if len(first) < 2 or not first.std() or not second.std():
        return None
    found = float(np.corrcoef(first, second)[0, 1])
    return found if math.isfinite(found) else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks, equal values sharing the mean of theirs."""
    return np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])


def _sample(row: files.Row) -> Sample:
    name = row.name("id", "audio")
    human = row.text("score")
    try:
        float(human)
    except ValueError as error:
        raise ValueError(f"{row.file}, item {row.number}: the score {human!r} is no number; correct it") from error
    return Sample(
        id=name,
        audio=row.clips(name, "audio", "audio_path"),
        question=row.text("question", "") or _QUESTION,
        answer=human,
        answer_type="number",
        domain="speech",
        task=row.text("dimension", ""),
        source={"benchmark": "ceaeval", "id": row.fields.get("id")},
    )


TASK = CEAEval()
