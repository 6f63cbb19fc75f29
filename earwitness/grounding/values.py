"""Claims with a number: note names and Hz, how many notes, how long, when, how many beats a minute, pauses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.scene import Scene
from earwitness.grounding.subjects import CARDINALS, UNIT_OF

_NAME = re.compile(
    r"(?<![A-Za-z#\d])(?P<letter>[A-G])(?:(?P<sharp>#|\u266f)|(?P<flat>b|\u266d)|[ -](?P<word>sharp|"
    r"flat))?(?P<octave>[0-8])(?![\d#\w])"
)
_HZ = re.compile(r"(?<![\w.])(?P<n>\d+(?:\.\d+)?)\s*(?P<k>k?)Hz\b", re.IGNORECASE)
_ONE = r"[A-G](?:#|b|\u266f|\u266d)?[0-8]\b"
_ROW = re.compile(
    rf"\b(?:notes|pitches|tones|sequence|melody|line)\s+(?:are|is|goes|go|run|runs|as|being|:|played\s+are)[:\s]+(?P<names>{_ONE}(?:(?:,\s*(?:and\s+|then\s+)?|\s+and\s+|\s+then\s+|\s*-\s*|\s+to\s+|\s*\u2192\s*){_ONE})+)"
)
_COMPARED_NAME = re.compile(r"\s+is\s+(?:\w+\s+)?(?:higher|lower|above|below|the same)", re.IGNORECASE)
_ON_THE_WAY = re.compile(
    r"\b(?:from|than|between|against|(?:rises?|falls?|drops?|up|down|glides?)\s+to)\s+(?:about\s+)?$", re.IGNORECASE
)
_NOT_SAID = re.compile(r"\b(?:from|to|than|between|against|towards?|of|reaching|chord)\s+(?:\w+\s+)?$", re.IGNORECASE)
_PLURALS = "|".join(w for w in UNIT_OF if w.endswith("s") and w not in ("pitches",))
_N = "|".join(sorted(CARDINALS, key=len, reverse=True)) + r"|\d{1,3}"
_COUNTED = (
    rf"(?P<n>{_N})\s+(?P<what>(?:[a-z-]+\s+){{0,2}}?)(?P<unit>{_PLURALS}|(?<=one )(?:note|tone|sound|beep|knock|"
    rf"click)|(?<=single )(?:note|tone|sound|beep|knock|click))\b"
)
_COUNT = re.compile(
    r"\b(?:there\s+(?:are|is|were|was)|there['\u2019]s|(?:I|we|you|one)\s+(?:can\s+)?(?:clearly\s+)?(?:hear|heard|count|counted|notice|catch)|"
    r"contains?|consists?\s+of|(?:clip|recording|audio|melody|sequence|line|it)\s+has|made\s+up\s+of|total\s+of|features?|"
    r"in\s+(?:all|total),?|comprises|is\s+a\s+(?:sequence|series|row)\s+of|that\s+makes|plays)\s+"
    rf"(?:exactly\s+|only\s+|just\s+|a\s+total\s+of\s+|a\s+(?:sequence|series|row)\s+of\s+)*{_COUNTED}",
    re.IGNORECASE,
)
# "Three notes." or "Here two beeps are heard", but not "the three notes" nor "two notes are the same".
_COUNT_AFTER = re.compile(
    r"(?<!\bthe )(?<!\bthese )(?<!\bthose )(?<!\bfirst )(?<!\blast )(?<!\bnext )(?<!\bother )"
    rf"(?<!\bbetween )(?<!\bof )(?<!\bevery )(?<!\bby )(?<!\bwith )\b{_COUNTED}"
    r"(?=\s*(?:[.,;:!)]|$)|\s+(?:in\s+total|in\s+all|altogether|overall|here\b|in\s+(?:the|this)\s+(?:clip|recording|audio|melody|excerpt)|one\s+after|"
    r"in\s+(?:succession|a\s+row|sequence)|(?:are|were|is|can\s+be)\s+(?:clearly\s+)?(?:played|heard|audible|present|sung|struck|sounded)|sound\b(?!\s+(?:the|alike|like))|follow))",
    re.IGNORECASE,
)
_NUMBER_OF = re.compile(
    rf"\b(?:number|count)\s+of\s+(?P<what>(?:[a-z-]+\s+){{0,2}}?)(?P<unit>{_PLURALS})\s+(?:\w+\s+){{0,3}}?(?:is|comes\s+to|equals)\s+(?P<n>{_N})\b",
    re.IGNORECASE,
)
_LAST_NUMBER = re.compile(r"\blast\s+(?P<unit>note|sound|word)\s+has\s+number\s+(?P<n>\d+)", re.IGNORECASE)
_STEPS = re.compile(
    rf"\bnumber\s+of\s+notes\s+(?P<way>higher|lower)\s+than\s+the\s+one\s+before(?:\s+it|\s+them)?\s+is\s+(?P<n>{_N})\b",
    re.IGNORECASE,
)
_SECONDS = r"(?P<n>\d+(?:\.\d+)?|half\s+a|one|two|three|four|five)\s*-?\s*(?P<u>ms|milliseconds?|s|secs?|seconds?)\b"
_LASTS = re.compile(
    rf"\b(?:lasts?|lasting|is\s+held|held|sustain(?:s|ed)|rings?|(?:duration|length)\s+(?:of|is)|runs|goes\s+on|takes)\s+(?:(?:for|is|of|[\"\u201c]\w+[\"\u201d]|\u201c\w+\u201d|about|around|roughly|approximately|nearly|only|just|over)\s+)*{_SECONDS}",
    re.IGNORECASE,
)
_LONG = re.compile(
    rf"{_SECONDS}\s*-?\s*(?P<of>long|in\s+length|clip|recording|excerpt|audio|tone|note)\b", re.IGNORECASE
)
_AT = r"(?:at|around|near|after|by)\s+(?:about\s+|around\s+|roughly\s+|approximately\s+)*"
_BEGINS = re.compile(
    rf"\b(?P<verb>begins?|is|arrives?|lands?|starts?|enters?|occurs?|comes?(?:\s+in)?|sets?\s+in|happens?|is\s+heard|sounds?|ends?|stops?|finishes)\s+{_AT}(?P<t>\d+:\d\d(?:\.\d+)?|\d+(?:\.\d+)?\s*(?:s|sec|secs|seconds?)\b)",
    re.IGNORECASE,
)
_AT_FIRST = re.compile(
    rf"\b{_AT}(?P<t>\d+:\d\d(?:\.\d+)?|\d+(?:\.\d+)?\s*(?:s|sec|secs|seconds?)\b),?\s+(?:the\s+|a\s+|an\s+|another\s+)?(?:\w+\s+)?"
    r"(?:note|tone|sound|beep|knock|click|voice|speaker)\s+(?P<verb>begins|starts|enters|occurs|comes\s+in|sets\s+in|is\s+heard|sounds|ends|stops)\b",
    re.IGNORECASE,
)
_BPM = re.compile(
    r"(?<![\w.])(?P<n>\d{2,3}(?:\.\d+)?)\s*(?:(?:-|\u2013|to)\s*(?P<m>\d{2,3})\s*)?(?:bpm|beats\s+(?:per|a)\s+minute|beats/min)\b",
    re.IGNORECASE,
)
_RATE = re.compile(
    r"(?<![\w.])(?P<n>\d{1,3}(?:\.\d+)?)\s+(?P<u>syllables|words)\s+(?:per|a|each)\s+(?P<per>second|minute)\b",
    re.IGNORECASE,
)
_PAUSE = re.compile(
    r"\b(?P<no>no|without(?:\s+any)?|without\s+a)?\s*(?P<n>a|one|two|three|four|five|\d+|several|some)?\s*(?:(?P<size>long|short|brief|clear|noticeable|audible|silent)\s+)*"
    r"(?P<word>pauses?|silences?|gaps?\s+of\s+silence|moments?\s+of\s+silence|silent\s+gaps?)\b",
    re.IGNORECASE,
)
_PAUSES_FOR = re.compile(rf"\bpauses\s+for\s+(?:about\s+|around\s+|roughly\s+|nearly\s+)*{_SECONDS}", re.IGNORECASE)
_SILENT = re.compile(r"\bthere\s+is\s+(?:only\s+|just\s+)?silence\b|\bis\s+silent\b", re.IGNORECASE)
_WORDS = {"half a": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0}


def find(scene: Scene) -> Iterator[Claim]:
    """Yield the claims with a number in a sentence."""
    yield from _pitches(scene)
    yield from _counts(scene)
    yield from _times(scene)
    yield from _speeds(scene)
    yield from _pauses(scene)


def _pitches(scene: Scene) -> Iterator[Claim]:
    rows = [(row.start(), row.end()) for row in _ROW.finditer(scene.text)]
    for match in _NAME.finditer(scene.text):
        if any(first <= match.start() < last for first, last in rows):
            continue
        subject = scene.before(match.start(), ("note", "sound"))
        if scene.after(match.end(), 18) and re.match(r"\s+(?:is|for|as|on|comes)\s", scene.text[match.end() :]):
            subject = scene.after(match.end(), 18) or subject
        if subject is None or _NOT_SAID.search(scene.text[: match.start()]) or not scene.asserts(match):
            continue
        if _COMPARED_NAME.match(scene.text, match.end()) or "middle" in scene.text[: match.start()]:
            continue
        yield scene.claim("pitch_value", match, subject, _spelled(match), is_rough=scene.is_rough(match.start()))
    for row in _ROW.finditer(scene.text):  # "the notes are C4, E4 and G4"
        for number, match in enumerate(_NAME.finditer(row["names"]), 1):
            if scene.asserts(row):
                yield scene.claim("pitch_value", row, Subject("note", number), _spelled(match))
    for match in _HZ.finditer(scene.text):
        if _ON_THE_WAY.search(scene.text[: match.start()]) or not scene.asserts(match):
            continue
        subject = scene.before(match.start(), ("note", "sound", "voice")) or scene.after(match.end(), 12) or Subject()
        if (
            re.search(r"\b(?:voice|speaker|f0|fundamental|speech)\b", scene.text, re.IGNORECASE)
            and subject.unit == "clip"
        ):
            subject = Subject("voice")
        hz = float(match["n"]) * (1000 if match["k"] else 1)
        yield scene.claim("pitch_value", match, subject, hz, unit="Hz", is_rough=scene.is_rough(match.start()))


def _spelled(match: re.Match[str]) -> str:
    """Return the name with a sharp where the text has a flat: Db4 is C#4."""
    letter, octave = match["letter"], match["octave"]
    if match["flat"] or match["word"] == "flat":
        below = {"C": "B", "D": "C#", "E": "D#", "F": "E", "G": "F#", "A": "G#", "B": "A#"}[letter]
        return f"{below}{int(octave) - (letter == 'C')}"
    return f"{letter}{'#' if match['sharp'] or match['word'] else ''}{octave}"


