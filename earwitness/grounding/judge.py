"""Judges of a chain by the report's criteria: it is about the sound, it hangs together, and its answer is right.

The rule judge needs no model: claims are checked against measurements. ``llm_judge`` puts the same questions to a
language model. A case that cannot be judged is ``unjudged``: it is never lost and never passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from earwitness.acoustics import Measurements
from earwitness.grounding import coherence, surrogate
from earwitness.grounding.verdict import Verdict
from earwitness.grounding.verify import tally, verify_chain

PASS, FAIL, UNJUDGED = "pass", "fail", "unjudged"
CRITERIA = ("grounded", "coherent", "correct")


@dataclass(frozen=True)
class Case:
    """One chain to judge, with what a judge may know."""

    id: str
    chain: str
    answer: str = ""
    question: str = ""
    reference: str | None = None
    """The right answer; None where there is none, and then correctness is not judged."""
    is_correct: bool | None = None
    """Whether an answer verifier found the answer right; used instead of comparing it with ``reference``."""
    measurements: Measurements | None = None
    """Of the clip; None leaves the claims uncheckable."""
    about_words: bool = False
    """The question is about what is said, so that words are evidence."""


@dataclass(frozen=True)
class Judgement:
    """What a judge found. A criterion is None where it was not judged."""

    id: str
    judge: str
    verdict: str
    """``pass``, ``fail`` or ``unjudged``."""
    grounded: bool | None = None
    coherent: bool | None = None
    correct: bool | None = None
    reasons: tuple[str, ...] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Outcomes of the claims, where they were checked."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON takes them."""
        return {**dataclasses.asdict(self), "reasons": list(self.reasons), "counts": dict(self.counts)}


class Judge(Protocol):
    """Yields one judgement for each case, in their order, whatever happens."""

    name: str

    def judge(self, cases: Iterable[Case]) -> Iterator[Judgement]:
        """Yield the judgements."""
        ...


def verdict_of(grounded: bool | None, coherent: bool | None, correct: bool | None, has_reference: bool) -> str:
    """Return ``pass`` where every criterion that applies is met, ``unjudged`` where one that applies is missing."""
    needed = (grounded, coherent, correct) if has_reference else (grounded, coherent)
    if any(value is False for value in needed):
        return FAIL
    return UNJUDGED if any(value is None for value in needed) else PASS


class RuleJudge:
    """Judges by rules: the claims against measurements, the surrogate detector and the coherence checks.

    A chain is grounded where at least ``least_verified`` of its claims are verified, none is refuted (or at most the
    share ``most_refuted`` of the checkable ones), and it is no textual surrogate. For a question about words no
    verified claim is needed.
    """

    name = "rules"

    def __init__(self, least_verified: int = 1, most_refuted: float = 0.0):
        """Raises ``ValueError`` for bounds out of range."""
        if least_verified < 0 or not 0 <= most_refuted <= 1:
            raise ValueError(
                f"least_verified {least_verified} must be 0 or more and most_refuted {most_refuted} between 0 and 1"
            )
        self._least, self._most = least_verified, most_refuted

    def judge(self, cases: Iterable[Case]) -> Iterator[Judgement]:
        """Yield the judgements in order."""
        for case in cases:
            yield self._judge(case)

    def _judge(self, case: Case) -> Judgement:
        if case.measurements is None and self._least and not case.about_words:
            return Judgement(case.id, self.name, UNJUDGED, reasons=("there are no measurements of the clip",))
        verdicts = verify_chain(case.chain, case.measurements) if case.measurements is not None else []
        grounded, reasons = self._is_grounded(case, verdicts)
        faults = coherence.check(case.chain, case.answer or None, [v.claim for v in verdicts] or None)
        correct = case.is_correct
        if correct is None and case.reference is not None:
            correct = coherence.same_answer(case.reference, case.answer)
        if correct is False:
            reasons.append("the answer is wrong")
        reasons += [f"{fault.kind}: {fault.reason}" for fault in faults]
        has_reference = case.reference is not None or case.is_correct is not None
        verdict = verdict_of(grounded, not faults, correct, has_reference)
        return Judgement(case.id, self.name, verdict, grounded, not faults, correct, tuple(reasons), tally(verdicts))

    def _is_grounded(self, case: Case, verdicts: list[Verdict]) -> tuple[bool, list[str]]:
        reasons = []
        report = surrogate.detect(case.chain, case.about_words)
        if report.is_surrogate:
            reasons.append(report.reason)
        counts = tally(verdicts)
        verified, refuted = int(counts["verified"] or 0), int(counts["refuted"] or 0)
        if refuted > self._most * (verified + refuted):
            first = next(v for v in verdicts if v.outcome == "refuted")
            reasons.append(f"{refuted} claims are refuted, such as {first.claim.text!r}: {first.reason}")
        if verified < self._least and not case.about_words:
            reasons.append(f"{verified} claims are verified, {self._least} needed")
        return not reasons, reasons


@dataclass(frozen=True)
class Agreement:
    """How far two judges agree on one criterion, over the cases that both judged."""

    criterion: str
    both: int
    """Cases that both judged."""
    unjudged: int
    """Cases that one of them, or both, left open."""
    agreed: float
    """Share of ``both`` on which they agree; NaN without any."""
    kappa: float
    """Cohen's kappa: agreement beyond chance; NaN where it has no meaning."""


def agreement(first: Iterable[Judgement], second: Iterable[Judgement]) -> list[Agreement]:
    """Return the agreement of two judges on the verdict and on each criterion, matched by the ids of the cases.

    Raises ``ValueError`` where an id occurs twice or on one side only: a lost case must not look like agreement.
    """
    one, two = _by_id(first), _by_id(second)
    if only := sorted(one.keys() ^ two.keys()):
        raise ValueError(f"case {only[0]!r} has the judgement of one judge only; let both judge the same cases")
    out = []
    for criterion in ("verdict", *CRITERIA):
        pairs = [(_value(one[key], criterion), _value(two[key], criterion)) for key in one]
        judged = [(a, b) for a, b in pairs if a is not None and b is not None]
        out.append(Agreement(criterion, len(judged), len(pairs) - len(judged), *_kappa(judged)))
    return out


def _by_id(judgements: Iterable[Judgement]) -> dict[str, Judgement]:
    out: dict[str, Judgement] = {}
    for one in judgements:
        if one.id in out:
            raise ValueError(f"case {one.id!r} was judged twice by {one.judge}; give every case an id of its own")
        out[one.id] = one
    return out


def _value(judgement: Judgement, criterion: str) -> bool | None:
    if criterion == "verdict":
        return {PASS: True, FAIL: False}.get(judgement.verdict)
    return getattr(judgement, criterion)


def _kappa(pairs: list[tuple[bool, bool]]) -> tuple[float, float]:
    if not pairs:
        return float("nan"), float("nan")
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    yes_one, yes_two = (sum(pair[i] for pair in pairs) / len(pairs) for i in (0, 1))
    chance = yes_one * yes_two + (1 - yes_one) * (1 - yes_two)
    return agreed, (agreed - chance) / (1 - chance) if chance < 1 else float("nan")
