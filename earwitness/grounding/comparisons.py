"""Claims that set one thing against another: higher than, as loud as, the highest is, three semitones above."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.scene import Scene
from earwitness.grounding.subjects import CARDINALS

COMPARATIVES = {
    "higher": ("pitch", "more"),
    "lower": ("pitch", "less"),
    "deeper": ("pitch", "less"),
    "louder": ("loudness", "more"),
    "stronger": ("loudness", "more"),
    "softer": ("loudness", "less"),
    "quieter": ("loudness", "less"),
    "fainter": ("loudness", "less"),
    "weaker": ("loudness", "less"),
    "longer": ("duration", "more"),
    "shorter": ("duration", "less"),
    "briefer": ("duration", "less"),
    "brighter": ("brightness", "more"),
    "sharper": ("brightness", "more"),
    "darker": ("brightness", "less"),
    "duller": ("brightness", "less"),
    "mellower": ("brightness", "less"),
    "faster": ("speed", "more"),
    "quicker": ("speed", "more"),
    "slower": ("speed", "less"),
}
_NOUNS = {
    "pitch": "pitch",
    "loudness": "loudness",
    "volume": "loudness",
    "level": "loudness",
    "length": "duration",
    "duration": "duration",
    "brightness": "brightness",
    "note": "pitch",
}
INTERVALS: dict[str, int | tuple[int, ...]] = {
    "semitone": 1,
    "half step": 1,
    "whole tone": 2,
    "whole step": 2,
    "second": 2,
    "minor third": 3,
    "major third": 4,
    "third": (3, 4),
    "fourth": 5,
    "tritone": 6,
    "fifth": 7,
    "minor sixth": 8,
    "major sixth": 9,
    "sixth": (8, 9),
    "minor seventh": 10,
    "major seventh": 11,
    "seventh": (10, 11),
    "octave": 12,
}
_PREVIOUS = (
    r"(?:the\s+)?(?:one|note|sound|tone|word)\s+(?:right\s+|just\s+)?before(?:\s+it)?|the\s+previous(?:\s+(?:one|"
    r"note|tone|sound))?"
)
_COMPARED = re.compile(
    rf"\b(?P<word>{'|'.join(COMPARATIVES)})(?:[- ]pitched)?(?:\s+in\s+(?:pitch|volume|loudness|level))?"
    rf"(?:\s+(?:note|tone|sound|one|pitch|volume|level|frequency|duration))?(?P<than>\s+(?:than|compared\s+(?:to|with))(?:\s+(?:in|that\s+of))?\s+(?P<prev>{_PREVIOUS})?)?",
    re.IGNORECASE,
)
_PREDICATE = re.compile(
    r"\b(?:is|are|was|were|sounds|sits|lies|seems|feels|plays|being|comes|also|and|or|but|even|much|a bit|"
    r"slightly|clearly|then|"
    r"noticeably|distinctly|semitones?|octaves?|thirds?|fourths?|fifths?|sixths?|sevenths?|steps?|dB)\s+$",
    re.IGNORECASE,
)
_EQUAL = re.compile(
    r"\b(?:(?:at|of|with|have|has|share)?\s*(?:the\s+|exactly the\s+|about the\s+|an?\s+)?(?P<same>same|equal|"
    r"identical)\s+"
    rf"(?P<noun>{'|'.join(_NOUNS)})|equally\s+(?P<adj>loud|soft|long|short|high|low|bright)|"
    r"(?:just\s+)?as\s+(?P<adj2>loud|soft|quiet|long|short|high|low|bright)\s+as)\b",
    re.IGNORECASE,
)
_ADJECTIVE = {"loud": "loudness", "soft": "loudness", "quiet": "loudness", "long": "duration", "short": "duration"}
_ADJECTIVE |= {"high": "pitch", "low": "pitch", "bright": "brightness"}
_IS = re.compile(
    r"^\s*(?:,|:)?\s*(?:\([^)]*\)\s*)?(?:that\s+|which\s+)?(?:pitch\s+|one\s+|note\s+|of (?:them|all|these)\s+|"
    r"in the clip\s+|overall\s+)*"
    r"(?:is|are|was|lasts|rings|sounds|seems|comes|occurs|falls|appears|sits|has|have|reaches|plays|being|belongs|on)?\s*"
    r"(?:clearly|therefore|thus|also|then|indeed|actually|overall|reached|found|heard|that|of|by|in|to|the|on|at|with|as|:|\s)*$",
    re.IGNORECASE,
)
_NUMBER = "|".join([*CARDINALS, r"\d+"])
_NAMED = "|".join(k for k in INTERVALS if k != "semitone")
_APART = re.compile(
    rf"\b(?P<n>{_NUMBER}|an?|about \d+)?\s*(?:perfect\s+)?(?P<unit>semitones?|{_NAMED})s?"
    r"(?:\s+(?P<way>higher|lower|above|below|up|down|apart))?\b",
    re.IGNORECASE,
)
_INTERVAL_CUE = re.compile(
    r"\b(?:interval|apart|leap|jump|semitones?|from\s+the|distance|above|below|higher|lower)\b", re.I
)

_BETWEEN = re.compile(r"\b(?:interval|from|between|apart|leap|jump|distance)\b", re.IGNORECASE)


def find(scene: Scene) -> Iterator[Claim]:
    """Yield the comparisons of a sentence."""
    yield from _comparatives(scene)
    yield from _equalities(scene)
    yield from _extremes(scene)
    yield from _intervals(scene)


def _comparatives(scene: Scene) -> Iterator[Claim]:
    if re.search(r"\bnumber of\b.*\b(?:higher|lower)\b", scene.text):
        return
    for match in _COMPARED.finditer(scene.text):
        subject = scene.before(match.start())
        getting = re.search(
            r"\b(?:get|gets|grow|grows|become|becomes|getting|growing|becoming|turns?)\s+(?:\w+ly\s+)?$",
            scene.text[: match.start()],
        )
        if subject is None or getting or not scene.asserts(match):
            continue
        if not match["than"] and not _PREDICATE.search(scene.text[: match.start()]):
            continue  # "the lower notes", "a deeper need"
        if re.search(r"[A-G][#b]?\d\s+is\s+(?:\w+\s+)?$", scene.text[: match.start()]):
            continue  # two names are compared, which is arithmetic
        aspect, value = COMPARATIVES[match["word"].lower()]
        other = _previous(subject) if match["prev"] else scene.after(match.end()) if match["than"] else None
        if match["than"] and other is None:
            continue
        yield scene.claim("order", match, subject, value, aspect=aspect, other=other)


def _previous(subject: Subject) -> Subject | None:
    if subject.index is None or subject.index == 1:
        return None
    return dataclasses.replace(subject, index=subject.index - 1)


def _equalities(scene: Scene) -> Iterator[Claim]:
    for match in _EQUAL.finditer(scene.text):
        aspect = _NOUNS[match["noun"].lower()] if match["noun"] else _ADJECTIVE[(match["adj"] or match["adj2"]).lower()]
        named = scene.numbered(match.start())
        other = scene.after(match.end(), 8)
        if len(named) == 2 and other is None:
            named, other = named[:1], named[1]
        both = re.search(r"\b(?:(?P<last>last )?(?:both|two)) (?P<what>note|tone|sound)s\b", scene.text)
        if other is None and both:
            unit = "sound" if both["what"] == "sound" else "note"
            named, other = (
                ([Subject(unit, -2)], Subject(unit, -1)) if both["last"] else ([Subject(unit, 1)], Subject(unit, 2))
            )
        if named and other is not None and scene.asserts(match):
            yield scene.claim("order", match, named[0], "equal", aspect=aspect, other=other)


def _extremes(scene: Scene) -> Iterator[Claim]:
    """Find "the highest is note 3" and "the third note is the highest"."""
    for left, right in zip(scene.mentions, scene.mentions[1:]):
        one, two = left.subject, right.subject
        if bool(one.extreme) == bool(two.extreme) or not _IS.match(scene.text[left.end : right.start]):
            continue
        extreme, which = (one, two) if one.extreme else (two, one)
        if which.index is None or which.name or extreme.extreme is None:
            continue
        if not re.search(r"\w|[:,]", scene.text[left.end : right.start]):
            continue
        match = re.compile(re.escape(scene.text[left.start : right.end])).search(scene.text, left.start)
        if match is None or not scene.asserts(match):
            continue
        aspect, value = extreme.extreme
        yield scene.claim("extreme", match, which, value, aspect=aspect)


def _intervals(scene: Scene) -> Iterator[Claim]:
    if not _INTERVAL_CUE.search(scene.text) or "middle" in scene.text:
        return
    for match in _APART.finditer(scene.text):
        name, count, way = (match["unit"].lower(), (match["n"] or "").lower(), (match["way"] or "").lower())
        name = "semitone" if name == "semitones" else name
        counted = name in ("semitone", "octave")
        if name == "second" or not (counted or count in ("a", "an", "")) or not scene.asserts(match):
            continue
        if not way and not (name == "semitone" or _BETWEEN.search(scene.text)):
            continue  # "a third voice" is no interval
        size: int | tuple[int, ...] = INTERVALS[name]
        if counted:
            number = 1 if count in ("a", "an", "") else CARDINALS.get(count) or int(re.sub(r"\D", "", count) or 1)
            size = number * (12 if name == "octave" else 1)
        first, second = _pair(scene, match, bool(way) and way != "apart")
        directed = "up" if way in ("higher", "above", "up") else "down" if way in ("lower", "below", "down") else ""
        yield scene.claim("interval", match, first, size, other=second, aspect="pitch", unit=directed)


def _pair(scene: Scene, match: re.Match[str], directed: bool) -> tuple[Subject, Subject]:
    """Return which two an interval lies between: "A is a fifth above B", else the two that are named, else 1 and 2."""
    if directed and (subject := scene.before(match.start(), ("note", "sound"))) is not None and subject.index:
        other = scene.after(match.end(), 6) or Subject(subject.unit, subject.index - 1 if subject.index > 1 else 2)
        return subject, other
    named = [m.subject for m in scene.mentions if m.subject.index is not None]
    return (named[0], named[1]) if len(named) > 1 else (Subject("note", 1), Subject("note", 2))
