"""MMAU v05.15.25 (gamma-lab-umd/MMAU-test-mini): 1,000 multiple-choice questions on sound, music and speech.

Data: ``mmau-test-mini.json`` with ``./test-mini-audios/ID.wav`` beside it; or ``mmau-test.json``, whose answers are
withheld. Predictions: the same items with ``model_output`` (``model_prediction`` in the authors' README).
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Prediction, Score, Task
from earwitness.records import Sample

RELEASES = {"9f18fda99f8dbc2bc5ecd6323fb5063309f54969810b5c6f1caeb3b8d904cf1c": "v05.15.25"}
"""sha256 of ``mmau-test-mini.json`` since 2025-08-09. Before May 2025 a third of the items was other or different."""


class MMAU(Task):
    """See the module."""

    id = "mmau"
    submission = ("model_output", "")
    groups = {
        "task": lambda sample: sample.domain,
        "difficulty": lambda sample: sample.extra["difficulty"],
        "sub_category": lambda sample: sample.task,
    }

    def load(self, data: pathlib.Path) -> Dataset:
        """Read ``mmau-test-mini.json``, or the file given."""
        return files.dataset(data, ("mmau-test-mini.json", "mmau-test.json"), _sample, RELEASES, self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the authors' format."""
        return files.predictions(path, _sample, ("model_output", "model_prediction"))

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the report's question, or the authors' (their issue 3)."""
        if prompt == "authors":
            return f"{sample.question}  Select one option from the provided choices.\n{list(sample.choices)}."
        return super().text(sample, prompt)

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide as ``evaluation.py``; None without a prediction or with the answer withheld."""
        if output is None or not sample.answer:
            return None
        return words_match(sample.answer, output, sample.choices)


def words_match(answer: str, output: str, choices: Sequence[str]) -> bool:
    """Whether the output has all words of the answer and none that only wrong choices have.

    Words are runs of letters, digits and underscores, in lower case. A choice with the same words as the answer is
    not wrong. So a letter alone is wrong, and so is any reasoning that mentions a wrong choice.
    """
    said, wanted = _words(output), _words(answer)
    forbidden: set[str] = set()
    for words in map(_words, choices):
        if words != wanted:
            forbidden |= words - wanted
    return bool(said) and wanted <= said and not said & forbidden


def _words(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))


def _sample(row: files.Row) -> Sample:
    name = row.name("id", "audio_id")
    return Sample(
        id=name,
        audio=row.clips(name, "audio_id"),
        question=row.text("question"),
        choices=row.texts("choices"),
        answer=row.text("answer"),
        answer_type="choice",
        domain=row.text("task", ""),
        task=row.text("sub-category", ""),
        source={"benchmark": "mmau", "id": row.fields.get("id"), "dataset": row.text("dataset", "")},
        extra={"category": row.text("category", ""), "difficulty": row.text("difficulty", "")},
    )


TASK = MMAU()
