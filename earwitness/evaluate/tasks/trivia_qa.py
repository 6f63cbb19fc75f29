"""TriviaQA, spoken: a thousand questions, each with every spelling of its answer.

Data: OpenAudioBench's ``trivia_qa.csv`` (``question``, ``answer_normalized_aliases``, ``audio_filename``), or the
parquet of UltraEval-Audio (``answer``). Two protocols are published. ``official`` is UltraEval's: right is an output
that holds an answer as a run of its words. OpenAudioBench asks a judge; its word stands under ``judge`` in the summary.
Predictions: the items with ``response``. WebQuestions is the same with other fields.
"""

from __future__ import annotations

import ast
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Score, Task, accuracy, readable
from earwitness.prompt import Message, user_message
from earwitness.records import Sample
from earwitness.rewards import Verdict, normalised
from earwitness.rewards.extraction import after_chain, negated

_JUDGMENT = re.compile(r'"judgment"\s*:\s*"(correct|incorrect)"', re.IGNORECASE)


class SpokenQuestions(Task):
    """A set of spoken questions with short answers; see the module."""

    judge = {"model": "gpt-4o", "temperature": 0.0, "max_tokens": 512}

    def __init__(self, name: str, fields: Sequence[str]):
        """Remember the id, and the fields that may hold the answers."""
        self.id, self._fields = name, tuple(fields)  # type: ignore[misc]

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the CSV file, or the parquet files."""
        names = (f"{self.id}.csv", f"eval_datas/{self.id}/{self.id}.csv")
        return files.dataset(data, names, self._sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the items with the model's text."""
        return files.predictions(path, self._sample, ("response", "model_output", "prediction"))

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return nothing: the question is spoken."""
        super().text(sample, prompt)
        return ""

    def official(self, sample: Sample, output: str | None) -> Score:
        """Whether the tokens of an answer follow one another in the output, in any case; no text is wrong."""
        return holds_answer((sample.answer or "", *sample.acceptable), output or "")

    def robust(self, sample: Sample, output: str) -> Verdict:
        """Decide on what follows the chain; a sentence that negates is not read."""
        text = normalised(readable(after_chain(output) or ""))
        keys = [key for each in (sample.answer or "", *sample.acceptable) if (key := normalised(each))]
        if not keys:
            raise ValueError(f"sample {sample.id} has no answer; add one")
        if text in keys:
            return Verdict(True, "text", text)
        found = next((key for key in keys if f" {key} " in f" {text} "), "")
        if found and negated(text.replace(found, " ")):
            return Verdict(False, "ambiguous")
        return Verdict(bool(found), "contained" if found else "text", found or text)

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return one conversation for an answer that is not empty."""
        sample, output = prediction.sample, prediction.output
        if not output or not output.strip():
            return []
        text = (
            "Is the answer of a model right? It is right if it means the same as one of the reference answers.\n\n"
            f"Question: {sample.transcript}\nReference answers: {[sample.answer, *sample.acceptable]}\n"
            f"Answer of the model: {output}\n\n"
            'Reply with one JSON object: {"analysis": "one sentence", "judgment": "correct" or "incorrect"}'
        )
        return [[user_message(text)]]

    def judged(self, prediction: Prediction) -> Score:
        """Return the judge's word; None where there is none."""
        found = [match[1].lower() for reply in prediction.judged if (match := _JUDGMENT.search(reply))]
        return found[-1] == "correct" if found else None

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Add the judge's score where one has judged."""
        found = super().aggregate(samples, decisions)
        words = [Decision(d.judged, d.judged, d.rule) for d in decisions if d.judged is not None]
        return found | ({"by_judge": accuracy(words)["official"]} if words else {})

    def _sample(self, row: files.Row) -> Sample:
        name = row.name("id", "audio_filename")
        field = next((each for each in self._fields if row.fields.get(each)), self._fields[0])
        answers = _listed(row.fields.get(field)) or [row.text(field)]
        return Sample(
            id=name,
            audio=row.within("audios", "audio").clips(name, "audio", "audio_filename"),
            answer=answers[0],
            acceptable=tuple(answers[1:]),
            domain="speech",
            transcript=row.text("question", "") or row.text("prompt", ""),
            source={"benchmark": self.id, "id": row.fields.get("id", row.fields.get("audio_filename"))},
        )


def holds_answer(answers: Sequence[str], text: str) -> bool:
    """Whether the tokens of an answer occur in the text one after the other, as in DPR's ``has_answer``."""
    said = _tokens(text)
    for wanted in map(_tokens, answers):
        if any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1)):
            return True
    return False


def _tokens(text: str) -> list[str]:
    """Return runs of letters, marks and digits, and every other visible character alone, in lower case."""
    tokens: list[str] = []
    is_word = False
    for char in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(char)[0]
        if kind in "LNM":
            if is_word:
                tokens[-1] += char
            else:
                tokens.append(char)
        elif kind not in "ZC":
            tokens.append(char)
        is_word = kind in "LNM"
    return [token.lower() for token in tokens]


def _listed(value: Any) -> list[str]:
    """Return answers that are a list, or the text of one as CSV holds it."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            return [str(value)]
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else []


TASK = SpokenQuestions("trivia_qa", ("answer_normalized_aliases", "answer"))
