"""Spoken-MQA (amao0o0/spoken-mqa): 2,269 spoken arithmetic questions in four splits.

Data: parquet, one file a split, named after it. Predictions: ``id``, ``split``, ``answer``, ``prediction``. Scored as
in AudioBench, whose script is MAmmoTH's for GSM8K. The authors' script evaluates the model's text as Python; here a
candidate such as ``3/4`` is divided and nothing is ever executed.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Prediction, Score, Task
from earwitness.records import Sample

SPLITS = ("short_digit", "long_digit", "single_step_reasoning", "multi_step_reasoning")
REPORT_PROMPT = "Solve the given math question step by step."
_TRIGGERS = ("The answer is:", "The answer is", "the answer is", "####")
_NOTHING = "empty"
_MOST_CHARACTERS = 100
_QUOTIENT = re.compile(r"(-?)(0+|[1-9][0-9]*)/(0+|[1-9][0-9]*|\.[0-9]+)")


class SpokenMQA(Task):
    """See the module."""

    id = "spoken_mqa"
    groups = {"split": lambda sample: sample.task}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the parquet files; a file whose name holds no split needs a column ``split``."""
        return files.dataset(data, (), sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the four fields."""
        return files.predictions(path, sample, ("prediction", "model_prediction"))

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the report's request, or that which the item brings."""
        super().text(sample, prompt)
        return REPORT_PROMPT if prompt == "report" else sample.extra["instruction"] or REPORT_PROMPT

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide on one item; no text is wrong."""
        return _same(_NOTHING if output is None else cleaned(output), sample)

    def officials(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Decide on all: a null in a file is scored with the value of the item of its split before it."""
        last: dict[str, str] = {}
        scores: list[Score] = []
        for p in predictions:
            if p.output is not None:
                last[p.sample.task] = cleaned(p.output)
            inherited = last.get(p.sample.task, _NOTHING) if p.status == "complete" else _NOTHING
            scores.append(_same(inherited if p.output is None else last[p.sample.task], p.sample))
        return scores


def cleaned(output: str) -> str:
    """Return the number that the script reads from an output, as it writes numbers; ``empty`` where there is none."""
    text = output.strip("\n")
    if any(text.count(trigger) > 1 for trigger in _TRIGGERS):
        text = text.split("\n\n")[0]
    parts = re.split("|".join(_TRIGGERS), text)
    text = parts[-1].strip("\n").rstrip(".").rstrip("/").strip(" ").replace(",", "")
    numbers = [without_zeros(each) for each in re.findall(r"-?\d+/?\.?\d*", text)]
    if not numbers:
        return _NOTHING
    return (numbers[0] if len(parts) > 1 else numbers[-1]).rstrip(".").rstrip("/") or _NOTHING


def without_zeros(number: str) -> str:
    """Return a number as the script writes it: no zeros at the end of its decimals, a quotient divided.

    It cuts zeros off Python's shortest form of the float, and so reads 1e+20 as 1e+2; that is kept. What is no number
    is returned as it is.
    """
    try:
        value = float(number)
    except ValueError:
        quotient = _QUOTIENT.fullmatch(number)
        if quotient is None:
            return number
        try:
            under = float(quotient[3]) if quotient[3].startswith(".") else int(quotient[3])
            value = int(quotient[2]) / under * (-1 if quotient[1] else 1)
        except (ArithmeticError, ValueError):
            return number
    text = str(value).rstrip("0")
    return str(int(text.rstrip("."))) if text.endswith(".") else str(float(text))


def _same(number: str, sample: Sample) -> bool:
    """Compare with the first reference; MAmmoTH's options and its LaTeX do not occur in a number."""
    references = sample.extra["references"]
    return bool(references) and number[:_MOST_CHARACTERS].lower() == references[0].lower()


def _references(answer: Any, is_digits: bool) -> list[str]:
    """Return the references as they are compared: those of the digit splits as they stand, others as numbers."""
    found = [str(each) for each in (answer if isinstance(answer, list) else [answer])]
    if not is_digits:
        found = [without_zeros(each.split("#### ")[-1].replace(",", "")) for each in found]
    return [each or _NOTHING for each in found]


def sample(row: files.Row, domain: str = "speech") -> Sample:
    """Return an item as it is published."""
    split = row.text("split", "") or next((each for each in SPLITS if each in row.file.stem), "")
    name = f"{split}/{row.name('id', 'index')}"  # every split numbers its own
    answer, instruction = row.fields.get("answer"), row.fields.get("instruction")
    answer = answer.get("text") if isinstance(answer, dict) else answer
    if answer is None:
        answer = row.text("answer")
    references = _references(answer, split in SPLITS[:2])
    return Sample(
        id=name,
        audio=row.clips(name, "context"),
        question=REPORT_PROMPT,
        answer=references[0] if references else None,
        answer_type="number",
        domain=domain,
        task=split,
        transcript=row.text("context_transcript", "") or None,
        source={"benchmark": "spoken_mqa", "id": row.fields.get("id")},
        extra={
            "references": references,
            "instruction": str(instruction.get("text") or "") if isinstance(instruction, dict) else "",
        },
    )


TASK = SpokenMQA()
