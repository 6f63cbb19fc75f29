"""MMAU-Pro's 27 instructions about the form of an answer, decided as in its authors' script.

One thing is not as there: they split sentences with NLTK, here a sentence ends at ``. ! ?`` before a space or the end.
Quirks are kept: phrases are compared by their letters and spaces alone, a paragraph is what stands between ``***``, and
an empty answer follows whatever forbids something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Given = Mapping[str, Any]
_MOST = 999


def followed(text: str, name: str, given: Given, question: str = "") -> bool:
    """Return whether a text follows an instruction; none that the script does not know is followed.

    Args:
        text: the answer.
        name: ``task_identifier`` of the item, such as ``Number Words (at least)``.
        given: its ``kwargs``: ``N``, ``N1``, ``N2``, ``keywords`` and so on.
        question: what ``Repeat Prompt`` wants repeated.

    Raises:
        ValueError: the instruction needs a setting that is null or of another kind.
    """
    subject, _, bound = name.partition(" (")
    try:
        if bound and subject in _COUNTS:
            return _bounds(_COUNTS[subject](text), bound.rstrip(")"), given)
        rule = _RULES.get(name)
        return bool(rule and rule(text, {**given, "question": question}))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the instruction {name!r} has the settings {dict(given)}; correct the item") from error


def _bounds(count: int, bound: str, given: Given) -> bool:
    if bound == "range":
        return bool(given.get("N1", 0) <= count <= given.get("N2", _MOST))
    number = given.get("N", 0)
    return bool(count >= number if bound == "at least" else count <= number)


def _sentences(text: str) -> int:
    return sum(bool(part.strip()) for part in re.split(r"(?<=[.!?])\s+", text))


_COUNTS: dict[str, Callable[[str], int]] = {
    "Number Words": lambda text: len(text.split()),
    "Number Sentences": _sentences,
    "All-capital Words": lambda text: sum(word.isupper() for word in text.split()),
}
"""What is counted, for ``(at least)``, ``(at most)`` and ``(range)``."""


def _parts(text: str, mark: str) -> int:
    return sum(bool(part.strip()) for part in text.split(mark))


def _letters(text: str, also: str = "") -> str:
    return re.sub(f"[^a-zA-Z{also}]", "", text).lower()


def _keyword(text: str, given: Given) -> bool:
    found = re.findall(rf"\b{re.escape(given.get('keyword', '').lower())}\b", text.lower())
    return len(found) == given.get("N", 0)


def _listed(given: Given, name: str) -> list[str]:
    return [word.lower() for word in given.get(name, "").split(", ")]


def _sections(text: str, given: Given) -> bool:
    parts = re.split(rf"\s*{re.escape(given.get('section_splitter', ''))}\s*", text.strip())
    return sum(bool(part.strip()) for part in parts) == given.get("N", 0)


def _two(text: str) -> bool:
    parts = [part.lower().strip() for part in text.split("******")]
    return len(parts) == 2 and parts[0] != parts[1]


_RULES: dict[str, Callable[[str, Given], bool]] = {
    "Include Keywords": lambda t, g: all(word in t.lower() for word in _listed(g, "keywords")),
    "Keyword Frequency": _keyword,
    "Forbidden Words": lambda t, g: not any(word in t.lower() for word in _listed(g, "forbidden_words")),
    "Number Paragraphs": lambda t, g: _parts(t, "***") == g.get("N", 0),
    "Postscript": lambda t, g: _letters(g.get("postscript_marker", "")) in _letters(t),
    "Number Placeholder": lambda t, g: len(re.findall(r"\[[^\]]+\]", t)) >= g.get("N", 0),
    "Number Bullets": lambda t, g: len(re.findall(r"(?:^|\n)\s*\*\s+", t)) == g.get("N", 0),
    "Title": lambda t, g: bool(re.search(r"<<[^>]+>>", t)),
    "Minimum Number Highlighted Section": lambda t, g: len(re.findall(r"\*([^*]+)\*", t)) >= g.get("N", 0),
    "Multiple Sections": _sections,
    "Repeat Prompt": lambda t, g: t.strip().lower().startswith(g["question"].strip().lower()),
    "Two Responses": lambda t, g: _two(t),
    "All Uppercase": lambda t, g: t.isupper(),
    "All Lowercase": lambda t, g: t.islower(),
    "Start Checker": lambda t, g: _letters(t, " ").startswith(_letters(g.get("start_phrase", ""), " ")),
    "End Checker": lambda t, g: _letters(t, " ").endswith(_letters(g.get("end_phrase", ""), " ")),
    "Quotation": lambda t, g: t.strip().startswith('"') and t.strip().endswith('"'),
    "No Commas": lambda t, g: "," not in t,
}
