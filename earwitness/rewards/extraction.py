r"""Where in a reply its answer stands: after the chain, in ``<answer>``, in ``\boxed{}``, after "the answer is".

The order is that of robust benchmark scorers. Nothing is guessed: a place that is marked as the answer (a tag, a box)
and holds nothing that can be read decides, and the rest of the text is not searched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

MAX_CHARACTERS = 20_000
"""Of a longer answer only the end is read."""

_CLOSING = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_OPENING = re.compile(r"\A\s*<think(?:ing)?>", re.IGNORECASE)
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.IGNORECASE | re.DOTALL)
_BOXED = re.compile(r"\\f?boxed\s*\{")
_ANSWER_IS = re.compile(
    r"^[#\s]*(?:(?:final|my|the)\s+)?answer[ \t]*\n\s*|"  # a heading
    r"\b(?:answer|correct\s+(?:option|choice))\s*(?:(?:is|would\s+be|must\s+be|should\s+be)\b\s*[:=]?|[:=])\s*",
    re.IGNORECASE | re.MULTILINE,
)
# Bold and code marks around words; the sides keep the power sign of "2**3" out.
_EMPHASIS = re.compile(r"(?<![\w)*])(\*{1,3}|_{2}|`+)(?=[^\s*])([^\n]*?[^\s*])\1(?![\w(*])")
_NEGATION = re.compile(
    r"\b(?:not|no|nor|neither|never|cannot|without|except|unlike|instead|rather|wrong|incorrect)\b|n't\b",
    re.IGNORECASE,
)
_EDGES = " \t\n.,;:!?\"'()[]`\u3002\uff0c\uff1a\uff1b\uff01\uff1f"


class Place(NamedTuple):
    """A stretch of the reply that may hold the answer."""

    name: str
    """``answer_tag``, ``boxed``, ``answer_is`` or ``""`` for the whole answer."""
    text: str

    def rule(self, how: str) -> str:
        """Return the name of the rule that fired here."""
        return f"{self.name}/{how}" if self.name else how


def places(answer: str) -> list[Place]:
    r"""Return where to look, in order; empty for a chain that was opened and never closed.

    1. Only what follows the last ``</think>`` is read.
    2. The last ``<answer>...</answer>`` alone, if there is one.
    3. Else the last ``\boxed{...}`` alone, if there is one.
    4. Else what follows the last "answer is" (also "answer:", "correct option is"), then the whole text.
    """
    text = after_chain(answer)
    if text is None:
        return []
    text = unbold(text[-MAX_CHARACTERS:]).strip()
    if tags := _TAG.findall(text):
        return [Place("answer_tag", _inner(tags[-1]))]
    if boxes := list(_BOXED.finditer(text)):
        return [Place("boxed", _inner(_braces(text, boxes[-1].end())))]
    found = [Place("", text)] if text else []
    if marks := list(_ANSWER_IS.finditer(text)):
        found.insert(0, Place("answer_is", text[marks[-1].end() :].strip()))
    return found


def search(answer: str, read: Callable[[Place], tuple[str, str] | None]) -> tuple[str, str]:
    """Return (rule, value) of the first place that ``read`` can read, or ``("unparsed", "")``.

    ``read`` returns (how, value), or None where it finds nothing; ``("ambiguous", "")`` ends the search.
    """
    for place in places(answer):
        if found := read(place):
            how, value = found
            return (how if how == "ambiguous" else place.rule(how)), value
    return "unparsed", ""


def after_chain(text: str) -> str | None:
    """Return what follows the last closing tag; None if a chain is opened at the start and never closed."""
    closings = list(_CLOSING.finditer(text))
    if closings:
        return text[closings[-1].end() :]
    return None if _OPENING.match(text) else text


def unbold(text: str) -> str:
    """Return the text without Markdown's marks for bold, italic and code."""
    return _EMPHASIS.sub(r"\2", text)


def plain(text: str) -> str:
    """Return the text in one form of its characters (NFKC, case-folded, straight quotes, single spaces)."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u2212", "-")
    return " ".join(text.casefold().split())


def trimmed(text: str) -> str:
    """Return ``plain`` text without punctuation at its edges and without a leading article."""
    text = plain(text).strip(_EDGES)
    return re.sub(r"\A(?:a|an|the)\s+(?=\S)", "", text)


def negated(text: str) -> bool:
    """Whether the text holds a word that turns a statement round ("not", "n't", "rather", "wrong")."""
    return bool(_NEGATION.search(text.replace("\u2019", "'")))


def first_sentence(text: str) -> str:
    """Return the text up to its first line break, or to a full stop, mark or semicolon before a space."""
    line = text.strip().split("\n")[0]
    return re.split(r"(?<=[.!?;])\s", line)[0]


def _inner(text: str) -> str:
    text = unbold(text).strip()
    if match := re.fullmatch(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", text):
        return match.group(1).strip()
    return text


def _braces(text: str, start: int) -> str:
    """Return what stands between an opened brace and its partner; "" where the partner is missing."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if not depth:
            return text[start:position]
    return ""
