"""WildSpeech-Bench (tencent/WildSpeech-Bench): 1,100 spoken queries, answers scored 1 to 10 by a judge.

Data: parquet, split ``train``. The authors transcribe a spoken answer three times and take the mean of three scores;
here the answer is text and is scored once. What they measure of the voice (UTMOS) is not measured. Step-Audio-R1's
report prints the mean times ten, as far as one can tell. Predictions: the items with ``response``.
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

_GENERAL = (
    "Does the answer do what was asked?",
    "Is what it says correct?",
    "Does it repeat itself? Repetition, wrong facts and a request that is not met are serious flaws.",
)
_BANDS = (
    "1-2: of no value; 3-4: fails the request in the main; 5-6: meets it in part, with flaws; "
    "7-8: good, with small flaws; 9-10: excellent"
)


class WildSpeech(Task):
    """See the module."""

    id = "wildspeech"
    groups = {"task_type": lambda sample: sample.task, "noise": lambda sample: sample.extra["modification"]}
    judge = {"model": "gpt-4o-mini", "temperature": 0.5, "top_p": 0.95, "max_tokens": 1024}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the parquet files."""
        return files.dataset(data, (), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the items with the model's text."""
        return files.predictions(path, _sample, ("response", "model_output"))

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return nothing: the query is spoken, and sent alone by both."""
        super().text(sample, prompt)
        return ""

    def official(self, sample: Sample, output: str | None) -> Score:
        """Return None: the judge decides."""
        return None

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return one conversation for an English answer."""
        sample, output = prediction.sample, prediction.output
        if not output or not output.strip() or not _is_english(output):
            return []
        checks = "\n".join(f"- {line}" for line in (*_GENERAL, *sample.extra["checklist"]))
        text = (
            "Rate the answer of a voice assistant. Query and answer were spoken and are given as text; judge the "
            f"answer as something that is heard.\n\n# Query\n{sample.transcript}\n\n# Answer\n{output}\n\n"
            f"# Checklist\n{checks}\n\n# Scale\n{_BANDS}\n\n"
            "Go through the checklist in a few sentences. The last line is `Score: [your score]`."
        )
        return [[user_message(text)]]

    def judged(self, prediction: Prediction) -> Score:
        """Return the mean score, 1 for an answer that is not English; None where no reply holds one."""
        if prediction.output and not _is_english(prediction.output):
            return 1.0
        scores = [int(found[1]) for reply in prediction.judged if (found := _SCORE.search(reply))]
        return sum(scores) / len(scores) if scores else None

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Add ``times_ten``, the form in which the report prints the mean."""
        found = super().aggregate(samples, decisions)
        mean = found["official"]["score"]
        return found | ({} if mean is None else {"times_ten": 10 * mean})


_SCORE = re.compile(r"Score: (?:\[)?(\d+)(?:\])?")


def _is_english(text: str) -> bool:
    """Whether at least half of the letters are those of English."""
    letters = [char for char in text if char.isalpha()]
    return not letters or 2 * sum(char.isascii() for char in letters) >= len(letters)


def _sample(row: files.Row) -> Sample:
    name = row.name("conversation_hash", "id")
    checks = row.fields.get("checklist")
    lines = checks if isinstance(checks, list) else str(checks or "").splitlines()
    return Sample(
        id=name,
        audio=row.clips(name, "audio"),
        answer_type="open",
        domain="speech",
        task=row.text("taskType", ""),
        transcript=row.text("user_query"),
        source={"benchmark": "wildspeech", "id": row.fields.get("conversation_hash", row.fields.get("id"))},
        extra={
            "modification": row.text("modification_type", ""),
            "checklist": [str(line).strip(" -") for line in lines if str(line).strip()],
        },
    )


TASK = WildSpeech()
