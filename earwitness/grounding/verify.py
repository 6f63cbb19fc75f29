"""A claim against the measurements of the recording: verified, refuted or uncheckable, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from earwitness.acoustics import Measurements
from earwitness.grounding import check_clip, check_notes
from earwitness.grounding.claims import Claim
from earwitness.grounding.extract import ClaimStream, extract
from earwitness.grounding.verdict import REFUTED, UNCHECKABLE, VERIFIED, Finding, Verdict, unsure

_CHECKS: dict[str, Callable[[Claim, Measurements], Finding]] = {
    "pitch_value": check_notes.pitch_value,
    "order": check_notes.order,
    "extreme": check_notes.extreme,
    "level": check_notes.level,
    "interval": check_notes.interval,
    "contour": check_notes.contour,
    "steps": check_notes.steps,
    "count": check_clip.count,
    "duration": check_clip.duration,
    "time": check_clip.time,
    "tempo": check_clip.tempo,
    "rate": check_clip.rate,
    "pause": check_clip.pause,
    "intonation": check_clip.intonation,
    "liveliness": check_clip.liveliness,
    "register": check_clip.register,
    "trend": check_clip.trend,
    "key": check_clip.key,
    "chord": check_clip.chord,
    "rhythm": check_clip.rhythm,
    "timbre": check_clip.timbre,
    "noise": check_clip.noise,
    "identity": check_clip.identity,
}
_NEVER = {
    "overlap": "two sounds at once cannot be told from one by these measurements",
    "speakers": "speakers are not counted: one voice can change its pitch, and two can share it",
}


def verify(claim: Claim, found: Measurements) -> Verdict:
    """Return the verdict on one claim.

    A measurement whose interval reaches the border between true and false decides nothing. A claim that is denied in
    the text is verified where the plain statement is refuted.
    """
    check = _CHECKS.get(claim.kind)
    finding = check(claim, found) if check else unsure(_NEVER[claim.kind])
    if finding.holds is None:
        return Verdict(claim, UNCHECKABLE, finding.reason, finding.measured)
    holds = finding.holds != claim.is_negated
    return Verdict(claim, VERIFIED if holds else REFUTED, finding.reason, finding.measured)


def verify_chain(chain: str, found: Measurements) -> list[Verdict]:
    """Return the verdicts on all claims of a chain, in their order."""
    return [verify(claim, found) for claim in extract(chain)]


def tally(verdicts: Iterable[Verdict]) -> dict[str, float | int | None]:
    """Return the counts of outcomes, precision (verified of checkable) and coverage (checkable of all).

    Precision is None without a checkable claim, and coverage without any.
    """
    outcomes = [v.outcome for v in verdicts]
    counts = {name: outcomes.count(name) for name in (VERIFIED, REFUTED, UNCHECKABLE)}
    checkable = counts[VERIFIED] + counts[REFUTED]
    precision = counts[VERIFIED] / checkable if checkable else None
    return {**counts, "precision": precision, "coverage": checkable / len(outcomes) if outcomes else None}


class ClaimChecker:
    """Checks the claims of a chain while it streams: ``feed`` pieces of text, then ``flush``."""

    def __init__(self, found: Measurements):
        """Check against the measurements of the clip that the chain is about."""
        self._stream, self._found = ClaimStream(), found

    def feed(self, text: str) -> list[Verdict]:
        """Return the verdicts on the claims of the sentences that this piece finished; positions count from 0."""
        return [verify(claim, self._found) for claim in self._stream.feed(text)]

    @property
    def position(self) -> int:
        """Up to which character the chain has been read."""
        return self._stream.position

    def flush(self) -> list[Verdict]:
        """Return the verdicts on what was left when the chain ended."""
        return [verify(claim, self._found) for claim in self._stream.flush()]
