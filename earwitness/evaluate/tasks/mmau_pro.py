"""MMAU-Pro (gamma-lab-umd/MMAU-Pro): 5,305 questions in 49 skills, some over several clips, some with free answers.

Data: ``test.parquet`` with the clips of ``data.zip`` beside it. Predictions: the items with ``model_output``.

The authors decide on choices by the nearest choice under a 7-billion embedding model (NV-Embed-v2), which always picks
one, even for an empty output. That is not repeated here: such items have no official decision, which is counted, and
the robust one. Instructions have the authors' 27 rules (``audio_instructions``), free answers their judge.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Score, Task
from earwitness.evaluate.tasks import audio_instructions
from earwitness.prompt import Message, user_message
from earwitness.records import Sample
from earwitness.rewards import Verdict
from earwitness.rewards.extraction import after_chain

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
        """Return whether an instruction was followed; None where an embedding model or a judge decides.

        Their script writes a missing text out, so it decides on the word ``None``.
        """
        if sample.task != _INSTRUCTION:
            return None
        try:
            return _followed(sample, str(output))
        except ValueError:
            return None

    def robust(self, sample: Sample, output: str) -> Verdict:
        """Decide on the choice, or on the instruction by what follows the chain."""
        if sample.task != _INSTRUCTION:
            return super().robust(sample, output)
        return Verdict(_followed(sample, (after_chain(output) or "").strip()), "instructions", sample.extra["rule"])

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
        """Add ``overall``: instructions and free answers as the authors, choices by the robust scorer, items alike."""
        scores = [d.robust if s.choices else d.official for s, d in zip(samples, decisions)]
        kept = [float(score) for score in scores if score is not None]
        both = {"overall": {"score": sum(kept) / len(kept), "n": len(kept)}} if kept else {}
        return super().aggregate(samples, decisions) | both


_INSTRUCTION = "instruction following"


def overall(reply: str) -> float | None:
    """Return the overall rating of a judge's reply as the authors read it; None where it holds no line at all.

    An axis that is missing counts as 3. An overall that is missing, and also one that is exactly 3, is replaced by the
    mean of the axes.
    """
    axes = [re.search(rf"{axis}:\s*(\d+)", reply, re.IGNORECASE) for axis in _AXES]
    whole = re.search(r"OVERALL:\s*(\d+(?:\.\d+)?)", reply, re.IGNORECASE)
    if whole is None and not any(axes):
        return None
    value = float(whole[1]) if whole else _MISSING
    if value == _MISSING:
        value = sum(float(axis[1]) if axis else _MISSING for axis in axes) / len(_AXES)
    return value


def _followed(sample: Sample, text: str) -> bool:
    return audio_instructions.followed(text, sample.extra["rule"], sample.extra["settings"], sample.question)


def _settings(value: Any) -> dict[str, Any]:
    """Return ``kwargs``, an object or the text of one, without what is null in this item."""
    try:
        found = json.loads(value) if isinstance(value, str) and value.strip() else value
    except ValueError:
        found = None
    return {name: each for name, each in found.items() if each is not None} if isinstance(found, dict) else {}


def _sample(row: files.Row) -> Sample:
    name = row.name("id", "audio_path")
    category = row.text("category", "")
    kinds = {category == "open": "open", category == _INSTRUCTION: "text"}
    has_choices = bool(row.fields.get("choices")) and category not in ("open", _INSTRUCTION)
    return Sample(
        id=name,
        audio=row.within("data").clips(name, "audio_path", "audio"),
        question=row.text("question"),
        choices=row.texts("choices") if has_choices else (),
        answer=row.text("answer", "") or None,
        answer_type="choice" if has_choices else kinds.get(True, "text"),
        task=category,
        source={"benchmark": "mmau_pro", "id": row.fields.get("id")},
        extra={"rule": row.text("task_identifier", ""), "settings": _settings(row.fields.get("kwargs"))},
    )


TASK = MMAUPro()
