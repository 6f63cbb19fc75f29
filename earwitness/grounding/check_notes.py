"""Checks of claims about notes and sounds among each other: pitch, order, extremes, levels, counts, lengths."""

from __future__ import annotations

import math

import numpy as np

from earwitness.acoustics import Measurements, Quantity
from earwitness.acoustics.quantity import NAMES, about
from earwitness.grounding import targets
from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.targets import Target, Unclear
from earwitness.grounding.verdict import Finding, decide, unsure

_LOUDER_DB, _AS_LOUD_DB = 3.0, 1.5
_BRIGHTER = 1.25
_SAME_PITCH = 0.5  # semitones


def pitch_value(claim: Claim, found: Measurements) -> Finding:
    """Check a note name or Hz."""
    target = targets.find(claim.subject, found)
    if claim.subject.unit in ("voice", "clip", "line"):
        return _voice_hz(claim, found, target)
    if isinstance(target, Unclear):
        return _missing(target)
    pitch = pitch_of(target)
    if pitch is None or target.note is None:
        return unsure("it has no clear pitch")
    if claim.unit == "Hz":
        claimed, room = 69 + 12 * math.log2(max(float(claim.value), 1) / 440), 1.0 if claim.is_rough else 0.5
    else:
        name, octave = str(claim.value)[:-1], int(str(claim.value)[-1])
        claimed, room = NAMES.index(name) + 12 * (octave + 1), 0.5
    off = abs(pitch.number - claimed)
    error = pitch.uncertainty
    said = f"measured {target.note.name} ({target.note.hz:.1f} Hz)"
    if not target.note.octave_is_sure and abs(off - 12 * round(off / 12)) < room:
        return unsure(f"{said}, but its octave is not sure", pitch)
    return decide(pitch, off <= room - error / 2, off > room + error, said)


def _voice_hz(claim: Claim, found: Measurements, target: Target | Unclear) -> Finding:
    if claim.unit != "Hz" or claim.subject.unit != "voice" or isinstance(target, Unclear):
        return unsure("the text does not say which sound it means")
    pitch = found.voice_pitch(target.start, target.end)
    if pitch.value is None:
        return unsure(pitch.note, pitch)
    off, room = abs(float(claim.value) / pitch.number - 1), 0.12 if claim.is_rough else 0.08
    error = pitch.uncertainty / pitch.number
    return decide(pitch, off <= room - error / 2, off > room + 0.05 + error, f"measured {pitch.number:.0f} Hz")


def pitch_of(target: Target) -> Quantity | None:
    """Return the pitch of a target in semitones on the MIDI scale."""
    if target.note is None or not target.note.hz:
        return None
    value = targets.value_of(target, "pitch")
    return about("pitch", value, target.note.pitch_error, "semitones", start=target.start, end=target.end)


def relation(aspect: str, a: Target, b: Target, found: Measurements) -> tuple[str, str, tuple[Quantity, ...]]:
    """Return (``more``, ``less``, ``equal`` or ``unsure``, why, what was measured) of a against b."""
    if aspect == "pitch":
        return _pitch_relation(a, b, found)
    if aspect == "loudness":
        one, two = found.level(a.start, a.end), found.level(b.start, b.end)
        gap = a.level_db - b.level_db if not math.isnan(a.level_db + b.level_db) else one.number - two.number
        return _sorted_by(gap, _LOUDER_DB, _AS_LOUD_DB, 1.0), f"{gap:+.1f} dB", (one, two)
    if aspect == "duration":
        first, second = length_of(a), length_of(b)
        why = f"{first.number:.2f} s against {second.number:.2f} s"
        if first.low > 1.12 * second.high:
            return "more", why, (first, second)
        if second.low > 1.12 * first.high:
            return "less", why, (first, second)
        alike = max(first.high, second.high) < 1.2 * min(first.low, second.low)
        return "equal" if alike else "unsure", why, (first, second)
    if aspect == "brightness":
        one, two = found.centroid(a.start, a.end), found.centroid(b.start, b.end)
        ratio = math.log(one.number / two.number)
        way = _sorted_by(ratio, math.log(_BRIGHTER), 0.0, 0.0)
        return way, f"centroid {one.number:.0f} Hz against {two.number:.0f} Hz", (one, two)
    return "unsure", f"{aspect} of single sounds is not measured", ()