def _counts(scene: Scene) -> Iterator[Claim]:
    for match in _LAST_NUMBER.finditer(scene.text):
        if scene.asserts(match):
            yield scene.claim("count", match, Subject(UNIT_OF[match["unit"].lower()]), int(match["n"]))
    for match in _STEPS.finditer(scene.text):
        yield scene.claim("steps", match, Subject("line"), _number(match["n"]), unit=match["way"].lower())
    taken: set[int] = set()
    for pattern in (_COUNT, _COUNT_AFTER, _NUMBER_OF):
        for match in pattern.finditer(scene.text):
            what, start = match["what"].strip().lower(), match.start("n")
            tail = scene.text[match.end() : match.end() + 12].lower()
            if start in taken or re.match(r"\s+(?:higher|lower|later|apart|long\b|before|after|between)", tail):
                continue
            if re.search(r"\b(?:first|last|next|other|of|more|than)\b", what) or not scene.asserts(match):
                continue
            taken.add(start)
            name = " ".join(
                w for w in what.split() if w not in ("distinct", "separate", "different", "clear", "single")
            )
            unit = "kind" if "different" in what else UNIT_OF[match["unit"].lower()]
            yield scene.claim("count", match, Subject(unit, name=name), _number(match["n"]))


def _number(text: str) -> int:
    text = text.lower()
    return CARDINALS[text] if text in CARDINALS else int(text)


