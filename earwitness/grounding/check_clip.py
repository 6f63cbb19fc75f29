"""Checks of claims about the clip as a whole, about time, and about a voice."""

from __future__ import annotations

import math
from collections.abc import Callable

from earwitness.acoustics import Measurements, Quantity, same_pulse
from earwitness.acoustics.harmony import CLEAR_LEAD
from earwitness.grounding import targets
from earwitness.grounding.check_notes import length_of, pitch_of
from earwitness.grounding.claims import Claim
from earwitness.grounding.shapes import ENVELOPE_OF
from earwitness.grounding.targets import Target, Unclear
from earwitness.grounding.verdict import Finding, decide, unsure

# Beats a minute: (surely so below or above, surely not). Musicians' terms leave room for both near the borders.
_TEMPI = {"slow": (92.0, 122.0), "fast": (145.0, 118.0)}
_MODERATE = ((88.0, 132.0), (62.0, 165.0))
# Syllables a second; read speech is near 4.
_RATES = {"slow": (4.2, 3.8), "fast": (4.2, 4.8)}
_WORSE = 0.15  # of correlation: a key that fits so much less is wrong
# Hz of the median pitch: (surely so, surely not). Most women speak near 200 and most men near 115, but not all.
_REGISTERS = {"man": (150.0, 215.0), "low": (130.0, 205.0), "woman": (170.0, 110.0), "high": (190.0, 120.0)}


def count(claim: Claim, found: Measurements) -> Finding:
    """Check a number of notes or sounds; of words and kinds measurements know nothing."""
    if claim.subject.name or claim.subject.unit not in ("note", "sound"):
        return unsure("only notes and sounds of any kind are counted")
    used = [found.num_notes] if claim.subject.unit == "note" else [found.num_events, found.num_notes, found.num_onsets]
    low, high = min(q.low for q in used), max(q.high for q in used)
    if claim.subject.unit == "note" and any(n.hz is None for n in found.notes):
        return unsure("not all that is heard are notes", *used)
    said = f"measured {low:g}" if low == high else f"measured {low:g} to {high:g}"
    if not low <= claim.value <= high:
        return Finding(False, said, tuple(used))
    sure = used[:2] if all(q.low == q.high == used[0].number for q in used[:2]) else used
    return Finding(True if all(q.low == q.high == claim.value for q in sure) else None, said, tuple(used))


def duration(claim: Claim, found: Measurements) -> Finding:
    """Check a length in seconds."""
    if claim.subject.unit in ("clip", "line"):
        length, room = found.duration, 0.12 if claim.is_rough else 0.06
    else:
        target = targets.find(claim.subject, found)
        if isinstance(target, Unclear):
            return unsure(target.why)
        length, room = length_of(target), 0.2 if claim.is_rough else 0.12
    inside = length.low * (1 - room) - 0.03 <= claim.value <= length.high * (1 + room) + 0.03
    outside = not length.low * (1 - 2 * room) - 0.08 <= claim.value <= length.high * (1 + 2 * room) + 0.08
    narrow = length.high - length.low <= 0.4 * length.number
    return decide(length, inside and narrow, outside, f"measured {length.low:.2f} to {length.high:.2f} s")


def time(claim: Claim, found: Measurements) -> Finding:
    """Check when something begins or ends."""
    times = [e.start for e in found.events] + found.onsets if claim.aspect == "start" else [e.end for e in found.events]
    if claim.subject.index is not None:
        target = targets.find(claim.subject, found)
        if isinstance(target, Unclear):
            return unsure(target.why)
        times = [target.start if claim.aspect == "start" else target.end]
    if not times:
        return unsure("nothing is heard that begins or ends")
    nearest = min(times, key=lambda t: abs(t - claim.value))
    off = abs(nearest - claim.value)
    measured = Quantity(f"nearest {claim.aspect}", nearest, nearest - 0.03, nearest + 0.03, "s", nearest, nearest)
    near = 0.1 + 0.03 * claim.value + (0.1 if claim.aspect == "end" else 0.0)
    return decide(measured, off <= near, off > 2 * near + 0.1, f"the nearest is at {nearest:.2f} s")


def tempo(claim: Claim, found: Measurements) -> Finding:
    """Check beats a minute, or a word such as fast; another metrical level is neither right nor wrong."""
    measured = found.tempo
    if measured.value is None:
        return unsure(measured.note, measured)
    beats, said = measured.number, f"measured {measured.number:.0f} beats a minute"
    if claim.unit == "bpm":
        off, room = abs(claim.value / beats - 1), 0.08 if claim.is_rough else 0.05
        if off > room and same_pulse(claim.value, beats, room):
            return unsure(f"{said}, another level of the same pulse", measured)
        return decide(measured, off <= room, off > room + 0.04, said)
    if "regular" not in measured.note:
        return unsure(f"{said}, at a metrical level that is not sure", measured)
    if claim.value == "moderate":
        (low, high), (least, most) = _MODERATE
        return decide(measured, low <= beats <= high, beats < least or beats > most, said)
    so, not_so = _TEMPI[claim.value]
    slow = claim.value == "slow"
    return decide(measured, beats <= so if slow else beats >= so, beats >= not_so if slow else beats <= not_so, said)


