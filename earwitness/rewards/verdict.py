"""What a verifier returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and how that was decided."""

    right: bool
    rule: str
    """The place and the rule that fired, such as ``letter`` or ``boxed/number``; ``unparsed`` and ``ambiguous`` where
    nothing was decided, and then ``right`` is False. A place is left out where it is the whole answer."""
    said: str = ""
    """What was taken as the answer; empty where nothing was."""