def _seconds(number: str, unit: str) -> float:
    value = _WORDS.get(" ".join(number.lower().split()))
    value = float(number) if value is None else value
    return value / 1000 if unit.lower().startswith("m") else value


def _times(scene: Scene) -> Iterator[Claim]:
    for match in _LASTS.finditer(scene.text):
        if scene.asserts(match):
            subject = scene.before(match.start()) or Subject()
            rough = scene.is_rough(match.start("n"))
            yield scene.claim("duration", match, subject, _seconds(match["n"], match["u"]), unit="s", is_rough=rough)
    for match in _LONG.finditer(scene.text):
        if scene.asserts(match):
            whole = match["of"].lower() in ("clip", "recording", "excerpt", "audio")
            subject = Subject() if whole else scene.before(match.start()) or Subject()
            rough = scene.is_rough(match.start("n"))
            yield scene.claim("duration", match, subject, _seconds(match["n"], match["u"]), unit="s", is_rough=rough)
    for pattern in (_BEGINS, _AT_FIRST):
        for match in pattern.finditer(scene.text):
            if not scene.asserts(match):
                continue
            numbered = re.search(r"\b(?:first|second|third|fourth|fifth|last|\d)\b", scene.text[: match.end()], re.I)
            subject = (scene.before(match.end("verb")) if numbered else None) or Subject("sound")
            edge = "end" if re.match(r"ends?|stops?|finish", match["verb"], re.IGNORECASE) else "start"
            value = _clock(match["t"])
            yield scene.claim("time", match, subject, value, aspect=edge, unit="s", is_rough=True)


