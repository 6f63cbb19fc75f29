"""URO-Bench (Honggao/URO-Bench): forty sets on understanding, reasoning and speaking, in English and Chinese.

Data: one folder a set with ``test.jsonl`` (``source_wav``, ``source_text``, ``target_text``) and its clips.
Predictions: the items with ``dataset`` and ``response``. A judge scores three times: open and semi-open answers 1 to 5
(times 20), questions with a key yes or no (times 100). Repeating is scored by its word error rate, with the texts
normalised as our rewards do and not as Whisper does. The final score is the mean over sets, not over items. Sets that
need the voice itself or several turns have no score here, which is counted.
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
from earwitness.rewards import Verdict, normalised
from earwitness.rewards.extraction import after_chain

# Parts of the names of sets, and how the authors' scripts mark them.
MODES = {
    "alpaca": "open",
    "common": "open",
    "wildchat": "open",
    "claude": "open",
    "storal": "semi-open",
    "summary": "semi-open",
    "truthful": "semi-open",
    "gaokao": "qa",
    "gsm8k": "qa",
    "mlc": "qa",
    "ape": "qa",
    "openbook": "qa",
    "repeat": "repeat",
}
CALLS = 3
_WRONG_BEYOND = 0.5  # a repetition with a higher word error rate is none


class UROBench(Task):
    """See the module."""

    id = "uro_bench"
    groups = {"set": lambda sample: sample.task}
    judge = {"model": "gpt-4o-mini", "temperature": 0.5, "top_p": 0.95, "max_tokens": 1024}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read a set: its folder, or its file; give an export with all sets as one file with ``dataset``."""
        return files.dataset(data, ("test.jsonl",), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the items with the model's text."""
        return files.predictions(path, _sample, ("response", "model_output"))

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return nothing: everything is spoken."""
        super().text(sample, prompt)
        return ""

    def official(self, sample: Sample, output: str | None) -> Score:
        """Return 100 (1 - word error rate) of a repetition, 0 beyond half; None where a judge decides, or nothing.

        The authors' call has reference and answer the wrong way round, so errors are per word of the answer.
        """
        if sample.extra["mode"] != "repeat" or output is None:
            return None
        error = word_error_rate(output, sample.answer or "")
        return 100 * (1 - error) if error <= _WRONG_BEYOND else 0.0

    def robust(self, sample: Sample, output: str) -> Verdict:
        """Whether a repetition is right within half of its words."""
        error = word_error_rate(sample.answer or "", after_chain(output) or "")
        return Verdict(error <= _WRONG_BEYOND, "repeat", f"{error:.2f}")

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return three equal conversations for an answer that is not empty, of a set with a judge."""
        sample, output, mode = prediction.sample, prediction.output, prediction.sample.extra["mode"]
        if mode not in ("open", "semi-open", "qa") or not output or not output.strip():
            return []
        given = f"[Instruction]\n{sample.transcript}\n\n[Response]\n{output}"
        if mode != "open":
            given += f"\n\n[Reference]\n{sample.answer}"
        if mode == "qa":
            ask = "Does the response agree with the reference? Output Yes or No only."
        else:
            ask = (
                "Rate how well the response of a voice assistant serves the user, from 1 (irrelevant or wrong) "
                "to 5 (right, complete and clear). Output the score only."
            )
        return [[user_message(f"{ask}\n\n{given}")]] * CALLS

    def judged(self, prediction: Prediction) -> Score:
        """Return the mean of the three replies, of 100; None until all can be read."""
        if prediction.sample.extra["mode"] == "qa":
            words = [match[0].lower() for r in prediction.judged if (match := re.search(r"\b(?:yes|no)\b", r, re.I))]
            scores = [100.0 * (word == "yes") for word in words]
        else:
            scores = [20.0 * int(match[0]) for r in prediction.judged if (match := re.search(r"\b[1-5]\b", r))]
        return sum(scores) / CALLS if len(scores) == CALLS else None

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Add ``final_score``, the mean over the sets that have a score; missing sets shrink the denominator."""
        found = super().aggregate(samples, decisions)
        means = [of["official"]["score"] for of in found["groups"]["set"].values() if of["official"]["n"]]
        return found | ({"final_score": sum(means) / len(means), "sets": len(means)} if means else {})


def word_error_rate(reference: str, said: str) -> float:
    """Return edits per word of the reference, after ``rewards.normalised``; 0 for two empty texts.

    Chinese and Japanese characters are words of their own.
    """
    wanted, heard = _words(reference), _words(said)
    if not wanted:
        return float(bool(heard))
    costs = list(range(len(heard) + 1))
    for i, word in enumerate(wanted, 1):
        last, costs[0] = costs[0], i
        for j, other in enumerate(heard, 1):
            last, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, last + (word != other))
    return costs[-1] / len(wanted)


def _words(text: str) -> list[str]:
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+", normalised(text))


def _sample(row: files.Row) -> Sample:
    folder = row.text("dataset", "") or row.file.parent.name
    name = f"{folder}/{row.name('id')}"
    mode = next((mode for part, mode in MODES.items() if part in folder.lower()), "")
    turns = row.fields.get("dialogue")
    return Sample(
        id=name,
        audio=() if turns else row.clips(name, "source_wav"),
        answer=row.text("target_text", "") or None,
        answer_type="text" if mode == "repeat" else "open",
        domain="speech",
        task=folder,
        transcript=row.text("source_text", ""),
        source={"benchmark": "uro_bench", "id": row.fields.get("id")},
        extra={"mode": "" if turns else mode},
    )


TASK = UROBench()
