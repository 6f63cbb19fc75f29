"""Free text with accepted variants."""

from __future__ import annotations

import re
import unicodedata

from earwitness.records import Sample
from earwitness.rewards.extraction import Place, first_sentence, plain, search
from earwitness.rewards.verdict import Verdict

_KEPT = "#%&+$"  # "C#" is not "C", "50%" is not "50"


def normalised(text: str) -> str:
    """Return the text as answers are compared: no case, articles, punctuation or extra spaces.

    As in the usual question-answering metrics (SQuAD), but ``# % & + $`` stay, and so do a point between digits, a
    minus before a digit, and letters outside of ASCII. Hyphens, slashes and underscores become spaces.
    """
    text = plain(text)
    kept = "".join(_kept(char, text[i - 1 : i], text[i + 1 : i + 2]) for i, char in enumerate(text))
    words = re.sub(r"\b(?:a|an|the)\b", " ", kept).split()
    return " ".join(words) or text


def _kept(char: str, before: str, after: str) -> str:
    """Return what a character of an answer becomes: itself, a space, or nothing."""
    category = unicodedata.category(char)
    if not category.startswith("P") or char in _KEPT:
        return char
    if after.isdigit() and (before.isdigit() if char == "." else char == "-" and not before.isalnum()):
        return char
    if char in "/_" or category == "Pd" or (before.isdigit() and after.isdigit() and char != ","):
        return " "  # "3:4" is not "34", while "3,400" is "3400"
    return ""


def verify_text(sample: Sample, answer: str) -> Verdict:
    """Whether the answer is the key or one of ``sample.acceptable``, compared by ``normalised``.

    In each place of ``extraction.places`` the whole of it counts (``text``), then its first sentence (``sentence``).
    An answer that merely contains the key does not count: a list of guesses would contain it too. What is neither is
    reported as ``text`` and wrong.

    Raises:
        ValueError: the sample has no answer.
    """
    if sample.answer is None:
        raise ValueError(f"sample {sample.id} has no answer to compare with; add one or make it answer_type 'open'")
    keys = {normalised(text) for text in (sample.answer, *sample.acceptable)}

    def read(place: Place) -> tuple[str, str] | None:
        for how, text in (("text", place.text), ("sentence", first_sentence(place.text))):
            if text.strip() and normalised(text) in keys:
                return how, text.strip()
        return None

    rule, said = search(answer, read)
    if said:
        return Verdict(True, rule, said)
    rule, said = search(answer, lambda place: ("text", place.text) if place.text else None)
    return Verdict(False, rule, said)