def _clock(text: str) -> float:
    if ":" in text:
        minutes, seconds = text.split(":")
        return 60 * int(minutes) + float(seconds)
    return float(re.sub(r"[^\d.]", "", text))


def _speeds(scene: Scene) -> Iterator[Claim]:
    for match in _BPM.finditer(scene.text):
        if scene.asserts(match):
            low, high = float(match["n"]), float(match["m"] or match["n"])
            rough = scene.is_rough(match.start())
            yield scene.claim("tempo", match, Subject(), (low + high) / 2, unit="bpm", is_rough=rough or high > low)
    for match in _RATE.finditer(scene.text):
        if scene.asserts(match):
            value = float(match["n"]) / (60 if match["per"].lower() == "minute" else 1)
            yield scene.claim("rate", match, Subject("voice"), value, unit=match["u"].lower(), is_rough=True)


def _pauses(scene: Scene) -> Iterator[Claim]:
    for match in _SILENT.finditer(scene.text):
        span = next((m.subject.span for m in scene.mentions if m.subject.span), None)
        if span and scene.asserts(match):
            yield scene.claim("pause", match, Subject("clip", span=span), None)
    for match in _PAUSES_FOR.finditer(scene.text):
        if scene.asserts(match):
            yield scene.claim("pause", match, Subject("clip"), _seconds(match["n"], match["u"]), unit="s")
    for match in _PAUSE.finditer(scene.text):
        if not scene.asserts(match) or not (match["no"] or match["n"] or match["size"]):
            continue
        tail = scene.text[match.end() : match.end() + 40]
        length = re.match(rf"\s+(?:of|lasting)\s+(?:about\s+|around\s+|roughly\s+)*{_SECONDS}", tail, re.IGNORECASE)
        place = re.match(rf"\s+{_AT}(\d+(?:\.\d+)?)\s*(?:s|sec|seconds?)\b", tail, re.IGNORECASE)
        span = next((m.subject.span for m in scene.mentions if m.subject.span and m.start >= match.start()), None)
        if place:
            span = (float(place[1]), float(place[1]))
        count = 0 if match["no"] else _WORDS.get((match["n"] or "").lower()) if match["n"] not in ("a", None) else None
        value = _seconds(length["n"], length["u"]) if length else None
        subject = Subject("clip", span=span)
        negated = scene.claim(
            "pause", match, subject, value, aspect="none" if count == 0 else "", unit="s" if length else ""
        )
        yield negated
