"""SpeechR (Yanda95/SpeechR): reasoning over spoken contexts, as choices and as free answers.

Data: ``speechr_multi-choice.jsonl``, ``speechr_acoustic-feature.jsonl`` (choices) or ``speechr_generative.jsonl`` (a
judge), with the clips at their ``audio_path``. Predictions: the same lines with ``predict_answer`` and, for free
answers, ``predict_cot``. An item with options whose label is a number is one with choices, unless the file is the
generative one.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Prediction, Score, Task
from earwitness.prompt import Message, user_message
from earwitness.records import Sample

_NAMES = ("speechr_multi-choice.jsonl", "multi_choice.jsonl", "speechr_acoustic-feature.jsonl")
_STATED = (
    "Answer[:\uff1a]?\\s*",
    "Final Answer[:\uff1a]?\\s*",
    r"Answer\s+is\s+",
    r"The answer is\s+",
    "Choice[:\uff1a]?\\s*",
    "Selected[:\uff1a]?\\s*",
)
_YES, _NO = ("yes", "true"), ("no", "false")
_PARTS = {"final_correct": (0, 1), "logic_relevance": (1, 5), "coherence_score": (0, 5)}


class SpeechR(Task):
    """See the module."""

    id = "speechr"
    groups = {"dataset": lambda sample: sample.task}
    judge = {"model": "gpt-4o", "temperature": 0.0, "max_tokens": 200}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the multiple-choice file of a folder, or the file given."""
        return files.dataset(data, _NAMES, _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the authors' format."""
        return files.predictions(path, _sample, ("predict_answer",), "predict_cot")

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the report's question, or the prompt that the item brings."""
        asked = super().text(sample, prompt)
        return str(sample.extra["prompt"] or asked) if prompt == "authors" else asked

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide as ``discrete-choice_eval.py``: an output without a letter is wrong; None where a judge decides."""
        if sample.answer_type == "open":
            return None
        label = sample.extra["label"]
        wanted = chr(ord("A") + label - 1) if 1 <= label <= len(sample.choices) else None
        return _letter(output or "", sample.choices, label) == wanted

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return one conversation for a free answer that is not empty."""
        sample, output = prediction.sample, prediction.output
        if sample.answer_type != "open" or not output or not output.strip():
            return []
        text = (
            "You evaluate the answer to a question. Give three numbers.\n"
            "final_correct: 0 or 1. Where the reference is yes or no, compare the stance of the answer; else 1 if the "
            "answer names at least one reference or means the same.\n"
            "logic_relevance: 1 (none) to 5 (very strong), how far the answer follows from the question.\n"
            "coherence_score: 1 (no chain of thought, or disjointed) to 5 (clear throughout).\n"
            'Reply with this only: {"final_correct": n, "logic_relevance": n, "coherence_score": n}\n\n'
            f"Question:\n{sample.question}\n\nReference:\n{sample.answer}\n\nAnswer:\n{output}"
        )
        return [[user_message(text)]]

    def judged(self, prediction: Prediction) -> Score:
        """Return whether the judge found the answer right; None where its object is not valid."""
        found = [parts for reply in prediction.judged if (parts := _object(reply))]
        return bool(found[-1]["final_correct"]) if found else None


def _object(reply: str) -> dict[str, int] | None:
    """Return the judge's three numbers; None where one is missing or out of its range."""
    try:
        parts = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])
        found = {name: int(parts[name]) for name in _PARTS}
    except (ValueError, KeyError, TypeError):
        return None
    return found if all(low <= found[name] <= high for name, (low, high) in _PARTS.items()) else None


def _letter(output: str, choices: Sequence[str], label: int) -> str | None:
    """Return the letter that the script reads from an output.

    A stated letter; else the only lone letter of a choice, which may be the article; else the first choice that the
    output holds; else, of yes or no, the key itself where the output holds a word of its side and none of the other.
    """
    text, letters = output.strip(), [chr(ord("A") + i) for i in range(len(choices))]
    for stated in _STATED:
        match = re.search(rf"{stated}([A-Z])\b", text, re.IGNORECASE)
        if match and match[1].upper() in letters:
            return match[1].upper()
    alone = [letter for letter in re.findall(r"\b([A-Z])[.)]?\b", text.upper()) if letter in letters]
    if len(alone) == 1:
        return alone[0]
    text, names = text.lower(), [choice.lower().strip().strip(".") for choice in choices]
    held = next((letter for letter, name in zip(letters, names) if name in text), None)
    if held is not None or not 1 <= label <= len(names):
        return held
    is_yes, is_no = any(word in text for word in _YES), any(word in text for word in _NO)
    if set(names) in ({"yes", "no"}, {"true", "false"}) and is_yes != is_no:
        return letters[label - 1] if names[label - 1] in (_YES if is_yes else _NO) else None
    return None


def _sample(row: files.Row) -> Sample:
    name = row.name("id")
    options, label = row.fields.get("options") or [], row.fields.get("label")
    choices = tuple(str(each) for each in options) if isinstance(options, list) else ()
    is_choice = isinstance(label, int) and bool(choices) and "generative" not in row.file.stem
    if isinstance(label, int) and choices:
        answer = choices[label - 1] if 1 <= label <= len(choices) else ""
    else:
        answer = ", ".join(map(str, label)) if isinstance(label, list) else row.text("label", "")
    parts = name.split("-")
    return Sample(
        id=name,
        audio=row.clips(name, "audio_path"),
        question=row.text("question", "") or row.text("dialogue", ""),
        choices=choices if is_choice else (),
        answer=answer,
        answer_type="choice" if is_choice else "open",
        domain="speech",
        task="-".join(parts[:2]) if parts[0] == "moral" and parts[1:2] in (["easy"], ["hard"]) else parts[0],
        transcript=row.text("context", "") or None,
        source={"benchmark": "speechr", "id": row.fields.get("id")},
        extra={"label": label if isinstance(label, int) else 0, "prompt": row.text("prompt", "")},
    )


TASK = SpeechR()
