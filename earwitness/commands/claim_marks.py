"""A chain with a mark after every claim about the sound, written sentence by sentence while it streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earwitness.acoustics import Measurements
    from earwitness.grounding import Verdict

MARKS = {"verified": "\u2713", "refuted": "\u2717", "uncheckable": "?"}
_COLOURS = {"verified": "\x1b[32m", "refuted": "\x1b[31m", "uncheckable": "\x1b[33m"}
_PLAIN = "\x1b[0m"


class ClaimMarks:
    """Holds a sentence back until it has ended, then gives it with its marks."""

    def __init__(self, found: Measurements, before: str = "", colour: bool = False):
        """Check against the measurements of the clip; ``before`` is the style that goes on after a coloured mark."""
        from earwitness.grounding import ClaimChecker

        self._checker, self._chain, self._shown = ClaimChecker(found), "", 0
        self._before, self._colour = before, colour
        self.verdicts: list[Verdict] = []

    def feed(self, text: str) -> str:
        """Take the next piece of the chain; return what can be shown."""
        self._chain += text
        verdicts = self._checker.feed(text)
        return self._show(verdicts, self._checker.position)

    def flush(self) -> str:
        """Return what was held back when the chain has ended."""
        return self._show(self._checker.flush(), len(self._chain))

    def summary(self) -> str:
        """Return the counts in one line, then one line for each claim that is refuted."""
        from earwitness.grounding import tally

        counts = tally(self.verdicts)
        lines = [f"claims: {', '.join(f'{counts[outcome]} {outcome} {mark}' for outcome, mark in MARKS.items())}"]
        refuted = [v for v in self.verdicts if v.outcome == "refuted"]
        return "\n".join(lines + [f"  {v.claim.text!r} is refuted: {v.reason}" for v in refuted])

    def _show(self, verdicts: list[Verdict], end: int) -> str:
        self.verdicts += verdicts
        out, at = "", self._shown
        for verdict in sorted(verdicts, key=lambda v: v.claim.end):
            out += self._chain[at : verdict.claim.end] + self._mark(verdict.outcome)
            at = verdict.claim.end
        self._shown = max(at, end)
        return out + self._chain[at:end]

    def _mark(self, outcome: str) -> str:
        if not self._colour:
            return f" {MARKS[outcome]}"
        return f" {_PLAIN}{_COLOURS[outcome]}{MARKS[outcome]}{_PLAIN}{self._before}"
