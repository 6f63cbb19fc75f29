"""The checkable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911), which Speech-IFEval and VoiceBench use.

Three things are not as in the authors' code, which loads NLTK and langdetect: sentences end at ``. ! ?`` before a space
or the end, a word in capitals is a run of letters, and English is text whose letters are at least half ASCII. Which
other language a response has is not decided.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

UNDECIDED = "language:response_language"

_ENDINGS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCES = ("```json", "```Json", "```JSON", "```")


def strict(output: str, rules: Sequence[str], settings: Sequence[Mapping[str, Any] | None]) -> list[bool]:
    """Return for each rule whether the output follows it; nothing follows from an empty output.

    Raises:
        ValueError: a rule that is not known, or that cannot be decided here.
    """
    return [bool(output.strip()) and _follows(output, rule, given) for rule, given in _pairs(rules, settings)]


def loose(output: str, rules: Sequence[str], settings: Sequence[Mapping[str, Any] | None]) -> list[bool]:
    """Return for each rule whether the output follows it, or does so without its first or last line or its stars."""
    lines = output.split("\n")
    cut = [output, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    forms = [form for text in cut for form in (text, text.replace("*", "")) if form.strip()]
    return [any(_follows(form, rule, given) for form in forms) for rule, given in _pairs(rules, settings)]


def _pairs(rules: Sequence[str], settings: Sequence[Mapping[str, Any] | None]) -> list[tuple[str, dict[str, Any]]]:
    if len(rules) != len(settings):
        raise ValueError(f"{len(rules)} instructions have {len(settings)} settings; give one an instruction")
    for rule in rules:
        if rule not in _RULES:
            why = "needs a language detector" if rule == UNDECIDED else "is none of IFEval's"
            raise ValueError(f"the instruction {rule!r} {why}; the item is left out")
    given = [{name: value for name, value in (each or {}).items() if value is not None} for each in settings]
    return list(zip(rules, given))


def _follows(text: str, rule: str, given: Mapping[str, Any]) -> bool:
    try:
        return bool(_RULES[rule](text, given))
    except KeyError as error:
        raise ValueError(f"the instruction {rule!r} lacks its setting {error}; correct the item") from error


def _compare(count: int, bound: int, relation: str) -> bool:
    return count < bound if relation == "less than" else count >= bound


def _frequency(text: str, given: Mapping[str, Any]) -> bool:
    count = len(re.findall(given["keyword"], text, re.IGNORECASE))
    return _compare(count, given["frequency"], given["relation"])


def _letters(text: str, given: Mapping[str, Any]) -> bool:
    return _compare(text.lower().count(given["letter"].lower()), given["let_frequency"], given["let_relation"])


def _sentences(text: str, given: Mapping[str, Any]) -> bool:
    count = len([part for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()])
    return _compare(count, given["num_sentences"], given["relation"])


def _paragraphs(text: str, given: Mapping[str, Any]) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    inner = parts[1:-1] if len(parts) > 2 else []
    if any(not part.strip() for part in inner):
        return False
    return sum(bool(part.strip()) for part in parts) == given["num_paragraphs"]


def _first_word(text: str, given: Mapping[str, Any]) -> bool:
    parts, nth = text.split("\n\n"), given["nth_paragraph"]
    count = sum(bool(part.strip()) for part in parts)
    if nth > count or not parts[nth - 1].strip():
        return False
    word = re.split(r"[.,?!'\"]", parts[nth - 1].split()[0].lstrip("'").lstrip('"'))[0]
    return count == given["num_paragraphs"] and word.lower() == given["first_word"].lower()


def _postscript(text: str, given: Mapping[str, Any]) -> bool:
    known = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    marker = given["postscript_marker"]
    return bool(re.search(known.get(marker, rf"\s*{marker.lower()}.*$"), text.lower(), re.MULTILINE))


def _bullets(text: str, given: Mapping[str, Any]) -> bool:
    count = sum(len(re.findall(form, text, re.MULTILINE)) for form in (r"^\s*\*[^\*].*$", r"^\s*-.*$"))
    return count == given["num_bullets"]


def _highlights(text: str, given: Mapping[str, Any]) -> bool:
    found = re.findall(r"\*[^\n\*]*\*", text) + re.findall(r"\*\*[^\n\*]*\*\*", text)
    return sum(bool(each.strip("*").strip()) for each in found) >= given["num_highlights"]


def _sections(text: str, given: Mapping[str, Any]) -> bool:
    return len(re.split(rf"\s?{given['section_spliter']}\s?\d+\s?", text)) - 1 >= given["num_sections"]


def _json(text: str, given: Mapping[str, Any]) -> bool:
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _two_responses(text: str, given: Mapping[str, Any]) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    said = [part.strip() for part in parts if part.strip()]
    return len(said) == 2 and said[0] != said[1]


def _quoted(text: str, given: Mapping[str, Any]) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _capitals(text: str, given: Mapping[str, Any]) -> bool:
    count = sum(word.isupper() for word in re.findall(r"\w+(?:[-']\w+)*", text))
    return _compare(count, given["capital_frequency"], given["capital_relation"])


def _is_english(text: str) -> bool:
    letters = [char for char in text if char.isalpha()]
    return 2 * sum(char.isascii() for char in letters) >= len(letters)


_RULES: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "keywords:existence": lambda t, g: all(re.search(word, t, re.IGNORECASE) for word in g["keywords"]),
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": lambda t, g: (
        not any(re.search(rf"\b{word}\b", t, re.IGNORECASE) for word in g["forbidden_words"])
    ),
    "keywords:letter_frequency": _letters,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda t, g: _compare(len(re.findall(r"\w+", t)), g["num_words"], g["relation"]),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda t, g: len(re.findall(r"\[.*?\]", t)) >= g["num_placeholders"],
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda t, g: any(ending in t for ending in _ENDINGS),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda t, g: any(
        each.lstrip("<").rstrip(">").strip() for each in re.findall(r"<<[^\n]+>>", t)
    ),
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda t, g: t.strip().lower().startswith(g["prompt_to_repeat"].strip().lower()),
    "startend:end_checker": lambda t, g: t.strip().strip('"').lower().endswith(g["end_phrase"].strip().lower()),
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capitals,
    "change_case:english_capital": lambda t, g: t.isupper() and _is_english(t),
    "change_case:english_lowercase": lambda t, g: t.islower() and _is_english(t),
    "punctuation:no_comma": lambda t, g: "," not in t,
}
