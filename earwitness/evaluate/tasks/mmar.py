"""MMAR (BoJack/MMAR): 1,000 questions over speech, sound, music and mixtures, with rubrics for the reasoning.

Data: ``MMAR-meta.jsonl`` with ``./audio/*.wav`` beside it. Predictions: the same lines with ``answer_prediction`` and,
for the rubrics, ``thinking_prediction``. Right or wrong is decided as in MMAU. The rubrics are a judge's: wrong answers
get 0, right ones five calls, of which the lowest and the highest are left out.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Score, Task
from earwitness.evaluate.tasks.mmau import words_match
from earwitness.prompt import Message, user_message
from earwitness.records import Sample

RELEASES = {"1c9a343e7bebf1037482b935c54eacd43cc63df7b2c668724b5560caf1f84fad": "with rubrics"}
CALLS = 5


class MMAR(Task):
    """See the module."""

    id = "mmar"
    submission = ("answer_prediction", "thinking_prediction")
    groups = {
        "modality": lambda sample: sample.domain,
        "category": lambda sample: sample.extra["category"],
        "sub_category": lambda sample: sample.task,
    }
    judge = {"model": "gpt-4o-2024-11-20", "temperature": 0.0, "seed": 42}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read ``MMAR-meta.jsonl``, or the file given."""
        return files.dataset(data, ("MMAR-meta.jsonl",), _sample, RELEASES, self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the authors' format."""
        return files.predictions(path, _sample, ("answer_prediction", "model_output"), self.submission[1])

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide as ``evaluation.py``; None without a prediction."""
        return None if output is None or not sample.answer else words_match(sample.answer, output, sample.choices)

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return five equal conversations for a right answer to an item that has rubrics."""
        right = self.official(prediction.sample, prediction.output)
        return [_question_to_judge(prediction)] * CALLS if right and prediction.sample.extra["rubric"] else []

    def judged(self, prediction: Prediction) -> Score:
        """Return the mean of the three middle calls, in 0..1; None while any of the five is missing or not valid."""
        scores = [rubric_score(reply, prediction.sample.extra["rubric"]) for reply in prediction.judged]
        valid = sorted(score for score in scores if score is not None)
        return sum(valid[1:-1]) / (CALLS - 2) if len(valid) == CALLS else None

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Return accuracies and, where a judge has read right answers, the mean of the rubrics."""
        found = super().aggregate(samples, decisions)
        if any(d.judged is not None for d in decisions):
            scores = [0.0 if d.official is False else d.judged for d in decisions if d.official is not None]
            kept = [float(score) for score in scores if score is not None]
            left = len(scores) - len(kept)
            found["rubrics"] = {"score": sum(kept) / len(kept), "n": len(kept), "not_evaluated": left}
        return found


def rubric_score(reply: str, rubric: Sequence[dict[str, Any]]) -> float | None:
    """Return the part of the points that a judge gave; None where its list is not valid.

    Valid is a JSON list with one object a criterion, each with a ``score`` that the criterion allows.
    """
    start, end = reply.find("["), reply.rfind("]")
    try:
        rows = json.loads(reply[start : end + 1])
        given = [row["score"] for row in rows]
    except (ValueError, TypeError, KeyError):
        return None
    allowed = [criterion.get("choices") or [0, 1] for criterion in rubric]
    if len(given) != len(allowed) or any(score not in choices for score, choices in zip(given, allowed)):
        return None
    return sum(given) / sum(max(choices) for choices in allowed)


def _question_to_judge(prediction: Prediction) -> list[Message]:
    sample = prediction.sample
    criteria = "\n\n".join(
        f"### {each.get('name', '')}\nScoring rule: {each.get('scoring_point', '')}\nNote: {each.get('note', '')}\n"
        f"Allowed scores: {each.get('choices') or [0, 1]}"
        for each in sample.extra["rubric"]
    )
    text = (
        "## Ground truth\n"
        f"Question: {sample.question}\nCorrect answer: {sample.answer}\nIdeal reasoning: {sample.extra['thinking']}\n\n"
        f"## Rubric\n{criteria}\n\n"
        "## Output\nA JSON list and nothing else, one object for each criterion in its order: "
        '{"name": ..., "score": one of the allowed scores, "justification": fewer than 50 words}.\n\n'
        f"## Submission\n{prediction.thinking} The answer is {prediction.output}."
    )
    system = "You are an impartial evaluator. You score the reasoning of a submission by the rubric and nothing else."
    return [{"role": "system", "content": system}, user_message(text)]


def _sample(row: files.Row) -> Sample:
    name = row.name("id")
    rubric = row.fields.get("rubric")
    return Sample(
        id=name,
        audio=row.clips(name, "audio_path"),
        question=row.text("question"),
        choices=row.texts("choices"),
        answer=row.text("answer"),
        answer_type="choice",
        domain=row.text("modality", ""),
        task=row.text("sub-category", ""),
        source={"benchmark": "mmar", "id": row.fields.get("id"), "url": row.text("url", "")},
        extra={
            "category": row.text("category", ""),
            "language": row.text("language", ""),
            "thinking": row.text("thinking", ""),
            "rubric": [each for each in rubric if isinstance(each, dict)] if isinstance(rubric, list) else [],
        },
    )


TASK = MMAR()
