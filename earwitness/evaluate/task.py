"""What a benchmark is: items from its published files, its prompts, two scorers side by side, its published sub-scores.

Every ``earwitness.evaluate.tasks.ID`` holds one ``Task`` as ``TASK``. The official scorer repeats the authors' script
decision by decision; the robust one never guesses and names the rule that fired. Nothing is dropped: what an authors'
script leaves out is None and is counted.
"""

from __future__ import annotations

import abc
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from earwitness import rewards
from earwitness.evaluate.statistics import wilson
from earwitness.prompt import Message, report_choices, user_message
from earwitness.records import Sample
from earwitness.rewards.extraction import after_chain

Score = bool | float | None
"""Right or wrong, a score, or None where the item is left out."""

UNFINISHED = ("degenerate", "foreign", "tool_call", "cancelled")
"""Statuses of replies that are not read: a loop, a foreign turn, a call, a reply that was stopped."""
REMARKS = ("unparsed", "ambiguous", "truncated", "empty", "missing", "error", *UNFINISHED, "unjudged", "bad_item")
"""Rules that say why no answer was scored; each is counted beside the score."""


@dataclass(frozen=True)
class Dataset:
    """A benchmark's published files, read; ``Problems`` collects what is wrong with them."""

    samples: Sequence[Sample]
    version: str
    """The name of the release, ``unknown`` where the hash is of none that is known."""
    sha256: str
    """Of the data file."""
    problems: tuple[str, ...] = ()
    """One sentence for each thing that is wrong with the data."""
    files: tuple[pathlib.Path, ...] = ()
    """Where the samples were read, an item of a file a sample; none where they are made."""


@dataclass(frozen=True)
class Prediction:
    """What some model said to an item."""

    sample: Sample
    output: str | None
    """The text that goes to the scorers, as it stands in the authors' prediction field; None where there is none."""
    thinking: str = ""
    status: str = "complete"
    """One of ``records.STATUSES``, or ``error`` where the engine failed."""
    judged: tuple[str, ...] = ()
    """The judge's replies, in the order of ``Task.judge_messages``."""


@dataclass(frozen=True)
class Decision:
    """What the two scorers decided for an item."""

    official: Score
    robust: Score
    """None where the item itself cannot be scored (``bad_item``) or waits for its judge (``unjudged``)."""
    rule: str
    """The rule that fired, as in ``rewards.Verdict``, or one of ``REMARKS``."""
    said: str = ""
    """What was taken as the answer."""
    judged: Score = None
    """The judge's score, where a benchmark has one beside or instead of its rules."""


