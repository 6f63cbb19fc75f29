"""The outcome of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from earwitness.acoustics import Quantity
from earwitness.grounding.claims import Claim

VERIFIED, REFUTED, UNCHECKABLE = "verified", "refuted", "uncheckable"


@dataclass(frozen=True)
class Verdict:
    """Whether a claim agrees with the sound, why, and what was measured for it."""

    claim: Claim
    outcome: str
    """``verified``, ``refuted`` or ``uncheckable``."""
    reason: str
    measured: tuple[Quantity, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the verdict with its claim and measurements."""
        measured = [q.to_json() for q in self.measured]
        return {**self.claim.to_json(), "outcome": self.outcome, "reason": self.reason, "measured": measured}


@dataclass(frozen=True)
class Finding:
    """What a check found about the plain statement, before a negation turns it round."""

    holds: bool | None
    """None: the measurement is too near the border, or there is none."""
    reason: str
    measured: tuple[Quantity, ...] = ()


def unsure(reason: str, *measured: Quantity) -> Finding:
    """Return a finding that decides nothing."""
    return Finding(None, reason, measured)


def decide(value: Quantity, holds: bool, fails: bool, reason: str) -> Finding:
    """Return a finding from two tests of which at most one is met; neither means too near the border."""
    return Finding(True if holds else False if fails else None, reason, (value,))
