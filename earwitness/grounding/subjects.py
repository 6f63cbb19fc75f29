"""Mentions of what is heard: "the second note", "sound 3", "the highest one", "the voice", "at 1.2 s"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from earwitness.grounding.claims import Subject

ORDINALS = {
    word: number
    for number, words in enumerate(
        (
            "first 1st opening initial",
            "second 2nd",
            "third 3rd",
            "fourth 4th",
            "fifth 5th",
            "sixth 6th",
            "seventh 7th",
            "eighth 8th",
            "ninth 9th",
            "tenth 10th",
        ),
        1,
    )
    for word in words.split()
} | {"last": -1, "final": -1, "closing": -1, "penultimate": -2}
CARDINALS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split(),
    )
} | {"a single": 1, "single": 1, "no": 0, "a couple of": 2}
# Superlative -> (aspect, most or least).
SUPERLATIVES = {
    "highest": ("pitch", "most"),
    "lowest": ("pitch", "least"),
    "deepest": ("pitch", "least"),
    "loudest": ("loudness", "most"),
    "softest": ("loudness", "least"),
    "quietest": ("loudness", "least"),
    "faintest": ("loudness", "least"),
    "longest": ("duration", "most"),
    "shortest": ("duration", "least"),
    "briefest": ("duration", "least"),
    "brightest": ("brightness", "most"),
    "darkest": ("brightness", "least"),
    "dullest": ("brightness", "least"),
}
UNITS = {
    "note": "note notes tone tones pitch pitches",
    "sound": "sound sounds event events beep beeps knock knocks hit hits beat-hits burst bursts click clicks pulse "
    "pulses tap taps bark barks ring rings blip blips stroke strokes thud thuds clap claps",
    "word": "word words syllable",
    "voice": "voice speaker speakers voices utterance sentence phrase turn person talker singer",
}
UNIT_OF = {word: unit for unit, words in UNITS.items() for word in words.split()}
PEOPLE = {"man": "man", "male": "man", "woman": "woman", "female": "woman", "he": "man", "she": "woman"}
_LINE = "melody|melodic line|melodic contour|line|tune|sequence|phrase of notes|motif|pitch contour|contour"
_CLIP = (
    "clip|recording|audio|music|piece|song|track|excerpt|sound level|volume|overall level|overall volume|dynamics|"
    "loudness|intensity|passage|performance|sample|timbre|tone colou?r|tempo|beat|pulse|pace"
)
_VOICE = (
    r"voice|speaker(?:['\u2019]s (?:voice|pitch|tone|intonation))?|pitch of the voice|intonation|"
    r"speech|delivery|pacing|speaking rate|tone of voice|vocal|talker|inflection|words"
)

_ORD, _SUP, _UNIT = "|".join(ORDINALS), "|".join(SUPERLATIVES), "|".join(sorted(UNIT_OF, key=len, reverse=True))
# Words that do not change which one is meant; "the second loud note" is the second of the loud ones.
_ADJECTIVES = "(?:(?:struck|sung|musical|clear|distinct|single|separate|audible|individual) ){0,1}"
_VERBS = (
    "is|was|one|has|and|than|sits|lasts|sounds|being|by|to|in|at|with|falls|rises|but|comes|starts|begins|ends|plays|"
    "or|stays|as|are|were|seems|appears|only|also|clearly|goes|gets|for"
)
_SECONDS = r"(\d+(?:\.\d+)?)\s*(?:-\s*)?(?:s|sec|secs|second|seconds)\b"
_CLOCK = r"(\d{1,2}):(\d{2}(?:\.\d+)?)"


def _spaced(words: str) -> str:
    """Return alternatives for a verbose pattern, in which a plain space means nothing."""
    return words.replace(" ", r"\s+")


MENTION = re.compile(
    rf"""
      \b(?P<span>(?:from|between)\s+(?:about\s+)?(?P<a>\d+(?:\.\d+)?)\s*(?:s|sec|seconds)?\s*(?:to|and|-|until)\s*(?:about\s+)?
         (?P<b>\d+(?:\.\d+)?)\s*(?:s|sec|secs|seconds)\b)
    | \b(?P<clock>(?:from|between)?\s*{_CLOCK}\s*(?:to|and|-|\u2013|until)\s*{_CLOCK})
    | \b(?:the\s+|its\s+|our\s+)?(?P<ord>{_ORD})\s+(?:of\s+(?:the\s+)?(?:two|three|four|five|six)\s+)?
         {_ADJECTIVES}(?P<name>[a-z]+\s)??(?P<unit>{_UNIT})\b(?!\s+(?:of|from)\s+(?:the\s+)?(?:end|back))
    | \b(?P<unit2>{_UNIT})\s+(?:number\s+|no\.\s*|\#)?(?P<num>\d{{1,2}})\b
         (?!\s*(?:hz|khz|s\b|seconds|semitones|\.\d|,\d|dots?))
    | \b(?:the\s+)?(?P<sup>{_SUP})(?:[- ]pitched)?(?:\s+(?P<unit3>{_UNIT}|one|pitch))?\b
    | (?<=comes\s)(?P<adv>first|second|third|fourth|fifth|last)\b
    | \bthe\s+(?P<bare>{_ORD})(?:\s+one)?(?=\s*(?:[,.;:)!?]|$|\s(?:{_VERBS})\b))
    | \b(?:the\s+|a\s+|this\s+|that\s+|his\s+|her\s+|their\s+)?(?:[a-z]+[- ]?){{0,3}}?\b(?P<person>man|woman|he|she)\b
    | \b(?:the\s+|a\s+|this\s+|that\s+|both\s+)?(?P<line>{_spaced(_LINE)})\b
    | \b(?:the\s+|this\s+|that\s+)?(?P<clip>{_spaced(_CLIP)})\b
    | \b(?:the\s+|a\s+|this\s+|his\s+|her\s+|their\s+)?(?P<voice>{_spaced(_VOICE)})\b
    | \bthe\s+(?P<plain>note|tone(?!\s+of\s+voice)|sound|event|beep)\b
    | \bthe\s+(?P<plural>notes|tones|sounds|beeps)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class Mention:
    """A subject and where it stands in its sentence."""

    subject: Subject
    start: int
    end: int