def _pitch_relation(a: Target, b: Target, found: Measurements) -> tuple[str, str, tuple[Quantity, ...]]:
    one, two = pitch_of(a), pitch_of(b)
    if one is None or two is None or a.note is None or b.note is None:
        one, two = found.voice_pitch(a.start, a.end), found.voice_pitch(b.start, b.end)
        if one.value is None or two.value is None:
            return "unsure", "one of the two has no clear pitch", (one, two)
        gap, error = 12 * math.log2(one.number / two.number), 1.0
    else:
        gap, error = one.number - two.number, one.uncertainty + two.uncertainty
        unsure_octaves = (not a.note.octave_is_sure) + (not b.note.octave_is_sure)
        if abs(gap) < 12.5 * unsure_octaves:
            return "unsure", "the octave of one is not sure", (one, two)
    return _sorted_by(gap, max(error, 0.3), _SAME_PITCH - error, 0.0), f"{gap:+.1f} semitones", (one, two)


def _sorted_by(gap: float, more: float, equal: float, slack: float) -> str:
    if abs(gap) <= equal:
        return "equal"
    if abs(gap) <= more + slack * 0:
        return "unsure"
    return "more" if gap > 0 else "less"


def length_of(target: Target) -> Quantity:
    """Return the length in seconds; for what decays, from the time that it is clearly heard to its last trace."""
    least = min(target.note.least_seconds, target.end - target.start) if target.note else target.end - target.start
    high = target.end - target.start + 0.02
    middle = target.end - target.start
    return Quantity("length", middle, max(least - 0.02, 0.01), high, "s", target.start, target.end)


def order(claim: Claim, found: Measurements) -> Finding:
    """Check a comparison of two; where the text leaves the second open, all that it may mean must agree."""
    first = targets.find(claim.subject, found)
    if isinstance(first, Unclear):
        return _missing(first)
    others = _others(claim, found, first)
    if isinstance(others, Unclear):
        return _missing(others)
    results = [relation(claim.aspect, first, other, found) for other in others]
    ways = {way for way, _, _ in results}
    reason, measured = results[0][1], results[0][2]
    if len(ways) > 1:
        return unsure("the text leaves open with what it compares", *measured)
    way = ways.pop()
    if way == "unsure":
        return unsure(f"{reason}: too near to call" if measured else reason, *measured)
    if way == "equal" and claim.value != "equal" and claim.aspect == "loudness":
        return unsure(f"{reason}: too near to call", *measured)  # equal levels may differ in loudness
    return Finding(way == claim.value, reason, measured)


def _others(claim: Claim, found: Measurements, first: Target) -> list[Target] | Unclear:
    if claim.other is not None:
        other = targets.find(claim.other, found)
        return other if isinstance(other, Unclear) else [other]
    if claim.subject.unit == "voice":
        parts = [t for t in targets.segments(found) if t.start != first.start]
        return parts[:1] if len(parts) == 1 else Unclear("the text does not say with which voice it compares")
    every = targets.members(claim.subject.unit, found)
    if isinstance(every, Unclear):
        return every
    rest = [t for t in every if t.start != first.start]
    return rest or Unclear("there is nothing to compare it with")


def extreme(claim: Claim, found: Measurements) -> Finding:
    """Check that one is the highest, loudest, longest of all."""
    target = targets.find(claim.subject, found)
    if isinstance(target, Unclear):
        return _missing(target)
    every = targets.members(claim.subject.unit, found)
    if claim.unit and not isinstance(every, Unclear):  # the highest of the soft ones
        every = targets.those(claim.unit, claim.subject.unit, every)
    if isinstance(every, Unclear) or len(every) < 2:
        return unsure("there are no others to compare it with")
    wrong = "less" if claim.value == "most" else "more"
    results = [relation(claim.aspect, target, t, found) for t in every if t.start != target.start]
    for way, reason, measured in results:
        if way == wrong:
            return Finding(False, f"another one surpasses it by {reason.lstrip('-+')}", measured)
    if all(way == claim.value.replace("most", "more").replace("least", "less") for way, _, _ in results):
        return Finding(True, "it surpasses all others", results[0][2])
    return unsure("another one comes too near", *results[0][2])


def level(claim: Claim, found: Measurements) -> Finding:
    """Check an adjective such as loud or short, which has a meaning only among others of the clip."""
    if claim.aspect not in targets.SPLITS:
        return unsure(f"{claim.aspect} is not measured")
    target = targets.find(claim.subject, found)
    if isinstance(target, Unclear):
        return _missing(target)
    every = targets.members(claim.subject.unit, found)
    if isinstance(every, Unclear):
        return unsure(every.why)
    values = [targets.value_of(t, claim.aspect) for t in every]
    border = None if any(math.isnan(v) for v in values) else targets.loud_and_soft(values, claim.aspect)
    units = {"loudness": "dB", "duration": "s", "pitch": "semitones"}
    mine = targets.value_of(target, claim.aspect)
    unit = units[claim.aspect]
    measured = Quantity(claim.aspect, mine, mine, mine, unit, target.start, target.end)
    if border is None:
        return unsure(f"the {claim.subject.unit}s do not part into two groups of {claim.aspect}", measured)
    return Finding(
        (mine > border) == (claim.value == "high"), f"{mine:.2f} {unit}, the border is {border:.2f}", (measured,)
    )


