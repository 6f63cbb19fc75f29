"""Speech-IFEval: does a model that hears still follow instructions? 1,533 items in three kinds.

Data: ``data/eval_data/{closed_ended_questions, creative_writing, chain-of-thought}.jsonl`` with the clips at their
``audio_filepath``. Predictions: the items with ``response``. IFrate is the mean of the three rates: of the first two
kinds the items whose every instruction is followed (IFEval, strict), of the third those that a judge passes. What the
authors call forgetting compares it with a text model that is given ``textual_audio``: run the task without sound on
that model, then (rate - reference) / reference.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Decision, Prediction, Problems, Score, Task
from earwitness.evaluate.tasks import instructions
from earwitness.prompt import Message, user_message
from earwitness.records import Sample
from earwitness.rewards import Verdict
from earwitness.rewards.extraction import after_chain

KINDS = ("closed_ended_questions", "creative_writing", "chain-of-thought")
_CHAIN = KINDS[2]


class SpeechIFEval(Task):
    """See the module."""

    id = "speech_ifeval"
    groups = {"kind": lambda sample: sample.task}
    judge = {"model": "gpt-4o-2024-11-20", "temperature": 0.0, "max_tokens": 1024}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read the three files of a folder, or the one given."""
        if data.is_file():
            return files.dataset(data, (), _sample, what=self.id)
        places = [
            place for base in (data, data / "data" / "eval_data") for place in (base / f"{k}.jsonl" for k in KINDS)
        ]
        parts = [files.dataset(place, (), _sample, what=self.id) for place in places if place.is_file()]
        if not parts:
            raise FileNotFoundError(f"{data} holds no {self.id}: {KINDS[0]}.jsonl is missing; give the folder it is in")
        samples = tuple(sample for part in parts for sample in part.samples)
        problems = Problems()
        files.check(samples, problems)
        said = dict.fromkeys((*(s for part in parts for s in part.problems), *problems.sentences()))
        return Dataset(samples, "unknown", files.digest([p for p in places if p.is_file()]), tuple(said))

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the items with the model's text."""
        return files.predictions(path, _sample, ("response", "prediction", "model_output"))

    def official(self, sample: Sample, output: str | None) -> Score:
        """Whether every instruction is followed; None for a chain of thought, and where a rule cannot be decided."""
        try:
            return None if sample.task == _CHAIN else all(_strict(sample, output or ""))
        except ValueError:
            return None

    def robust(self, sample: Sample, output: str) -> Verdict:
        """Decide on what follows the chain."""
        followed = _strict(sample, (after_chain(output) or "").strip())
        return Verdict(all(followed), "instructions", f"{sum(followed)} of {len(followed)} followed")

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return one conversation for a chain of thought that is not empty."""
        sample, output = prediction.sample, prediction.output
        if sample.task != _CHAIN or not output or not output.strip():
            return []
        text = (
            "Does the response follow the instruction, which asks for reasoning before the answer? Judge only whether "
            "it is followed, not whether the answer is right.\n\n"
            f"Instruction: {sample.question}\n\nResponse: {output}\n\nExplain briefly and end with `Result: YES` or "
            "`Result: NO`."
        )
        return [[user_message(text)]]

    def judged(self, prediction: Prediction) -> Score:
        """Return the judge's last word; None where there is none."""
        found = [words[-1] for reply in prediction.judged if (words := re.findall(r"Result:\s*(YES|NO)\b", reply))]
        return found[-1] == "YES" if found else None

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Add ``if_rate``, the mean of the three rates; None while one of them is missing."""
        found = super().aggregate(samples, decisions)
        rates = [found["groups"]["kind"].get(kind, {}).get("official", {}).get("score") for kind in KINDS]
        whole = [rate for rate in rates if rate is not None]
        return found | {"if_rate": sum(whole) / len(KINDS) if len(whole) == len(KINDS) else None}


def _strict(sample: Sample, output: str) -> list[bool]:
    return instructions.strict(output, sample.extra["rules"], sample.extra["settings"])


def _sample(row: files.Row) -> Sample:
    rules = [str(each) for each in row.fields.get("instruction_id_list") or []]
    settings = list(row.fields.get("kwargs") or [{} for _ in rules])
    stem = next((kind for kind in KINDS if kind in row.file.stem), "")
    kind = stem or (_CHAIN if row.fields.get("metric") == "cot" or not rules else KINDS[0])
    name = f"{kind}/{row.name('id')}"
    beside = dataclasses.replace(row, fields={"audio": row.fields.get("audio_filepath")}).within(
        "..", "../..", "audios"
    )
    return Sample(
        id=name,
        audio=beside.clips(name, "audio"),
        question=row.text("instruction"),
        answer=row.text("label", "") or None,
        answer_type="open" if kind == _CHAIN else "text",
        domain="speech",
        task=kind,
        transcript=row.text("textual_audio", "") or None,
        source={"benchmark": "speech_ifeval", "id": row.fields.get("id")},
        extra={"rules": rules, "settings": settings, "dataset": row.text("dataset", "")},
    )


TASK = SpeechIFEval()
