"""The lists of the small model: "I hear 1 loud flute, 2 soft E4 lower 0, 3 apple by the man yes 1"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.sentences import Sentence

_LIST = re.compile(r"\bI hear:?\s+(?=1\s)", re.IGNORECASE)
_ITEM = re.compile(r"(?P<n>\d{1,2})\s+(?P<body>[^,.]+)")
_LEVELS = {
    "loud": ("loudness", "high"),
    "soft": ("loudness", "low"),
    "quiet": ("loudness", "low"),
    "long": ("duration", "high"),
    "short": ("duration", "low"),
    "fast": ("speed", "high"),
    "slow": ("speed", "low"),
    "near": ("distance", "low"),
    "far": ("distance", "high"),
}
_STEPS = {"higher": "more", "up": "more", "lower": "less", "down": "less", "same": "equal"}
_NAME = re.compile(r"[A-G]#?\d")
# Here an item stops describing and begins to keep count: "2 soft flute not loud", "3 C4 lowest 1 C3".
_STOPS = frozenset("best highest lowest is not yes no there first last so odd even kinds none against".split())


def find(sentence: Sentence) -> Iterator[Claim]:
    """Yield the claims of a list; nothing for any other sentence."""
    opening = _LIST.search(sentence.text)
    if opening is None:
        return
    items = [m for m in _ITEM.finditer(sentence.text, opening.end())]
    ordered: list[re.Match[str]] = []
    for item in items:  # "0 to 1 to 2" also begins with a number
        if int(item["n"]) == len(ordered) + 1:
            ordered.append(item)
    for item in ordered:
        yield from _item(sentence, item, _unit(sentence.text))


def _unit(text: str) -> str:
    if re.search(r"\bby the (?:man|woman)\b|\bword\b|\bquiet\b|\bfast\b|\bslow\b", text):
        return "word"
    if re.search(r"\b[A-G]#?\d\b|\b(?:soft|long|short|flute|organ|piano|violin|trumpet|guitar|cello|clarinet)\b", text):
        return "note"
    return "sound"


def _item(sentence: Sentence, item: re.Match[str], unit: str) -> Iterator[Claim]:
    number = int(item["n"])
    subject = Subject(unit, number)
    begin, end = sentence.start + item.start(), sentence.start + item.end()

    def claim(kind: str, value: object, **more: object) -> Claim:
        return Claim(kind, item[0].strip(), begin, end, subject, value, **more)  # type: ignore[arg-type]

    body = item["body"]
    if match := re.search(r"\bby the (man|woman)\b", body):
        yield claim("register", match[1])
        body = body[: match.start()]
    seen: set[str] = set()
    for word in body.split():
        group = _LEVELS[word][0] if word in _LEVELS else "note" if _NAME.fullmatch(word) else "step" * (word in _STEPS)
        group = group or "name"
        if word in _STOPS or word.isdigit() or group in seen:
            return
        seen.add(group)
        if word in _LEVELS:
            aspect, value = _LEVELS[word]
            yield claim("level", value, aspect=aspect)
        elif group == "note":
            yield claim("pitch_value", word)
        elif group == "step":
            if number > 1:
                yield claim("order", _STEPS[word], aspect="pitch", other=Subject(unit, number - 1))
        elif re.fullmatch(r"[a-z]+", word):
            yield claim("identity", word)
