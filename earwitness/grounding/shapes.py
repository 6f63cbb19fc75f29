"""Claims about the course and the kind of a sound: contour, intonation, trend, key, rhythm, who or what it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.scene import Scene
from earwitness.grounding.subjects import CARDINALS

_UP = (
    r"rises?|rising|rose|ascends?|ascending|climbs?|climbing|goes\s+up|going\s+up|moves?\s+up(?:wards?)?|"
    r"moving\s+up(?:wards?)?|upwards?|lifts|turns?\s+up"
)
_DOWN = (
    r"falls?|falling|fell|descends?|descending|goes\s+down|going\s+down|drops?|dropping|moves?\s+down(?:wards?)?|"
    r"moving\s+down(?:wards?)?|downwards?|sinks?|turns?\s+down"
)
_WAY = re.compile(rf"\b(?:(?P<up>{_UP}|up)|(?P<down>{_DOWN}|down))\b", re.IGNORECASE)
_MELODIC = re.compile(
    r"\b(?:melody|melodic|contour|line|tune|notes|pitch(?:es)?|sequence|scale|motif|phrase)\b", re.IGNORECASE
)
_LEVEL = re.compile(
    r"\b(?:volume|loudness|level|intensity|louder|softer|quieter|energy|tempo|tension)\b", re.IGNORECASE
)
_SPOKEN = re.compile(
    r"\b(?:voice|intonation|inflection|speaker|speech|sentence|utterance|tone|man|woman|he|she|statement|question)\b",
    re.IGNORECASE,
)
_AT_END = re.compile(
    r"\b(?:(?:at|toward|towards|near|by)\s+(?:the|its|their|his|her)\s+(?:very\s+)?(?:end|close)|final(?:ly)?|ends?\s+(?:on|with|in)|"
    r"last\s+(?:word|syllable)|terminal|sentence[- ]final)\b",
    re.IGNORECASE,
)
_INTONATION = re.compile(
    r"\b(?P<way>rising|falling|upward|downward|level)\s+(?:final\s+)?(?:intonation|inflection|pitch\s+at\s+the\s+end|tone\s+at\s+the\s+end|terminal|ending|cadence)\b",
    re.IGNORECASE,
)
_TREND = re.compile(
    r"\b(?:(?P<up>(?:gets?|grows?|becomes?|getting|growing|becoming|turns?)\s+(?:\w+ly\s+|ever\s+|more\s+and\s+more\s+)?(?:louder|stronger|nearer|closer)|"
    r"crescendo|swells?|fad(?:es|ing)\s+in|(?:volume|loudness|level|intensity)\s+(?:\w+ly\s+)?(?:increases|rises|grows|builds(?:\s+up)?|goes\s+up)|"
    r"approach(?:es|ing)|com(?:es|ing)\s+(?:closer|nearer)|from\s+(?:softer|quieter|soft|quiet)\s+to\s+loud(?:er)?)|"
    r"(?P<down>(?:gets?|grows?|becomes?|getting|growing|becoming|turns?)\s+(?:\w+ly\s+|ever\s+)?(?:softer|quieter|fainter|weaker)|decrescendo|diminuendo|"
    r"fad(?:es|ing)(?:\s+(?:out|away))?|dies\s+(?:away|down)|trails\s+off|(?:volume|loudness|level|intensity)\s+(?:\w+ly\s+)?(?:decreases|drops|falls|diminishes|goes\s+down)|"
    r"leav(?:es|ing)|reced(?:es|ing)|mov(?:es|ing)\s+(?:off|away)|from\s+(?:louder|loud)\s+to\s+(?:soft|quiet)(?:er)?)|"
    r"(?P<same>(?:volume|loudness|level|dynamics?|intensity)\s+(?:is|are|stays|remains|stay|remain)\s+(?:\w+\s+)?(?:steady|constant|even|the\s+same|unchanged|stable)|"
    r"(?:steady|constant|even|stable)\s+(?:volume|loudness|level|dynamics)))\b",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"\b(?:(?P<root>[A-G])(?:(?P<sharp>#|\u266f)|(?P<flat>b|\u266d)|[ -](?P<word>sharp|"
    r"flat))?[ -]+)?(?P<mode>[Mm]ajor|[Mm]inor)\b(?!\s+(?:third|second|sixth|seventh|issue|point|role|detail))"
    r"(?:\s+(?P<noun>key|chord|triad|mode|scale|tonality|arpeggio))?"
)
_CHORD = re.compile(r"\b(?:chord|triad|arpeggio)\b", re.IGNORECASE)
_TONALITY = re.compile(r"\b(?:key|mode|scale|tonality|in\s+[A-G]|harmony|tonal|mode)\b")
_RHYTHM = re.compile(r"\b(?:pattern|rhythm)\b.{0,60}?\b(?P<a>long|short)[ ,-]+(?P<b>long|short)\b", re.IGNORECASE)
_VIBRATO = re.compile(r"\b(?P<no>no\s+|without\s+(?:any\s+)?)?vibrato\b", re.IGNORECASE)
_NOISE = re.compile(
    r"\b(?:(?P<clean>(?:no|without|little|hardly\s+any|very\s+little)\s+(?:audible\s+)?(?:background\s+)?noise|silent\s+background|quiet\s+background)|"
    r"(?P<noisy>(?:a\s+lot\s+of|much|loud|strong|heavy|constant|noticeable|considerable)\s+(?:background\s+)?noise|noisy\s+(?:background|environment|recording)))\b",
    re.IGNORECASE,
)
_OVERLAP = re.compile(
    r"\bsound\s+(?P<b>\d)\s+begins\s+before\s+sound\s+(?P<a>\d)\s+has\s+ended|\b(?P<both>overlap(?:s|ping)?|simultaneously|at\s+the\s+same\s+time)\b",
    re.IGNORECASE,
)
_SPEAKERS = re.compile(
    rf"\b(?P<n>{'|'.join(k for k in CARDINALS if k != 'no')}|\d)\s+(?:different\s+|distinct\s+)?(?:speakers?|"
    rf"voices?|people)\b|\b(?P<another>another\s+voice)\b",
    re.IGNORECASE,
)
INSTRUMENTS = {
    "struck": "piano guitar harp bell bells marimba xylophone vibraphone glockenspiel harpsichord banjo ukulele",
    "held": "flute organ violin trumpet cello clarinet oboe saxophone viola accordion horn trombone",
}
ENVELOPE_OF = {name: kind for kind, names in INSTRUMENTS.items() for name in names.split()}
_PERSON = re.compile(
    r"\b(?:(?:spoken|said|sung|voiced)\s+by\s+(?:an?|the|one)\s+(?:\w+\s+)?(?P<who>man|woman)\b(?!\s+and)|"
    r"(?:hear|is|it['\u2019]s)\s+(?:an?\s+)(?:\w+\s+)?(?P<who2>man|woman)(?:['\u2019]s\s+voice|\s+(?:speaking|talking))?\b)",
    re.IGNORECASE,
)
_INSTRUMENT = re.compile(
    rf"\b(?:(?:is|are|by|on|of|plays|hear|heard|like)\s+(?:an?\s+|the\s+)?(?:\w+\s+)?|^an?\s+(?=\w+\s+plays))(?P<name>{'|'.join(ENVELOPE_OF)})\b(?:\s+notes?\b)?",
    re.IGNORECASE,
)


def find(scene: Scene) -> Iterator[Claim]:
    """Yield the claims about course and kind in a sentence."""
    yield from _trends(scene)
    yield from _courses(scene)
    yield from _keys(scene)
    yield from _others(scene)


def _trends(scene: Scene) -> Iterator[Claim]:
    for match in _TREND.finditer(scene.text):
        if not scene.asserts(match):
            continue
        value = "growing" if match["up"] else "fading" if match["down"] else "steady"
        subject = scene.before(match.start(), ("note", "sound", "clip", "voice")) or Subject()
        yield scene.claim("trend", match, subject, value)


def _courses(scene: Scene) -> Iterator[Claim]:
    """Find contours of a melody and the end of a voice; both are said with the same words."""
    text = scene.text
    for match in _INTONATION.finditer(text):
        if scene.asserts(match):
            value = {"rising": "rising", "upward": "rising", "level": "level"}.get(match["way"].lower(), "falling")
            subject = scene.before(match.start(), ("voice",)) or Subject("voice")
            yield scene.claim("intonation", match, subject, value)
    ways = [m for m in _WAY.finditer(text) if not _LEVEL.search(text[max(0, m.start() - 30) : m.end() + 2])]
    if not ways or _INTONATION.search(text):
        return
    if _SPOKEN.search(text) and _AT_END.search(text) and not re.search(r"\b(?:melody|notes?|line|tune)\b", text):
        yield from _endings(scene, ways)
    elif _MELODIC.search(text) or (scene.carried and scene.carried.unit == "line"):
        values: list[str] = []
        for m in ways:
            value = "rising" if m["up"] else "falling"
            if not values or values[-1] != value:
                values.append(value)
        if not scene.asserts(ways[0]) or re.search(r"\bnumber of\b|\bthan\b", text) or len(values) > 2:
            return
        whole = re.compile(re.escape(text[ways[0].start() : ways[-1].end()])).search(text, ways[0].start())
        if whole is not None and not re.search(r"[A-G][#b]?\d", whole.string[: whole.start()]):
            turned = "up then down" if values[0] == "rising" else "down then up"
            yield scene.claim("contour", whole, Subject("line"), turned if len(values) == 2 else values[0])


def _endings(scene: Scene, ways: list[re.Match[str]]) -> Iterator[Claim]:
    """Yield one ending a clause: "first the man goes up at the end, then the woman goes down at the end"."""
    said, endings = 0, []
    for m in ways:
        # "Going up is a question" explains and asserts nothing new.
        if not said or _SPOKEN.search(scene.text[said : m.end()]):
            endings.append(m)
            said = m.end()
    for number, m in enumerate(endings, 1):
        subject = scene.before(m.start(), ("voice",)) or Subject("voice")
        if len(endings) == 2:
            subject = dataclasses.replace(subject, index=number)
        if scene.asserts(m):
            yield scene.claim("intonation", m, subject, "rising" if m["up"] else "falling")


def _keys(scene: Scene) -> Iterator[Claim]:
    for match in _KEY.finditer(scene.text):
        noun = (match["noun"] or "").lower()
        chord = noun in ("chord", "triad", "arpeggio") or (not noun and bool(_CHORD.search(scene.text)))
        if not (match["root"] or noun or chord or _TONALITY.search(scene.text)) or not scene.asserts(match):
            continue
        if re.search(r"\b(?:relative|parallel)\s+$", scene.text[: match.start()]):
            continue
        mode = match["mode"].lower()
        value = f"{_root(match)} {mode}" if match["root"] else mode
        yield scene.claim("chord" if chord else "key", match, Subject(), value)


def _root(match: re.Match[str]) -> str:
    if match["flat"] or match["word"] == "flat":
        return {"C": "B", "D": "C#", "E": "D#", "F": "E", "G": "F#", "A": "G#", "B": "A#"}[match["root"]]
    return match["root"] + ("#" if match["sharp"] or match["word"] else "")


def _others(scene: Scene) -> Iterator[Claim]:
    for match in _RHYTHM.finditer(scene.text):
        if scene.asserts(match) and match["a"].lower() != match["b"].lower():
            yield scene.claim("rhythm", match, Subject("line"), f"{match['a']} {match['b']}".lower())
    for match in _VIBRATO.finditer(scene.text):
        if scene.asserts(match):
            subject = scene.before(match.start(), ("note",)) or Subject("line")
            yield scene.claim("timbre", match, subject, "no vibrato" if match["no"] else "vibrato")
    for match in _NOISE.finditer(scene.text):
        if scene.asserts(match):
            yield scene.claim("noise", match, Subject(), "clean" if match["clean"] else "noisy")
    for match in _OVERLAP.finditer(scene.text):
        if scene.asserts(match):
            first, second = int(match["a"] or 1), int(match["b"] or 2)
            yield scene.claim("overlap", match, Subject("sound", first), "yes", other=Subject("sound", second))
    for match in _SPEAKERS.finditer(scene.text):
        if scene.asserts(match):
            number = 2 if match["another"] else CARDINALS.get(match["n"].lower()) or int(match["n"])
            yield scene.claim("speakers", match, Subject("voice"), number)
    for match in _PERSON.finditer(scene.text):
        if scene.asserts(match):
            subject = scene.before(match.start(), ("word",)) or Subject("voice")
            yield scene.claim("register", match, subject, (match["who"] or match["who2"]).lower())
    for match in _INSTRUMENT.finditer(scene.text):
        if scene.asserts(match):
            subject = scene.before(match.start(), ("note", "sound")) or Subject()
            yield scene.claim("identity", match, subject, match["name"].lower())