def rate(claim: Claim, found: Measurements) -> Finding:
    """Check how fast somebody speaks."""
    measured = found.speaking_rate
    if measured.value is None:
        return unsure(measured.note, measured)
    paused = sum(b - a for a, b in found.pauses)
    if paused > 0.3 * (measured.end - measured.start) or len(targets.segments(found)) > 1 and claim.subject.index:
        return unsure("pauses take up much of the speech", measured)
    said = f"measured {measured.low:.1f} to {measured.high:.1f} syllables a second"
    if isinstance(claim.value, float):
        per_word = (1.2, 1.75) if claim.unit == "words" else (1.0, 1.0)
        low, high = claim.value * per_word[0] * 0.88, claim.value * per_word[1] * 1.12
        inside = low <= measured.number <= high
        return decide(measured, inside, high < measured.low or low > measured.high, said)
    if claim.value == "moderate":
        return decide(measured, 3.5 <= measured.number <= 4.9, measured.low > 4.9 or measured.high < 3.4, said)
    so, not_so = _RATES[claim.value]
    if claim.value == "slow":
        return decide(measured, measured.high <= so, measured.low >= not_so, said)
    return decide(measured, measured.low >= so, measured.high <= not_so, said)


def pause(claim: Claim, found: Measurements) -> Finding:
    """Check a pause, its length and its place, or that there is none."""
    gaps = found.pauses
    if claim.subject.span is not None:
        start, end = claim.subject.span
        gaps = [g for g in gaps if g[0] <= end + 0.25 and g[1] >= start - 0.25]
    lengths = [b - a for a, b in gaps]
    longest = max(lengths, default=0.0)
    where = gaps[lengths.index(longest)] if lengths else (0.0, found.seconds)
    measured = Quantity("longest pause", longest, max(longest - 0.06, 0.0), longest + 0.06, "s", *where)
    said = f"the longest pause lasts {longest:.2f} s" if longest else "there is no pause of 0.2 s"
    if claim.aspect == "none":
        return decide(measured, longest == 0, longest > 0.35, said)
    if claim.value is not None:
        off = min((abs(x - claim.value) for x in lengths), default=math.inf)
        near = 0.12 + 0.15 * claim.value
        return decide(measured, off <= near, off > 2 * near, said)
    return decide(measured, longest > 0.25, longest == 0, said)


def intonation(claim: Claim, found: Measurements) -> Finding:
    """Check how a voice ends; an end without much movement refutes neither a rise nor a fall."""

    def test(q: Quantity) -> Finding:
        if q.value == "level" and claim.value != "level":
            return unsure(f"{q.note}, too little to call", q)
        return _same(q, claim.value)

    return _of_voice(claim, found, found.final_intonation, test)


def liveliness(claim: Claim, found: Measurements) -> Finding:
    """Check whether a voice moves in pitch."""
    lively = claim.value == "lively"
    return _of_voice(
        claim,
        found,
        found.pitch_range,
        lambda q: (
            decide(q, q.low > 4.2, q.high < 3.6, str(q)) if lively else decide(q, q.high < 3.6, q.low > 4.2, str(q))
        ),
    )


def register(claim: Claim, found: Measurements) -> Finding:
    """Check the height of a voice; a man and a woman are told apart by their usual pitch alone."""
    so, not_so = _REGISTERS[claim.value]
    low = claim.value in ("man", "low")

    def test(q: Quantity) -> Finding:
        said = f"measured {q.number:.0f} Hz"
        if low:
            return decide(q, q.high < so, q.low > not_so, said)
        return decide(q, q.low > so and q.low < 400, q.high < not_so, said)

    return _of_voice(claim, found, found.voice_pitch, test)


def _of_voice(
    claim: Claim, found: Measurements, measure: Callable[[float, float], Quantity], test: Callable[[Quantity], Finding]
) -> Finding:
    target = targets.find(claim.subject, found)
    if isinstance(target, Unclear):
        return unsure(target.why)
    measured = measure(target.start, target.end)
    return unsure(measured.note, measured) if measured.value is None else test(measured)


def _same(measured: Quantity, value: str) -> Finding:
    return Finding(measured.value == value, f"{measured.value}, {measured.note}", (measured,))


