"""Speech: syllables, speaking rate, pauses, the height and liveliness of a voice, and how it ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.acoustics.frames import FRAME_SECONDS, RATE, Frames
from earwitness.acoustics.pitch import PitchTrack, sound
from earwitness.acoustics.quantity import Quantity, about, unknown
from earwitness.acoustics.segments import active_runs

# A nucleus is a peak of intensity this many dB over the dips beside it and over the median of the stretch.
_NUCLEUS_DIP, _NUCLEUS_LEVEL = 1.0, -3.0
# On 42 sentences of known text by five synthetic voices the count had no bias and a deviation of 11 %.
_NUCLEUS_ERROR = 0.2
_RISE = 1.5  # semitones within the last 0.3 s that are heard as a rise or a fall
_STEADY = 0.6


def syllables(wave: np.ndarray, track: PitchTrack, start: float, end: float) -> Quantity:
    """Return the number of syllables by their nuclei: voiced peaks of intensity between dips.

    The method is that of de Jong and Wempe (Behavior Research Methods 2009).
    """
    part = wave[round(start * RATE) : round(end * RATE)]
    if len(part) < 0.2 * RATE:
        return unknown("syllables", "the stretch is too short", start=start, end=end)
    intensity = sound(part).to_intensity(50.0, 0.008)  # type: ignore[attr-defined]
    count = _nuclei(intensity.values[0], intensity.xs() + start, track)
    return about("syllables", count, max(_NUCLEUS_ERROR * count, 1.0), start=start, end=end)


def _nuclei(levels: np.ndarray, times: np.ndarray, track: PitchTrack) -> int:
    threshold = max(np.percentile(levels, 50) + _NUCLEUS_LEVEL, levels.max() - 25)
    peaks = np.flatnonzero((levels[1:-1] >= levels[:-2]) & (levels[1:-1] > levels[2:])) + 1
    count, last = 0, None
    for p in peaks[levels[peaks] > threshold].tolist():
        if last is not None and min(levels[last], levels[p]) - levels[last : p + 1].min() < _NUCLEUS_DIP:
            last = p if levels[p] > levels[last] else last
            continue
        count += bool(track.voiced_share(times[p] - 0.02, times[p] + 0.02) > 0)
        last = p
    return count


def pauses(frames: Frames, least_seconds: float = 0.2) -> list[tuple[float, float]]:
    """Return (start, end) of the silences of at least ``least_seconds`` between two stretches of sound."""
    runs = active_runs(frames, least_seconds, 8.0)
    return [(a[1] * FRAME_SECONDS, b[0] * FRAME_SECONDS) for a, b in zip(runs, runs[1:])]


def voice_pitch(track: PitchTrack, start: float, end: float) -> Quantity:
    """Return the median pitch of a voice in Hz."""
    hz = track.between(start, end)
    if len(hz) < 12:
        return unknown("voice pitch", "there is no voice long enough", "Hz", start=start, end=end)
    middle = float(np.median(hz))
    spread = float(np.percentile(hz, 75) - np.percentile(hz, 25))
    return about("voice pitch", middle, 0.02 * middle + spread / len(hz) ** 0.5, "Hz", start=start, end=end)


def pitch_range(track: PitchTrack, start: float, end: float) -> Quantity:
    """Return the span between the 10th and the 90th percentile of the pitch in semitones."""
    hz = track.between(start, end)
    if len(hz) < 30:
        return unknown("pitch range", "there is no voice long enough", "semitones", start=start, end=end)
    low, high = np.percentile(hz, [10, 90])
    wide = float(12 * np.log2(high / low))
    return about("pitch range", wide, 0.4 + 0.1 * wide, "semitones", start=start, end=end)


def final_intonation(track: PitchTrack, start: float, end: float) -> Quantity:
    """Return ``rising``, ``falling`` or ``level`` for the end of the voice in a span; None between these.

    The last 60 ms are compared with the 0.35 s before them. ``low`` and ``high`` bound the change in semitones.
    """
    inside = (track.times >= start) & (track.times <= end) & np.isfinite(track.hz)
    times, hz = track.times[inside], track.hz[inside]
    name = "final intonation"
    if len(hz) < 20:
        return unknown(name, "there is no voice long enough", start=start, end=end)
    last = times[-1]
    pitch = 12 * np.log2(hz / np.median(hz))
    tail, body = pitch[times > last - 0.07], pitch[(times > last - 0.42) & (times <= last - 0.12)]
    if len(body) < 8 or np.abs(np.diff(pitch[times > last - 0.2])).max(initial=0) > 5:
        return unknown(name, "the voice breaks off at its end", start=start, end=end)
    change = float(np.median(tail) - np.median(body))
    error = 0.3 + 0.1 * abs(change)
    bounds: dict[str, Any] = {"low": change - error, "high": change + error}
    bounds |= {"start": max(start, last - 0.42), "end": float(last)}
    detail = f"{change:+.1f} semitones at the end"
    if abs(change) >= _RISE:
        return Quantity(name, "rising" if change > 0 else "falling", note=detail, **bounds)
    if abs(change) <= _STEADY:
        return Quantity(name, "level", note=detail, **bounds)
    return Quantity(name, None, note=f"{detail}, too little to call", **bounds)