def interval(claim: Claim, found: Measurements) -> Finding:
    """Check the distance of two notes in semitones, up or down where the text says so."""
    if found.num_notes.low == found.num_notes.high and found.num_notes.number != 2 and not claim.subject.index:
        return unsure("the text does not say which notes it means")
    pair = [targets.find(s, found) for s in (claim.subject, claim.other or Subject("note", 2))]
    for target in pair:
        if isinstance(target, Unclear):
            return _missing(target)
    first, second = (pitch_of(t) for t in pair if isinstance(t, Target))
    if first is None or second is None:
        return unsure("one of the two has no clear pitch")
    sizes = claim.value if isinstance(claim.value, tuple) else (claim.value,)
    gap, error = first.number - second.number, first.uncertainty + second.uncertainty
    off = min(abs(abs(gap) - size) for size in sizes)
    said = f"{abs(gap):.1f} semitones apart"
    if claim.unit and abs(gap) > 1 + error and (gap > 0) != (claim.unit == "up"):
        return Finding(False, f"{said}, the other way", (first, second))
    if any(isinstance(t, Target) and t.note and not t.note.octave_is_sure for t in pair):
        return unsure("the octave of one is not sure", first, second)
    return Finding(True if off < 0.5 - error / 4 else False if off > 0.5 + error else None, said, (first, second))


def contour(claim: Claim, found: Measurements) -> Finding:
    """Check the course of a melody, or of a single gliding tone."""
    every = targets.members("note", found)
    if isinstance(every, Unclear):
        return unsure(every.why)
    pitches = [pitch_of(t) for t in every]
    kept = tuple(p for p in pitches if p is not None)
    if len(kept) < len(pitches) or not kept:
        return unsure("not every note has a clear pitch")
    if len(kept) == 1:
        return _glide(claim, found, every[0])
    steps = np.diff([p.number for p in kept])
    if any(t.note and not t.note.octave_is_sure for t in every):
        return unsure("the octave of a note is not sure", *kept[:1])
    shape = shape_of(steps.tolist())
    names = " ".join(t.note.name or "" for t in every[:12] if t.note)
    if shape == claim.value:
        return Finding(True, names, kept)
    net = float(steps.sum())
    mostly = float(np.mean(steps > 0.5) if claim.value == "rising" else np.mean(steps < -0.5))
    way = {"rising": 1, "falling": -1}.get(claim.value, 0)
    if shape == "mixed" and (way == 0 or (way * net > 2 and mostly > 0.5)):
        return unsure(f"{names}: a mixed course", *kept)
    return Finding(False, f"{names}: {shape}", kept)


def shape_of(steps: list[float]) -> str:
    """Return ``rising``, ``falling``, ``up then down``, ``down then up``, ``flat`` or ``mixed``; steps in semitones."""
    signs = [0 if abs(s) < _SAME_PITCH else 1 if s > 0 else -1 for s in steps]
    turns: list[int] = []
    for sign in signs:
        if sign and (not turns or turns[-1] != sign):
            turns.append(sign)
    shapes = {(): "flat", (1,): "rising", (-1,): "falling", (1, -1): "up then down", (-1, 1): "down then up"}
    return shapes.get(tuple(turns), "mixed")


def _glide(claim: Claim, found: Measurements, target: Target) -> Finding:
    hz = found.pitch.between(target.start + 0.03, target.end - 0.03)
    if len(hz) < 10:
        return unsure("there is a single short note")
    line = 12 * np.log2(hz / np.median(hz))
    thirds = [float(np.median(part)) for part in np.array_split(line, 4)]
    change = about("change of pitch", thirds[-1] - thirds[0], 0.5, "semitones", start=target.start, end=target.end)
    shape = shape_of([b - a for a, b in zip(thirds, thirds[1:])])
    if shape == "mixed":
        return unsure("the pitch wavers", change)
    return Finding(shape == claim.value, f"one note that is {shape}", (change,))


def steps(claim: Claim, found: Measurements) -> Finding:
    """Check how many notes are higher, or lower, than the one before."""
    every = targets.members("note", found)
    if isinstance(every, Unclear):
        return unsure(every.why)
    ways = [relation("pitch", b, a, found)[0] for a, b in zip(every, every[1:])]
    if "unsure" in ways:
        return unsure("two notes that follow each other are too near in pitch")
    number = ways.count("more" if claim.unit == "higher" else "less")
    measured = Quantity(f"steps {claim.unit}", number, number, number, start=0.0, end=found.seconds)
    return Finding(number == claim.value, f"measured {number}", (measured,))


def _missing(target: Unclear) -> Finding:
    return Finding(False, target.why) if target.is_missing else unsure(target.why)