def trend(claim: Claim, found: Measurements) -> Finding:
    """Check whether a sound grows, fades or stays."""
    if claim.subject.unit == "voice" and claim.subject.index is None:
        target: Target | Unclear = Target(*found.speech_span)
    else:
        target = targets.find(claim.subject, found)
    if isinstance(target, Unclear):
        if claim.subject.index is not None or len(found.events) > 1:
            return unsure(target.why)
        target = Target(0.0, found.seconds)
    target = _alone(target, found)
    measured = found.trend(target.start, target.end)
    return unsure(measured.note, measured) if measured.value is None else _same(measured, claim.value)


def _alone(target: Target, found: Measurements) -> Target:
    """Return the one sound of a clip instead of the whole clip, so that silence around it does not count."""
    if target.end - target.start < found.seconds or len(found.events) != 1:
        return target
    return Target(found.events[0].start, found.events[0].end)


def key(claim: Claim, found: Measurements) -> Finding:
    """Check a key or a mode; the triad of a short clip stands for its key."""
    measured, claimed = found.key, str(claim.value)
    if measured.value is None and found.chord.value is not None:
        return chord(claim, found)
    fits = {name: fit for name, fit in found.key_fits.items() if name == claimed or name.endswith(f" {claimed}")}
    if not fits:
        return unsure(measured.note, measured)
    others = {name: fit for name, fit in found.key_fits.items() if name not in fits}
    lead = max(fits.values()) - max(others.values())
    best = next(iter(found.key_fits))
    said = f"the best fit is {best}" + ("" if best in fits else f", {-lead:.2f} better")
    return decide(measured, lead >= CLEAR_LEAD and max(fits.values()) > 0.6, lead < -_WORSE, said)


def chord(claim: Claim, found: Measurements) -> Finding:
    """Check a major or minor triad."""
    measured = found.chord
    if measured.value is None:
        return unsure(measured.note, measured)
    best, claimed = str(measured.value), str(claim.value)
    return Finding(best == claimed if " " in claimed else best.endswith(claimed), f"measured {best}", (measured,))


def rhythm(claim: Claim, found: Measurements) -> Finding:
    """Check that long and short notes take turns in the order that is named."""
    every = targets.members("note", found)
    if isinstance(every, Unclear):
        return unsure(every.why)
    lengths = [t.end - t.start for t in every]
    border = targets.loud_and_soft(lengths, "duration")
    if border is None:
        return unsure("the notes do not part into long and short")
    pattern = ["long" if x > border else "short" for x in lengths]
    first, second = claim.value.split()
    wanted = [(first, second)[i % 2] for i in range(len(pattern))]
    return Finding(pattern == wanted, " ".join(pattern))


def timbre(claim: Claim, found: Measurements) -> Finding:
    """Check brightness, noisiness, vibrato, and struck against held, where the sound is far from the border."""
    target = targets.find(claim.subject, found)
    if isinstance(target, Unclear):
        if claim.subject.index is not None or len(found.events) > 1:
            return unsure(target.why)
        target = Target(0.0, found.seconds)
    target = _alone(target, found)
    span, value = (target.start, target.end), claim.value
    if value in ("bright", "dark"):
        q, bright = found.centroid(*span), value == "bright"
        return decide(q, q.low > 2200 if bright else q.high < 1000, q.high < 1000 if bright else q.low > 2200, str(q))
    if value in ("noisy", "tonal"):
        q, hnr = found.flatness(*span), found.harmonicity(*span).number
        noise, tone = q.low > -9 and not hnr > 3, q.high < -17 and hnr > 10
        return decide(q, noise if value == "noisy" else tone, tone if value == "noisy" else noise, str(q))
    if value in ("struck", "held"):
        q = found.envelope(*span)
        return unsure(q.note, q) if q.value is None else _same(q, value)
    q = found.vibrato(*span)
    if q.value is None:
        return unsure(q.note, q)
    has, none = q.low > 12, q.high < 10
    return decide(q, has if value == "vibrato" else none, none if value == "vibrato" else has, str(q))


def noise(claim: Claim, found: Measurements) -> Finding:
    """Check how noisy a recording is."""
    q = found.signal_to_noise
    if q.value is None:
        return unsure(q.note, q)
    clean = claim.value == "clean"
    return decide(q, q.low >= 38 if clean else q.high <= 19, q.high <= 22 if clean else q.low >= 34, str(q))


def identity(claim: Claim, found: Measurements) -> Finding:
    """Contradict an instrument whose notes decay where the note is held, or the other way round; verify none."""
    kind = ENVELOPE_OF.get(str(claim.value))
    target = targets.find(claim.subject, found)
    if kind is None or isinstance(target, Unclear) or claim.subject.unit != "note":
        return unsure("measurements do not tell what makes a sound")
    q = found.envelope(target.start, target.end)
    if q.value is None or q.value == kind or pitch_of(target) is None:
        return unsure(f"a sound that is {q.value or 'neither struck nor held'}; what makes it is not measured", q)
    return Finding(False, f"the note is {q.value}, a {claim.value} would be {kind}", (q,))
