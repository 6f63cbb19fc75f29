"""From the subject of a claim to the stretch of sound that it means, if measurements can tell which one that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from earwitness.acoustics import Event, Measurements, Note, Quantity
from earwitness.grounding.claims import Subject

# Gaps that part loud from soft (dB), long from short (ratio), high from low (semitones).
SPLITS = {"loudness": 5.0, "duration": 1.45, "pitch": 5.0}
_ADJECTIVES = {
    "loud": ("loudness", "high"),
    "soft": ("loudness", "low"),
    "quiet": ("loudness", "low"),
    "long": ("duration", "high"),
    "short": ("duration", "low"),
    "high": ("pitch", "high"),
    "low": ("pitch", "low"),
}
_LEAST_WORD = 0.12  # seconds; shorter is what a stop consonant cut off a word
_NEUTRAL = frozenset(("", "single", "played", "sounding", "heard", "of", "the", "struck"))


@dataclass(frozen=True)
class Target:
    """A stretch of sound in seconds, with its note where it is one."""

    start: float
    end: float
    note: Note | None = None
    level_db: float = math.nan


@dataclass(frozen=True)
class Unclear:
    """Why a subject cannot be found; ``is_missing`` where the clip surely has none of that number."""

    why: str
    is_missing: bool = False


def find(subject: Subject, found: Measurements) -> Target | Unclear:
    """Return the stretch that a subject means."""
    if subject.span is not None:
        start, end = subject.span
        if start >= found.seconds:
            return Unclear(f"the clip ends at {found.seconds:.2f} s", is_missing=True)
        return Target(start, min(end, found.seconds))
    if subject.unit in ("note", "sound", "word"):
        return _one(subject, found)
    if subject.unit == "voice":
        return _voice(subject, found)
    third = found.seconds / 3
    spans = {"start": (0.0, third), "middle": (third, 2 * third), "end": (2 * third, found.seconds)}
    return Target(*spans.get(subject.part, (0.0, found.seconds)))


def members(unit: str, found: Measurements) -> list[Target] | Unclear:
    """Return all notes, sounds or words of a clip in order, if their number is certain."""
    notes = [Target(n.start, n.end, n, n.level_db) for n in found.notes]
    events = [Target(e.start, e.end, _only(e, found.notes), e.level_db) for e in found.events]
    notes_sure, events_sure = _is_sure(found.num_notes), _is_sure(found.num_events)
    if unit == "note" and notes_sure:
        return notes
    if unit == "word" and events_sure and all(e.seconds >= _LEAST_WORD for e in found.events):
        return events
    if unit == "sound":
        if events_sure and (len(events) > 1 or len(notes) <= 1 or not notes_sure):
            return events
        if notes_sure and all(t.note and t.note.hz for t in notes):
            return notes
    count = found.num_notes if unit == "note" else found.num_events
    return Unclear(f"it is not certain how many {unit}s there are ({count.low:g} to {count.high:g})")


def loud_and_soft(values: list[float], aspect: str) -> float | None:
    """Return the value that parts the high from the low where they form two groups; None where they do not."""
    scale = [math.log(max(v, 1e-3)) for v in values] if aspect == "duration" else values
    needed = math.log(SPLITS[aspect]) if aspect == "duration" else SPLITS[aspect]
    ordered = sorted(scale)
    gaps = sorted(((b - a, (a + b) / 2) for a, b in zip(ordered, ordered[1:])), reverse=True)
    if not gaps or gaps[0][0] < needed or (len(gaps) > 1 and gaps[1][0] > 0.6 * gaps[0][0]):
        return None
    return math.exp(gaps[0][1]) if aspect == "duration" else gaps[0][1]


def those(name: str, unit: str, every: list[Target]) -> list[Target] | Unclear:
    """Return the loud, soft, long, short, high or low ones of some targets, where these part into two groups."""
    aspect, side = _ADJECTIVES.get(name, ("", ""))
    if not aspect:
        return Unclear(f"measurements do not tell which {unit} is {name}")
    values = [value_of(t, aspect) for t in every]
    border = None if any(math.isnan(v) for v in values) else loud_and_soft(values, aspect)
    if border is None:
        return Unclear(f"the {unit}s do not part into two groups of {aspect}")
    return [t for t, v in zip(every, values) if (v > border) == (side == "high")]


def value_of(target: Target, aspect: str) -> float:
    """Return the level in dB, the length in seconds or the pitch in semitones of a target; NaN where it has none."""
    if aspect == "loudness":
        return target.level_db
    if aspect == "duration":
        return target.end - target.start
    return 69 + 12 * math.log2(target.note.hz / 440) if target.note and target.note.hz else math.nan


def segments(found: Measurements) -> list[Target]:
    """Return the stretches of speech between pauses of at least 0.2 s."""
    first, last = found.speech_span
    edges = [first, *(x for pause in found.pauses if first < pause[0] and pause[1] < last for x in pause), last]
    return [Target(a, b) for a, b in zip(edges[::2], edges[1::2]) if b - a > 0.15]


def _is_sure(count: Quantity) -> bool:
    return count.low == count.high


def _only(event: Event, notes: list[Note]) -> Note | None:
    """Return the one note inside an event; None where there are several."""
    inside = [n for n in notes if n.start < event.end and n.end > event.start]
    return inside[0] if len(inside) == 1 else None


def _one(subject: Subject, found: Measurements) -> Target | Unclear:
    unit = subject.unit
    every = members(unit, found)
    if isinstance(every, Unclear):
        highest = max(found.num_notes.high, found.num_events.high)
        if subject.index is not None and abs(subject.index) > highest and unit != "word":
            return Unclear(f"there are at most {highest:g} {unit}s", is_missing=True)
        return every
    if subject.name not in _NEUTRAL:
        chosen = those(subject.name, unit, every)
        if isinstance(chosen, Unclear):
            return chosen
        every = chosen
    if subject.extreme is not None:
        return _extreme(subject, every)
    if subject.index is None:
        return every[0] if len(every) == 1 else Unclear(f"the text does not say which {unit} it means")
    place = subject.index - 1 if subject.index > 0 else len(every) + subject.index
    if not 0 <= place < len(every):
        return Unclear(f"there {'is' if len(every) == 1 else 'are'} only {len(every)}", is_missing=unit != "word")
    return every[place]


def _extreme(subject: Subject, every: list[Target]) -> Target | Unclear:
    assert subject.extreme is not None
    aspect, way = subject.extreme
    if aspect not in SPLITS:
        return Unclear(f"the {way} in {aspect} is not looked for")
    values = [value_of(t, aspect) for t in every]
    if not values or any(math.isnan(v) for v in values):
        return Unclear("not every one has a clear pitch")
    order = sorted(range(len(values)), key=lambda i: values[i], reverse=way == "most")
    margin = {"loudness": 2.0, "duration": 0.06, "pitch": 0.5}[aspect]
    if len(order) > 1 and abs(values[order[0]] - values[order[1]]) < margin:
        return Unclear(f"two are nearly equal in {aspect}")
    return every[order[0]]


def _voice(subject: Subject, found: Measurements) -> Target | Unclear:
    parts = segments(found)
    if not parts:
        return Unclear("there is no voice")
    if subject.index is not None:
        if len(parts) != 2 or subject.index not in (1, 2, -1):
            return Unclear("the stretches of speech do not show which one is meant")
        return parts[max(subject.index - 1, 0) if subject.index > 0 else -1]
    whole = Target(parts[0].start, parts[-1].end)
    if subject.name not in ("man", "woman") or len(parts) == 1:
        return whole
    pitches = [found.voice_pitch(p.start, p.end).number for p in parts]
    if any(math.isnan(p) for p in pitches):
        return Unclear("not every stretch of speech has a clear pitch")
    lowest, highest = min(pitches), max(pitches)
    if 12 * math.log2(highest / lowest) < 4:
        return whole
    chosen = [p for p, hz in zip(parts, pitches) if (hz < math.sqrt(lowest * highest)) == (subject.name == "man")]
    return chosen[0] if len(chosen) == 1 else Unclear(f"the {subject.name} speaks in several stretches")