class Task(abc.ABC):
    """One benchmark. Subclasses give ``load``, ``official`` and what differs from the defaults here."""

    id: ClassVar[str]
    prompts: ClassVar[tuple[str, ...]] = ("report", "authors")
    """Names that ``messages`` takes: as in Step-Audio-R1's examples, and as in the benchmark's own code."""
    groups: ClassVar[Mapping[str, Callable[[Sample], str]]] = {}
    """Published sub-scores: name of the grouping -> the group of a sample; ``""`` puts it in none."""
    submission: ClassVar[tuple[str, str]] = ("", "")
    """The fields of the authors' format for the model's text and chain; ``""`` where there is none."""
    judge: ClassVar[Mapping[str, Any]] = {}
    """The authors' judge and how they sample it: ``model``, ``temperature`` and so on; empty where there is none."""

    @abc.abstractmethod
    def load(self, data: pathlib.Path) -> Dataset:
        """Read the published files at ``data``, a file or a folder; ``ValueError`` or ``OSError`` in one sentence."""

    @abc.abstractmethod
    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide as the authors' script does; None where it leaves the item out, or where a judge decides."""

    def robust(self, sample: Sample, output: str) -> rewards.Verdict:
        """Decide on a non-empty, finished output; ``ValueError`` where the sample cannot be scored."""
        return rewards.verify(sample, readable(output))

    def messages(self, sample: Sample, prompt: str = "report") -> list[Message]:
        """Return the conversation to send."""
        return [user_message(self.text(sample, prompt), sample.audio)]

    def is_heard(self, sample: Sample) -> bool:
        """Return whether an item has sound to be asked with; one that lacks it is then an error and no guess."""
        return True

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the text of the question under one of ``prompts``."""
        if prompt not in self.prompts:
            raise ValueError(f"{self.id} has no prompt {prompt!r}; choose one of {', '.join(self.prompts)}")
        return report_choices(sample.question, sample.choices) if sample.choices else sample.question

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return the conversations to put to the judge, one a call; none where no judge is needed."""
        return []

    def judged(self, prediction: Prediction) -> Score:
        """Return the score from ``prediction.judged``; None where the replies hold no valid one or there are none."""
        return None

    def officials(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Decide on all items in order; overridden where the authors' script carries state from item to item."""
        return [self.official(p.sample, p.output) for p in predictions]

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read predictions made elsewhere, in the benchmark's own format, with their items."""
        raise ValueError(f"{self.id} has no file format for predictions of its own; give the run's records instead")

    def aggregate(self, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
        """Return the published scores: ``official`` and ``robust`` over all and over each group."""
        return {**accuracy(decisions), "groups": grouped(self.groups, samples, decisions)}


def decide(task: Task, predictions: Sequence[Prediction]) -> list[Decision]:
    """Return what both scorers say of each prediction, in order."""
    return [_decide(task, p, score) for p, score in zip(predictions, task.officials(predictions))]


def _decide(task: Task, p: Prediction, official: Score) -> Decision:
    judged = task.judged(p)
    if p.sample.answer_type == "open" and official is None:
        official = judged
    rule = _no_answer(p)
    if rule:
        return Decision(official, False, rule, judged=judged)
    if p.sample.answer_type == "open":
        return Decision(official, judged, "unjudged" if judged is None else "judge", judged=judged)
    try:
        verdict = task.robust(p.sample, p.output or "")
    except ValueError as error:
        return Decision(official, None, "bad_item", str(error), judged)
    return Decision(official, verdict.right, verdict.rule, verdict.said[:200], judged)


def _no_answer(p: Prediction) -> str:
    """Return the remark that says why there is no answer to look at; empty where there is one."""
    if p.status == "error":
        return "error"
    if p.output is None:
        return "missing"
    if p.status in UNFINISHED:
        return p.status
    if p.status == "truncated" or (p.output.strip() and after_chain(p.output) is None):
        return "truncated"
    return "" if (after_chain(p.output) or "").strip() else "empty"


def summary(task: Task, data: Dataset, samples: Sequence[Sample], decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return scores with intervals and, beside them, how many items were left out, unparsed, empty and so on."""
    rules = Counter(d.rule for d in decisions)
    counts = {"left_out": sum(d.official is None for d in decisions), **{name: rules[name] for name in REMARKS}}
    where = {"version": data.version, "sha256": data.sha256, "problems": list(data.problems)}
    return {"n": len(decisions), **task.aggregate(samples, decisions), "counts": counts, "rules": dict(rules), **where}


def accuracy(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return mean, count and, for right or wrong, the 95 % Wilson interval of each scorer over what it did not drop."""
    return {name: _mean([getattr(d, name) for d in decisions]) for name in ("official", "robust")}


def grouped(
    groups: Mapping[str, Callable[[Sample], str]], samples: Sequence[Sample], decisions: Sequence[Decision]
) -> dict[str, dict[str, Any]]:
    """Return ``accuracy`` of every group of every grouping."""
    found: dict[str, dict[str, list[Decision]]] = {name: {} for name in groups}
    for sample, decision in zip(samples, decisions):
        for name, key in groups.items():
            if group := key(sample):
                found[name].setdefault(group, []).append(decision)
    return {name: {group: accuracy(rows) for group, rows in sorted(of.items())} for name, of in found.items()}


def _mean(scores: Sequence[Score]) -> dict[str, Any]:
    kept = [score for score in scores if score is not None]
    if not kept:
        return {"score": None, "n": 0}
    if all(isinstance(score, bool) for score in kept):
        interval = wilson(sum(map(int, kept)), len(kept))
        return {"score": interval.value, "n": len(kept), "low": interval.low, "high": interval.high}
    return {"score": sum(map(float, kept)) / len(kept), "n": len(kept)}


_HTML = re.compile(
    r"</?(b|i|u|em|strong|code|pre|span|div|p|br|li|ul|ol|h[1-6]|td|tr|table|body|html)\b[^<>]*>", re.IGNORECASE
)
_INLINE = {"b", "i", "u", "em", "strong", "code", "span"}
_ENTITIES = {"&nbsp;": " ", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&apos;": "'", "&amp;": "&"}
_FULL_STOP = "\u3002"  # of Chinese; labels are read before a plain one
_RUN = re.compile(r"([*_`])\1{3,}")  # a model that loops; searching thousands of marks for their partners takes minutes


def readable(text: str) -> str:
    """Return the text as it is read, without HTML's own tags and with its entities and the Chinese stop plain."""
    text = _HTML.sub(lambda match: "" if match[1].lower() in _INLINE else "\n", text)
    for entity, char in _ENTITIES.items():
        text = text.replace(entity, char)
    return _RUN.sub(r"\1\1\1", text.replace(_FULL_STOP, ". "))


@dataclass(frozen=True)
class Problems:
    """Collects one sentence for each thing that is wrong with a data set, at most twenty of a kind."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        """Note a sentence; ``kind`` names all of its like in the count that replaces what is over twenty."""
        self.found.setdefault(kind, []).append(sentence)

    def sentences(self) -> tuple[str, ...]:
        """Return them all, in the order in which their kinds were met."""
        rows = []
        for kind, sentences in self.found.items():
            rows += sentences[:20] + ([f"{len(sentences) - 20} more: {kind}"] if len(sentences) > 20 else [])
        return tuple(rows)