def mentions(text: str, unit: str) -> list[Mention]:
    """Return the mentions in a sentence; ``unit`` is what "the second one" counts where nothing else is named."""
    out = []
    for match in MENTION.finditer(text):
        subject, end = _subject(match, unit)
        if subject is None:
            continue
        if subject.unit in ("note", "sound", "word"):
            unit = subject.unit
        out.append(Mention(subject, match.start(), end))
    return out


def _subject(match: re.Match[str], unit: str) -> tuple[Subject | None, int]:
    found, end = match.groupdict(), match.end()
    text = {k: v.lower() for k, v in found.items() if v}
    if "span" in text:
        return Subject(unit="clip", span=(float(text["a"]), float(text["b"]))), end
    if "clock" in text:
        m1, s1, m2, s2 = (float(x) for x in re.findall(r"[\d.]+", text["clock"])[:4])
        return Subject(unit="clip", span=(60 * m1 + s1, 60 * m2 + s2)), end
    if "ord" in text:
        name = text.get("name", "").strip()
        return Subject(UNIT_OF[text["unit"]], ORDINALS[text["ord"]], name=name), end
    if "unit2" in text:
        return Subject(UNIT_OF[text["unit2"]], int(text["num"])), end
    if "sup" in text:
        aspect = SUPERLATIVES[text["sup"]]
        named = UNIT_OF.get(text.get("unit3", ""), unit)
        return Subject(named, extreme=aspect), end
    if "adv" in text:
        return Subject(unit, ORDINALS[text["adv"]]), end
    if "bare" in text:
        return Subject(unit, ORDINALS[text["bare"]]), end
    if "person" in text:
        return Subject("voice", name=PEOPLE[text["person"]]), end
    for group, subject in (("line", Subject("line")), ("clip", Subject("clip")), ("voice", Subject("voice"))):
        if group in text:
            return subject, end
    if "plain" in text:
        return Subject(UNIT_OF[text["plain"]]), end
    return Subject("line") if text["plural"] in ("notes", "tones") else Subject("clip"), end


def part_of(text: str) -> str:
    """Return which part of the clip a phrase names: ``start``, ``middle``, ``end`` or nothing."""
    if re.search(
        r"\b(?:at|toward|towards|near|in|by) (?:the|its|their|his|her) (?:very )?(?:end|close|finish)\b", text
    ):
        return "end"
    if re.search(r"\b(?:at|near|in) (?:the|its) (?:very )?(?:start|beginning|outset|opening)\b|\binitially\b", text):
        return "start"
    return "middle" if re.search(r"\bin the middle\b|\bmidway\b|\bhalfway\b", text) else ""


def seconds_in(text: str) -> float | None:
    """Return the first time of a text in seconds, from "1.5 s", "2 seconds" or "0:18"."""
    if match := re.search(_CLOCK, text):
        return 60 * float(match[1]) + float(match[2])
    match = re.search(_SECONDS, text, re.IGNORECASE)
    return float(match[1]) if match else None
