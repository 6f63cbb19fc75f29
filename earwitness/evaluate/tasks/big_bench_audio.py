"""Big Bench Audio (ArtificialAnalysis/big_bench_audio): 1,000 spoken questions of four kinds of reasoning.

Data: ``metadata.jsonl`` with ``data/question_N.mp3`` beside it, or the parquet mirror. The publishers score with a
judge; they name no format for predictions, so the metadata with a field ``response`` is taken, or the field of another
benchmark. The answers are words of a closed vocabulary or whole numbers. Without a judge ``official`` therefore repeats
the judge's instructions as rules; with one, it is the judge's word.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from earwitness.evaluate import files
from earwitness.evaluate.task import Dataset, Prediction, Score, Task, readable
from earwitness.prompt import Message, user_message
from earwitness.records import Sample
from earwitness.rewards.extraction import after_chain, negated, places, plain
from earwitness.rewards.quantities import prepared, quantities

# Of the report's examples: answer with "valid" or "invalid", "yes" or "no", or a number only, and add no description.
REPORT_PROMPT = (
    '\u4ec5\u7528 "valid" \u6216 "invalid"\uff0c"yes" \u6216 "no"\uff0c\u6216\u8005\u6570\u5b57\u6765\u76f4\u63a5\u56de'
    "\u7b54\u4e0a\u9762\u7684\u95ee\u9898\uff0c\u4e0d\u8981\u6dfb\u52a0\u4efb\u4f55\u5176\u4ed6\u63cf\u8ff0\u3002"
)
KEYS = ("response", "candidate_answer", "prediction", "model_output", "answer_prediction", "answer")


class BigBenchAudio(Task):
    """See the module."""

    id = "big_bench_audio"
    groups = {"category": lambda sample: sample.task}
    judge = {"model": "", "temperature": 0.0}

    def load(self, data: pathlib.Path) -> Dataset:
        """Read ``metadata.jsonl``, or the parquet files."""
        return files.dataset(data, ("metadata.jsonl",), _sample, what=self.id)

    def predictions(self, path: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
        """Read the metadata with the model's text in one of ``KEYS``."""
        return files.predictions(path, _sample, KEYS)

    def messages(self, sample: Sample, prompt: str = "report") -> list[Message]:
        """Return the clip, which holds the question; in the report's words followed by its request."""
        asked = self.text(sample, prompt)
        heard = user_message("", sample.audio)
        return [{**heard, "content": heard["content"] + ([{"type": "text", "text": asked}] if asked else [])}]

    def text(self, sample: Sample, prompt: str = "report") -> str:
        """Return the report's request; the authors send the clip alone."""
        super().text(sample, prompt)
        return REPORT_PROMPT if prompt == "report" else ""

    def official(self, sample: Sample, output: str | None) -> Score:
        """Decide as the judge is told to; no text is wrong."""
        return said(sample.task, output or "") == said(sample.task, sample.answer or "") != ""

    def officials(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Take the judge's word where there is one."""
        judged = [self.judged(p) for p in predictions]
        return [self.official(p.sample, p.output) if word is None else word for p, word in zip(predictions, judged)]

    def judge_messages(self, prediction: Prediction) -> list[list[Message]]:
        """Return one conversation for an answer that is not empty."""
        sample, answer = prediction.sample, prediction.output
        if not answer or not answer.strip():
            return []
        text = (
            "Is the candidate's answer CORRECT or INCORRECT? It is correct if it agrees with the official answer.\n"
            "A candidate that contradicts itself is judged on the first answer it proposes. Of working with a final "
            "answer only the final answer counts. Leave what is irrelevant aside. A number may be spelled out (7 or "
            "seven), and names may be misspelt.\n\n"
            f"Question, for reference:\n{sample.transcript or sample.question}\n\nOfficial answer: {sample.answer}\n\n"
            f"Candidate's answer:\n{answer}\n\nReply with CORRECT or INCORRECT and nothing else."
        )
        return [[user_message(text)]]

    def judged(self, prediction: Prediction) -> Score:
        """Return the judge's word; None where it is neither of the two."""
        words = set(re.findall(r"\b(?:IN)?CORRECT\b", " ".join(prediction.judged)))
        return "CORRECT" in words if len(words) == 1 else None


class Mention(NamedTuple):
    """An answer that a text names, and where."""

    start: int
    end: int
    value: str


_FINAL = re.compile(r"\bfinal\s+(?:answer|count|total)\b")
_ANSWER = re.compile(r"\b(?:answer|conclusion)\b[^.:=\d]{0,40}?(?:\bis\b|\bwould\s+be\b|[:=])")
_RETRACTED = re.compile(
    r"\b(?:wait|actually|sorry|correction|on\s+second\s+thought|i\s+mean|no,\s|let\s+me\s+re\w+|or\s+rather|scratch\s+that)\b"
)
_CONCLUDED = re.compile(r"\b(?:therefore|thus|hence|so|in\s+total|a\s+total\s+of|altogether|in\s+all|overall)\b|=")
_ECHO = re.compile(r"\bvalid\s+(?:or|and|nor)\s+(?:in|not\s+)valid\b|\byes\s+or\s+no\b|\bno\s+or\s+yes\b|\bvalidity\b")
_VALID = re.compile(
    r"(?P<not>\b(?:can)?not\s+|n't\s+|\bnever\s+|\bnon-?)?"
    r"(?:(?:an?|be|being|considered|deductively|logically|formally|necessarily|strictly|really|actually)\s+){0,3}"
    r"\b(?P<word>in-?valid|valid)\b"
)
# "No" answers only before a mark or at the end; in "no steps back" it does not.
_YES_NO = re.compile(
    r"\b(?:(?P<yes>yes|yeah|yep)|(?P<no>nope|no(?=\s*(?:[.,;:!)\"'*-]|\Z))))\b|\b(?P<alone>true|false)(?=\W*\Z)"
)
_FILLER = re.compile(
    r"[\s.\"'(]*(?:\b(?:the|this|that|it|it's|argument|conclusion|is|are|there|i|count|have|you|deductively|logically|"
    r"objects|items|things|fruits)\b[\s.\"')]*)*"
)
_WHOLE = {
    "\u6709\u6548": "valid",
    "\u65e0\u6548": "invalid",
    "\u662f": "yes",
    "\u662f\u7684": "yes",
    "\u5426": "no",
    "\u4e0d\u662f": "no",
    "\u4e0d": "no",
}
"""Chinese answers, to the report's Chinese request."""


def said(category: str, output: str) -> str:
    """Return the answer that a judge would take from an output: a word or a whole number; "" where there is none.

    In this order: what stands in ``<answer>`` or a box; what follows "final answer"; what follows the first "answer
    is"; the whole first sentence, if it is nothing but an answer. Else what is said before the speaker takes it back
    ("wait", "actually") counts, and of that the last answer, which comes after the working.
    """
    text = after_chain(readable(output))
    found = places(text) if text else []
    if not found:
        return ""
    text = _flat(found[0].text if found[0].name in ("answer_tag", "boxed") else found[-1].text)
    if whole := _WHOLE.get(text.strip(' ."\u3002')):
        return whole
    mentions = _mentions(category, text)
    if not mentions:
        return _stated(category, text)
    for marks in (_FINAL, _ANSWER):
        if (mark := marks.search(text)) and (after := [m for m in mentions if m.start >= mark.end()]):
            return after[0].value
    if _opens(text, mentions):
        return mentions[0].value
    taken_back = [match.start() for match in _RETRACTED.finditer(text) if match.start() > mentions[0].start]
    if taken_back:
        mentions = [m for m in mentions if m.start < taken_back[0]]
    return _last(category, text[: taken_back[0]] if taken_back else text, mentions)


def _flat(text: str) -> str:
    """Return the text in one line and lower case, its lines as sentences."""
    return prepared(re.sub(r"\s*\n\s*", " . ", text.replace("*", " ").strip()))


def _mentions(category: str, text: str) -> list[Mention]:
    if category == "object_counting":
        read = [q for q in quantities(text) if q.value.denominator == 1]
        return [Mention(q.start, q.end, str(q.value)) for q in read] or _zero(text)
    text = _ECHO.sub(lambda match: " " * len(match[0]), text)
    if category == "formal_fallacies":
        return [Mention(*m.span(), _validity(m)) for m in _VALID.finditer(text)]
    return [Mention(*m.span(), "yes" if m["yes"] or m["alone"] == "true" else "no") for m in _YES_NO.finditer(text)]


def _zero(text: str) -> list[Mention]:
    match = re.search(r"\b(?:none|nothing)\b", text)
    return [Mention(*match.span(), "0")] if match else []


def _validity(match: re.Match[str]) -> str:
    return "valid" if (match["word"] == "valid") != bool(match["not"]) else "invalid"


def _stated(category: str, text: str) -> str:
    """Return the answer of a text without yes or no that states the fact instead; the last such sentence counts."""
    forms: dict[str, Callable[[str], str]] = {"navigate": _returned, "web_of_lies": _truthful}
    if category not in forms:
        return ""
    stated = [forms[category](sentence) for sentence in re.split(r"[.!?;]", text)]
    return next((answer for answer in reversed(stated) if answer), "")


def _returned(sentence: str) -> str:
    if not re.search(r"\b(?:start|starting|origin|original|began|begin)\b", sentence):
        return ""
    if not re.search(r"\b(?:return|returns|returned|back|end|ends|ended|finish|at)\b", sentence):
        return ""
    return "no" if negated(sentence) else "yes"


def _truthful(sentence: str) -> str:
    if re.search(r"\b(?:tell|tells|telling|told)\s+the\s+truth\b|\btruthful\b|\bhonest\b", sentence):
        return "no" if negated(sentence) else "yes"
    if re.search(r"\b(?:lies|lying|liar|lie)\b", sentence):
        return "yes" if negated(sentence) else "no"
    return ""


def _opens(text: str, mentions: list[Mention]) -> bool:
    """Whether the text begins with its first answer, alone or with "the argument is", "I count" and the like."""
    first, others = mentions[0], mentions[1:]
    rest = re.split(r"[.!?;,:](?=\s|\Z)|\s[-(]", text[first.end :], maxsplit=1)[0]
    is_list = bool(others) and text[first.end : others[0].start].strip() in (",", "and", ", and")
    return not is_list and all(_FILLER.fullmatch(part) for part in (text[: first.start], rest))


def _last(category: str, text: str, mentions: list[Mention]) -> str:
    if category == "object_counting":
        values = [int(m.value) for m in mentions]
        if len(values) > 2 and values[0] == sum(values[1:]):
            return mentions[0].value  # "7: 3 apples and 4 pears"
        conclusions = list(_CONCLUDED.finditer(text))
        if conclusions and conclusions[-1][0].startswith(("a", "=")):
            after = [m for m in mentions if m.start >= conclusions[-1].end()]
            return after[0].value if after else mentions[-1].value
    return mentions[-1].value if mentions else ""


def _sample(row: files.Row) -> Sample:
    name = row.name("id", "file_name")
    category, answer = row.text("category"), row.text("official_answer")
    kinds = {"formal_fallacies": "choice", "object_counting": "number"}
    return Sample(
        id=name,
        audio=row.clips(name, "file_name", "audio"),
        choices=("valid", "invalid") if category == "formal_fallacies" else (),
        answer=plain(answer) if category == "formal_fallacies" else answer,
        answer_type=kinds.get(category, "yes_no"),
        domain="speech",
        task=category,
        transcript=row.text("transcript", "") or None,
        source={"benchmark": "big_bench_audio", "id": row.fields.get("id")},
    )


TASK = BigBenchAudio()
