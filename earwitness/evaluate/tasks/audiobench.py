"""AudioBench (AudioLLMs/AudioBench): its sets that rules score, in their own layout.

Data: the parquet files of a set. ``amao0o0/spoken-mqa`` is read and scored as the task ``spoken_mqa``, whose script is
AudioBench's. ``AudioLLMs/MMAU-mini`` has ``context``, ``instruction``, ``choices`` such as ``(A) rain``, ``answer`` and
``other_attributes.task``; it is the MMAU of March 2025, of which a third was changed since, so its scores are none of
the task ``mmau``. Sets that AudioBench has judged by Llama-3-70B are not read.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Prediction, Score, Task
from earwitness.evaluate.tasks import mmau, spoken_mqa
from earwitness.records import Sample

_LABEL = len("(A) ")


class AudioBench(Task):
    """See the module."""

    id = "audiobench"
    groups = {"set": lambda sample: sample.domain, "task": lambda sample: sample.task}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the parquet files of one set."""
        return files.dataset(data, (), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read items with ``model_prediction`` beside them."""
        return files.predictions(path, _sample, ("model_prediction", "prediction"))

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the report's question, or AudioBench's."""
        if sample.domain == spoken_mqa.TASK.id:
            return spoken_mqa.TASK.text(sample, prompt)
        if prompt == "authors":
            return f"Question:\n{sample.question}\nChoices:\n{' '.join(sample.extra['labelled'])}"
        return super().text(sample, prompt)

    def officials(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Decide on all; the script of Spoken-MQA carries state from item to item."""
        numbers = [p for p in predictions if p.sample.domain == spoken_mqa.TASK.id]
        scores = iter(spoken_mqa.TASK.officials(numbers))
        return [
            next(scores) if p.sample.domain == spoken_mqa.TASK.id else self.official(p.sample, p.output)
            for p in predictions
        ]

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide on one item as its set's script; choices and answer are compared without their letters."""
        if sample.domain == spoken_mqa.TASK.id:
            return spoken_mqa.TASK.official(sample, output)
        if output is None or not sample.answer:
            return None
        return mmau.words_match(sample.answer, output, sample.choices)


def _sample(row: files.Row) -> Sample:
    if "choices" not in row.fields:
        return spoken_mqa.sample(row, domain=spoken_mqa.TASK.id)
    name = str(row.fields.get("id") or f"{row.file.stem}/{row.number}")
    attributes = row.fields.get("other_attributes")
    labelled = row.texts("choices")
    return Sample(
        id=name,
        audio=row.clips(name, "context"),
        question=row.text("instruction"),
        choices=tuple(choice[_LABEL:] for choice in labelled),
        answer=row.text("answer")[_LABEL:],
        answer_type="choice",
        domain="mmau_mini",
        task=str(attributes.get("task", "")) if isinstance(attributes, dict) else "",
        source={"benchmark": "audiobench", "id": row.fields.get("id")},
        extra={"labelled": list(labelled)},
    )


TASK = AudioBench()
