"""MMSU (ddwang2000/MMSU, also "mmsu_bench"): 5,000 questions on speech in 47 tasks, four choices each.

Not VoiceBench's set of the same name, which is a spoken MMLU-Pro. Data: parquet with the clips, split ``train``.
Predictions: the items as JSON lines with ``response``.
"""

from __future__ import annotations

import pathlib

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Prediction, Score, Task
from earwitness.records import Sample

FIELDS = ("choice_a", "choice_b", "choice_c", "choice_d")


class MMSU(Task):
    """See the module."""

    id = "mmsu"
    submission = ("response", "")
    groups = {
        "category": lambda sample: sample.extra["category"],
        "sub_category": lambda sample: f"{sample.extra['category']} / {sample.extra['sub_category']}",
        "task": lambda sample: sample.task,
    }

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the parquet files, or JSON lines with paths of clips."""
        return files.dataset(data, (), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the authors' format."""
        return files.predictions(path, _sample, ("response",), absent="")

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the report's question, or the authors'."""
        if prompt == "authors":
            ask = (
                "Choose the most suitable answer from options A, B, C, and D. You must respond with only A, B, C, or D."
            )
            choices = (*sample.choices, "", "", "")  # the script writes the letters of missing choices too
            options = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", choices))
            return f"{ask}\n\nQuestion: {sample.question}\n\n{options}"
        return super().text(sample, prompt)

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide as ``mmsu_evaluation.py``.

        None, which the script leaves out: null, and any text that neither begins with a capital A to D nor has one
        second to last. Empty text, the word ``None`` and an item without the field are wrong. (The script keeps the
        letter of the item before for them, which is right where that happens to be the key; no score can rest on it.)
        """
        if output is None:
            return None
        said = output.strip().replace("\n", "")
        if said in ("", "None"):
            return False
        letter = stated_letter(said)
        return None if letter is None else sample.answer in sample.choices[ord(letter) - ord("A") :][:1]


def stated_letter(said: str) -> str | None:
    """Return the first character if it is one of A to D, else the second to last; None where neither is."""
    return next((letter for letter in (said[:1], said[-2:-1]) if letter and letter in "ABCD"), None)


def four_choices(row: files.Row, name: str) -> tuple[str, ...]:
    """Return the choices of an item, of which the last may be missing.

    A gap before the last, which would move the letters, is filled and told as a problem.
    """
    choices = [row.text(field, "") for field in FIELDS]
    while choices and not choices[-1].strip():
        choices.pop()
    if not all(choice.strip() for choice in choices):
        row.problems.add("empty choices", f"item {name}: a choice before the last one is empty; it keeps its letter")
    return tuple(choice if choice.strip() else "(empty)" for choice in choices)


def _sample(row: files.Row) -> Sample:
    name = row.name("id")
    return Sample(
        id=name,
        audio=row.clips(name, "audio", "audio_path"),
        question=row.text("question"),
        choices=four_choices(row, name),
        answer=row.text("answer_gt"),
        answer_type="choice",
        domain="speech",
        task=row.text("task_name", ""),
        source={"benchmark": "mmsu", "id": row.fields.get("id")},
        extra={
            "category": row.text("category", ""),
            "sub_category": row.text("sub-category", ""),
            "sub_sub_category": row.text("sub-sub-category", ""),
            "linguistics": row.text("linguistics_sub_discipline", ""),
        },
    )


TASK = MMSU()
