"""MMAU-Pro (gamma-lab-umd/MMAU-Pro): 5,305 questions in 49 skills, some over several clips, some with free answers.

Data: ``test.parquet`` with the clips of ``data.zip`` beside it. Predictions: the items with ``model_output``.

The authors decide on choices by the nearest choice under a 7-billion embedding model (NV-Embed-v2), which always picks
one, even for an empty output, and on instructions by 27 rules. Neither is repeated here: such items have no official
decision, which is counted, and the choices have the robust one. Free answers have the authors' judge.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Score, Task
from earwitness.prompt import Message, user_message
from earwitness.records import Sample

_AXES = ("CORRECTNESS", "RELEVANCE", "COMPLETENESS", "CLARITY")
_MISSING = 3.0


class MMAUPro(Task):
    """See the module."""

    id = "mmau_pro"
    groups = {"category": lambda sample: sample.task}
    judge = {"model": "Qwen/Qwen2.5-7B-Instruct", "temperature": 0.1, "max_tokens": 512}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read ``test.parquet``, or the file given."""
        return files.dataset(data, ("test.parquet",), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the authors' format."""
        return files.predictions(path, _sample, ("model_output",))

    def official(self, sample: Sample, output: str | None) -> Score:
        """Return None: an embedding model, rules or a judge decide."""
        return None

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return one conversation for a free answer that is not empty."""
        sample, output = prediction.sample, prediction.output
        if sample.task != "open" or not output or not output.strip():
            return []
        text = (
            "Rate the response of a model to a question about audio, from 1 (poor) to 5 (excellent) on each line.\n\n"
            f"Question: {sample.question}\nReference answer: {sample.answer}\nModel response: {output}\n\n"
            "Reply in this form:\n" + "".join(f"{axis}: [1-5] - reason\n" for axis in _AXES) + "OVERALL: [average]"
        )
        return [[{"role": "system", "content": "You evaluate helpfully and objectively."}, user_message(text)]]

    def judged(self, prediction: Prediction) -> Score:
        """Return the overall rating over 5, in 0..1; None where no line of the reply is a rating."""
        found = [score for reply in prediction.judged if (score := overall(reply)) is not None]
        return found[-1] / 5 if found else None

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Add ``overall``: free answers by the judge and choices by the robust scorer, every item once."""
        kept = [float(d.robust) for s, d in zip(samples, decisions) if d.robust is not None and s.task != _INSTRUCTION]
        both = {"overall": {"score": sum(kept) / len(kept), "n": len(kept)}} if kept else {}
        return super().aggregate(samples, decisions) | both


_INSTRUCTION = "instruction following"


def overall(reply: str) -> float | None:
    """Return the overall rating of a judge's reply as the authors read it; None where it holds no line at all.

    An axis that is missing counts as 3. An overall that is missing, and also one that is exactly 3, is replaced by the
    mean of the axes.
    """
    axes = [re.search(rf"{axis}:\s*(\d+)", reply) for axis in _AXES]
    whole = re.search(r"OVERALL:\s*(\d+(?:\.\d+)?)", reply)
    if whole is None and not any(axes):
        return None
    value = float(whole[1]) if whole else _MISSING
    if value == _MISSING:
        value = sum(float(axis[1]) if axis else _MISSING for axis in axes) / len(_AXES)
    return value


def _sample(row: files.Row) -> Sample:
    name = row.name("id", "audio_path")
    category = row.text("category", "")
    has_choices = bool(row.fields.get("choices")) and category not in ("open", _INSTRUCTION)
    return Sample(
        id=name,
        audio=row.within("data").clips(name, "audio_path", "audio"),
        question=row.text("question"),
        choices=row.texts("choices") if has_choices else (),
        answer=row.text("answer", ""),
        answer_type="choice" if has_choices else "open",
        task=category,
        source={"benchmark": "mmau_pro", "id": row.fields.get("id")},
        extra={"rule": row.text("task_identifier", "")},
    )


TASK = MMAUPro()
