"""Claims made with an adjective: the second note is soft, a deep voice, a fast tempo, the recording is clean."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.scene import Scene

# Adjective -> (sense, value).
ADJECTIVES: dict[str, tuple[str, str]] = {
    "high": ("pitch", "high"),
    "high-pitched": ("pitch", "high"),
    "low": ("pitch", "low"),
    "low-pitched": ("pitch", "low"),
    "deep": ("pitch", "low"),
    "loud": ("loudness", "high"),
    "soft": ("loudness", "low"),
    "quiet": ("loudness", "low"),
    "faint": ("loudness", "low"),
    "long": ("duration", "high"),
    "short": ("duration", "low"),
    "brief": ("duration", "low"),
    "fast": ("speed", "fast"),
    "quick": ("speed", "fast"),
    "rapid": ("speed", "fast"),
    "brisk": ("speed", "fast"),
    "hurried": ("speed", "fast"),
    "slow": ("speed", "slow"),
    "unhurried": ("speed", "slow"),
    "leisurely": ("speed", "slow"),
    "moderate": ("speed", "moderate"),
    "medium": ("speed", "moderate"),
    "flat": ("liveliness", "flat"),
    "monotone": ("liveliness", "flat"),
    "monotonous": ("liveliness", "flat"),
    "lively": ("liveliness", "lively"),
    "expressive": ("liveliness", "lively"),
    "animated": ("liveliness", "lively"),
    "varied": ("liveliness", "lively"),
    "bright": ("timbre", "bright"),
    "shrill": ("timbre", "bright"),
    "dark": ("timbre", "dark"),
    "dull": ("timbre", "dark"),
    "muffled": ("timbre", "dark"),
    "noisy": ("timbre", "noisy"),
    "noise-like": ("timbre", "noisy"),
    "hissing": ("timbre", "noisy"),
    "tonal": ("timbre", "tonal"),
    "pitched": ("timbre", "tonal"),
    "harmonic": ("timbre", "tonal"),
    "percussive": ("timbre", "struck"),
    "plucked": ("timbre", "struck"),
    "struck": ("timbre", "struck"),
    "decaying": ("timbre", "struck"),
    "sustained": ("timbre", "held"),
    "held": ("timbre", "held"),
    "clean": ("noise", "clean"),
    "near": ("distance", "low"),
    "far": ("distance", "high"),
    "distant": ("distance", "high"),
    "male": ("person", "man"),
    "female": ("person", "woman"),
}
_ADVERB = (
    r"(?:(?:very|rather|quite|fairly|clearly|noticeably|relatively|also|both|a bit|somewhat|all|really|pretty|too|"
    r"still|so|comparatively|distinctly|mostly|consistently)\s+)*"
)
# "Held longer" and "held for 2 s" speak of a length.
_NOT_LENGTH = r"held(?!\s+(?:for|longer|shorter|out|back)\b)"
_WORDS = "|".join(sorted(ADJECTIVES, key=len, reverse=True)).replace("held", _NOT_LENGTH)
_COPULA = re.compile(
    rf"\b(?:is|are|was|were|sounds|sound|seems|stays|remains|appears|feels)(?P<no>n['\u2019]t|\s+not)?\s+{_ADVERB}(?:an?\s+)?"
    rf"(?P<list>(?:{_WORDS})\b(?!\s+(?:than|as)\b)(?:(?:,\s+and\s+|,\s+|\s+and\s+|\s+but\s+){_ADVERB}(?:{_WORDS})\b)*)",
    re.IGNORECASE,
)
_WORD = re.compile(rf"\b(?:{_WORDS})\b", re.IGNORECASE)
_NOUN = re.compile(
    rf"\b(?P<list>(?:{_WORDS})(?:(?:,\s+and\s+|,\s*|\s+and\s+|\s+){_ADVERB}(?:{_WORDS}))*)\s+"
    r"(?:[a-z]+\s+)?(?P<noun>voice|vocal|speaker|tempo|pace|pacing|beat|pulse|speaking rate|speech rate|"
    r"rate of speech|delivery|speech|recording|pitch|tone|intonation|"
    r"background|timbre|melody|sound)\b",
    re.IGNORECASE,
)
_SPEED_ADVERB = re.compile(
    r"\b(?:speaks?|talks?|speaking|talking|is spoken|are spoken|said|reads?|delivered)\s+(?:\w+ly\s+|very\s+|quite\s+)?"
    r"(?P<adv>quickly|fast|rapidly|slowly|briskly|at a \w+ (?:pace|speed|rate))",
    re.IGNORECASE,
)
_PLAYED = re.compile(
    r"\b(?:is|are|was|were)\s+(?:played|struck|sung|heard|sounded|performed|hit|spoken|said)\s+(?:very\s+|quite\s+|rather\s+|more\s+)?"
    r"(?P<adv>loudly|softly|quietly|faintly|briefly)\b",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"\b(?:timbre|tone colou?r)\b", re.IGNORECASE)
_SPEECH = re.compile(
    r"\b(?:words?|speak\w*|speech|voice|talk\w*|said|says?|delivery|sentence|utterance|man|woman)\b", re.I
)


def find(scene: Scene) -> Iterator[Claim]:
    """Yield the claims that adjectives of a sentence make."""
    seen: set[tuple[int, str]] = set()
    for match in _COPULA.finditer(scene.text):
        if not scene.asserts(match):
            continue
        if _NOUN.match(scene.text, match.start("list")):
            continue  # "it is a deep voice" is read below
        shift = match.start("list")
        for word in _WORD.finditer(scene.text, shift, match.end("list")):
            for subject in scene.numbered(match.start()):
                seen.add((word.start(), word[0].lower()))
                for claim in _quality(scene, match, word[0].lower(), subject):
                    yield dataclasses.replace(claim, is_negated=claim.is_negated or bool(match["no"]))
    for match in _NOUN.finditer(scene.text):
        for word in _WORD.finditer(scene.text, match.start("list"), match.end("list")):
            if (word.start(), word[0].lower()) not in seen and scene.asserts(match):
                yield from _of_noun(scene, match, word[0].lower(), match["noun"].lower())
    for match in _PLAYED.finditer(scene.text):
        if scene.asserts(match):
            for subject in scene.numbered(match.start()):
                yield from _quality(scene, match, match["adv"].lower().removesuffix("ly"), subject)
    for match in _SPEED_ADVERB.finditer(scene.text):
        said = match["adv"].lower().removesuffix("ly")
        speed = next((ADJECTIVES[w][1] for w in re.findall(r"\w+", said) if ADJECTIVES.get(w, ("",))[0] == "speed"), "")
        if speed and scene.asserts(match):
            subject = scene.before(match.start(), ("voice",)) or Subject("voice")
            yield scene.claim("rate", match, subject, speed)


def _quality(scene: Scene, match: re.Match[str], word: str, subject: Subject) -> Iterator[Claim]:
    sense, value = ADJECTIVES[word]
    single = subject.unit in ("note", "sound", "word") and (subject.index is not None or subject.extreme is not None)
    if sense in ("pitch", "loudness", "duration", "distance") and single:
        yield scene.claim("level", match, subject, value, aspect=sense)
    elif sense == "pitch" and subject.unit == "voice":
        yield scene.claim("register", match, subject, value)
    elif sense == "speed":
        if subject.unit == "voice" or (subject.unit == "clip" and _SPEECH.search(scene.text)):
            yield scene.claim("rate", match, subject, value)
        elif single:
            yield scene.claim("level", match, subject, {"fast": "high", "slow": "low"}.get(value, ""), aspect="speed")
        elif re.search(r"\b(?:tempo|beat|pulse|rhythm|pace)\b", scene.text, re.I):
            yield scene.claim("tempo", match, subject, value)
    elif sense == "liveliness" and subject.unit in ("voice", "line"):
        kind = "liveliness" if subject.unit == "voice" else "contour"
        if kind == "liveliness" or value == "flat":
            yield scene.claim(kind, match, subject, value)
    elif sense == "timbre" and (subject.unit != "clip" or _COLOUR.search(scene.text) or value not in ("noisy", "dark")):
        yield scene.claim("timbre", match, subject, value)  # "the music is dark" speaks of a mood
    elif (sense == "noise" or value == "noisy") and subject.unit == "clip":
        yield scene.claim("noise", match, subject, value)
    elif sense == "person" and subject.unit == "voice":
        yield scene.claim("register", match, subject, value)


def _of_noun(scene: Scene, match: re.Match[str], word: str, noun: str) -> Iterator[Claim]:
    sense, value = ADJECTIVES[word]
    voice = scene.before(match.start(), ("voice",)) or Subject("voice")
    if noun in ("voice", "vocal", "speaker", "pitch", "tone", "intonation"):
        is_voice = noun in ("voice", "vocal", "speaker") or voice is not None and _SPEECH.search(scene.text)
        if sense in ("pitch", "person") and is_voice:
            yield scene.claim("register", match, voice, value)
        elif sense == "liveliness" and is_voice:
            yield scene.claim("liveliness", match, voice, value)
        elif sense == "timbre" and noun == "tone":
            yield scene.claim("timbre", match, scene.before(match.start()) or Subject("clip"), value)
    elif sense == "speed":
        spoken = noun in ("delivery", "speech", "speaking rate", "speech rate", "rate of speech", "pacing")
        if spoken or (noun == "pace" and _SPEECH.search(scene.text)):
            yield scene.claim("rate", match, voice, value)
        else:
            yield scene.claim("tempo", match, Subject("clip"), value)
    elif noun in ("recording", "background") and (sense == "noise" or value == "noisy"):
        yield scene.claim("noise", match, Subject("clip"), value)
    elif noun in ("timbre", "sound") and sense == "timbre":
        yield scene.claim("timbre", match, scene.before(match.start()) or Subject("clip"), value)
