"""A chain in sentences and clauses, and whether a clause asserts something or only supposes, asks or denies it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A full stop inside a number, an abbreviation, an initial or an option letter ends no sentence.
_END = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)(?<!\bapprox)(?<!\bno)(?<!\bca)(?<!^[A-Z])(?<!\s[A-Z])"
    r"[.!?\u2026]+[\"')*_\u201d\u2019]*(?=\s|$)|\n+"
)
# Not asserted: supposed, possible, general, planned, or the options of the question.
_SUPPOSED = re.compile(
    r"\b(if|whether|unless|suppose|assum\w+|imagine|might|may(?! be heard)|maybe|could(?! (?:clearly )?hear)|"
    r"would(?! (?:say|call|describe|put|estimate|guess|place))|should|perhaps|possibly|can be(?! heard)|"
    r"typically|usually|generally|often|sometimes|in general|the (?:question|user|options?) (?:ask|is|are|want|say)s?|"
    r"need to|let me|let's|options? (?:are|is|include)|the choices|or (?:is|are) (?:it|they)|"
    r"(?:want|trying|going|have|has) to (?:know|find|figure|decide|determine|check|compare|count)|"
    r"unclear|not sure|hard to (?:say|tell)|check (?:the|if|whether|how|what|which))\b",
    re.IGNORECASE,
)
_OPTION = re.compile(r"^\W*(?:option\s+)?[A-H][.):]\s")
_NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|isn['\u2019]t|aren['\u2019]t|doesn['\u2019]t|don['\u2019]t|didn['\u2019]t|"
    r"wasn['\u2019]t|hardly|rather than|instead of|without(?: any)?|no(?! (?:doubt|more|less|longer)))\b"
    r"(?:\s+\w+){0,3}?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sentence:
    """A sentence and where it begins in the chain."""

    text: str
    start: int

    @property
    def is_question(self) -> bool:
        """It ends in a question mark."""
        return self.text.rstrip("\"')*_ \u201d").endswith("?")


def split(text: str, offset: int = 0) -> list[Sentence]:
    """Return the sentences of a text; the last may be unfinished."""
    out, begin = [], 0
    for match in _END.finditer(text):
        out.append(_sentence(text, begin, match.end(), offset))
        begin = match.end()
    out.append(_sentence(text, begin, len(text), offset))
    return [s for s in out if s is not None]


def finished(text: str) -> int:
    """Return where the last finished sentence of a growing text ends; 0 if none has.

    An end at the very last character does not count, since a decimal may follow.
    """
    ends = [match.end() for match in _END.finditer(text) if match.end() < len(text)]
    return ends[-1] if ends else 0


def _sentence(text: str, begin: int, end: int, offset: int) -> Sentence | None:
    part = text[begin:end]
    stripped = part.strip()
    return Sentence(stripped, offset + begin + part.index(stripped)) if stripped else None


def is_supposed(sentence: Sentence, start: int, end: int) -> bool:
    """Return whether what stands at ``start`` to ``end`` of a sentence is asked or supposed and not asserted.

    A hedge counts from its place to the end of its clause: "it is low, but might be a man" asserts the first half.
    """
    if sentence.is_question or _OPTION.match(sentence.text):
        return True
    for match in _SUPPOSED.finditer(sentence.text, 0, end):
        between = sentence.text[match.end() : start]
        if match.start() >= start or not re.search(r"[;:]|, (?:but|and|so|then)\b|\bbut\b", between):
            return True
    return False


def is_negated(sentence: Sentence, start: int) -> bool:
    """Return whether a negation stands right before a place, within its clause."""
    clause = re.split(r"[,;:]|\b(?:but|and|then)\b", sentence.text[:start])[-1]
    return bool(_NEGATION.search(clause.rstrip() + " "))
