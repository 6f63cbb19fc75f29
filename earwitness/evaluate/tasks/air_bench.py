"""AIR-Bench: about 19,000 multiple-choice items (foundation) and 2,000 open ones that a judge scores (chat).

Data: ``Foundation_meta.json`` or ``Chat_meta.json`` with the clips beside it, ``TASK_DATASET/PATH``, or in a folder of
the part's name. Predictions: the items as JSON lines with ``response``. An item with choices belongs to the first part,
any other to the second.

The authors' judge scores a reference and the answer twice, once in either order. They sample a random half of the
calls at temperature 2; here all are sampled at 1.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Score, Task
from earwitness.evaluate.tasks.mmsu import four_choices, stated_letter
from earwitness.prompt import Message, user_message
from earwitness.records import Sample

_KINDS = {
    "speech_QA": "speech",
    "speech_dialogue_QA": "speech",
    "music_QA": "music",
    "music_generation_analysis_QA": "music",
    "sound_QA": "sound",
    "sound_generation_QA": "sound",
    "speech_and_sound_QA": "speech_and_sound",
    "speech_and_music_QA": "speech_and_music",
}
_MIXED = ("speech_and_sound", "speech_and_music")


class AIRBench(Task):
    """See the module."""

    id = "air_bench"
    submission = ("response", "")
    groups = {
        "task": lambda sample: "" if sample.answer_type == "open" else f"{sample.task}_{sample.extra['dataset']}",
        "chat": lambda sample: _KINDS.get(sample.task, "") if sample.answer_type == "open" else "",
    }
    judge = {"model": "gpt-4-0125-preview", "temperature": 1.0, "max_tokens": 1024}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read a file of either part; of a folder, the foundation's if it is there."""
        return files.dataset(data, ("Foundation_meta.json", "Chat_meta.json"), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the authors' format of either part."""
        return files.predictions(path, _sample, ("response",))

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the report's question, or the authors', in which a missing choice reads ``None``."""
        if prompt == "authors" and sample.choices:
            ask = (
                "Choose the most suitable answer from options A, B, C, and D to respond the question in next line, "
                "you may only choose A or B or C or D."
            )
            choices = (*sample.choices, None, None, None)
            options = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", choices))
            return f"{ask}\n{sample.question}\n{options}"
        return super().text(sample, prompt)

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide on a foundation item as ``score_foundation.py``.

        The letter is found as in MMSU; the key is the letter of the first choice that is the answer. None: no text,
        empty text or ``None``, no letter, an item without a task or whose answer is no choice, and chat.
        """
        if output is None or sample.answer_type == "open" or not sample.task:
            return None
        said = output.strip().replace("\n", "")
        letter = None if said in ("", "None") else stated_letter(said)
        if letter is None or sample.answer not in sample.choices:
            return None
        return letter == "ABCD"[sample.choices.index(sample.answer)]

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return, for an answered chat item, the comparison in either order."""
        sample, output = prediction.sample, prediction.output
        if sample.answer_type != "open" or output is None:
            return []
        return [_compare(sample, sample.answer or "", output), _compare(sample, output, sample.answer or "")]

    def judged(self, prediction: Prediction) -> Score:
        """Return the mean of the answer's two scores, 1 to 10; None where either reply is not two such numbers."""
        if len(prediction.judged) != 2 or prediction.sample.answer_type != "open":
            return None
        first, second = map(two_scores, prediction.judged)
        return None if first is None or second is None else (first[1] + second[0]) / 2

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Add ``mixed``, the mean of the two chat groups with speech and something else."""
        found = super().aggregate(samples, decisions)
        chat = found["groups"]["chat"]
        scores = [chat[kind]["official"]["score"] for kind in _MIXED if kind in chat]
        if len(scores) == len(_MIXED) and None not in scores:
            found["mixed"] = sum(scores) / len(scores)
        return found


def two_scores(reply: str) -> tuple[int, int] | None:
    """Return the two scores of a judge's line; None unless it is two whole numbers up to 10 and one space."""
    try:
        first, second = map(int, reply.strip().replace("\n", "").split(" "))
    except ValueError:
        return None
    return (first, second) if max(first, second) <= 10 else None


def _compare(sample: Sample, first: str, second: str) -> list[Message]:
    return [
        user_message(
            "You check the quality of answers and are helpful and precise.\n"
            f"[Detailed Audio Description]\n{sample.transcript or ''}\n[Question]\n{sample.question}\n"
            f"[The Start of Assistant 1's Answer]\n{first}\n[The End of Assistant 1's Answer]\n"
            f"[The Start of Assistant 2's Answer]\n{second}\n[The End of Assistant 2's Answer]\n[System]\n"
            "Both assistants were given the description of the audio and the question. Rate the helpfulness, "
            "relevance, accuracy and comprehensiveness of each answer with an overall score of 1 to 10; higher is "
            "better. Write a single line with the two scores only, first that of Assistant 1, and a space between them."
        )
    ]


def _sample(row: files.Row) -> Sample:
    name = row.name("uniq_id", "id", "path")
    task, origin = row.text("task_name", ""), row.text("dataset_name", "")
    is_chat = not row.fields.get("choice_a")
    return Sample(
        id=name,
        audio=_clips(row, name, f"{task}_{origin}", task == "Audio_Grounding"),
        question=row.text("question"),
        choices=() if is_chat else four_choices(row, name),
        answer=row.text("answer_gt"),
        answer_type="open" if is_chat else "choice",
        domain="chat" if is_chat else "foundation",
        task=task,
        transcript=row.text("meta_info", "") or None,
        source={"benchmark": "air_bench", "id": row.fields.get("uniq_id", row.fields.get("id"))},
        extra={"dataset": origin},
    )


def _clips(row: files.Row, name: str, folder: str, is_flac: bool) -> tuple[str, ...]:
    """Return the clip of an item; of the grounding task the published names end wrongly, the files are FLAC."""
    path = row.text("path", "")
    place = {"path": f"{folder}/{path[:-3] + 'flac' if is_flac else path}"}
    return dataclasses.replace(row, fields=place).within("Foundation", "Chat").clips(name, "path")


TASK = AIRBench()
