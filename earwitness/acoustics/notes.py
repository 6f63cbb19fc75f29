"""Notes: where each begins and ends, its pitch with a name, its level, and how sure each of these is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.acoustics.frames import FRAME_SECONDS, RATE, Frames, frame
from earwitness.acoustics.pitch import PitchTrack, harmonic_energy
from earwitness.acoustics.quantity import note_name, semitones
from earwitness.acoustics.segments import ONSET_SETTINGS, active_runs, as_event, onset_frames

# An onset within a sound is a new note where the level dips by this many dB before it, or the pitch changes.
_DIPS = (2.0, 3.0, 5.0)
_NEW_PITCH = 0.6  # semitones; wider than vibrato
_LEAST_NOTE = 0.05
# Energy between the harmonics, relative to that at them, above which a pitch may be an octave too high.
_BETWEEN, _ODD = 0.05, 0.01


@dataclass(frozen=True)
class Note:
    """One note. Times in seconds, level in dB below full scale; ``hz`` is None where it has no clear pitch."""

    start: float
    end: float
    level_db: float
    least_seconds: float
    """Until it has fallen by 6 dB, while ``end`` is where it ends in what follows or in the background."""
    hz: float | None = None
    pitch_error: float = 0.0
    """Half-width of the pitch's interval in semitones."""
    octave_is_sure: bool = True
    explained: float = 1.0
    """Share of its energy at the harmonics of its pitch; small for chords and noises."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start

    @property
    def name(self) -> str | None:
        """The nearest note of equal temperament, such as ``C#4``."""
        return note_name(self.hz) if self.hz else None


def notes_of(frames: Frames, track: PitchTrack) -> tuple[list[Note], list[int]]:
    """Return (notes at the middle sensitivity, their number at each)."""
    found = [_segment(frames, track, setting) for setting in range(len(ONSET_SETTINGS))]
    return [_note(frames, track, first, last) for first, last in found[1]], [len(runs) for runs in found]


def _segment(frames: Frames, track: PitchTrack, setting: int) -> list[tuple[int, int]]:
    """Return the runs of frames of notes: sounds, cut at onsets that bring a dip of level or another pitch."""
    onsets = onset_frames(frames, setting)
    least = frame(_LEAST_NOTE)
    out: list[tuple[int, int]] = []
    for first, last in active_runs(frames, 0.02, 6.0):
        inside = [o for o in onsets if first + least < o < last - least]
        edges = [first, *inside, last]
        runs = list(zip(edges, edges[1:]))
        joined = [runs[0]]
        for run in runs[1:]:
            if _is_new(frames, track, joined[-1], run, _DIPS[setting]):
                joined.append(run)
            else:
                joined[-1] = (joined[-1][0], run[1])
        out += joined
    loudest = max((frames.level_db[a:b].max() for a, b in out), default=0.0)
    # What is 40 dB below the loudest is a tail or a click of the recording, no note that one hears.
    return [(a, b) for a, b in out if b - a >= least and frames.level_db[a:b].max() > loudest - 40]


def _is_new(frames: Frames, track: PitchTrack, before: tuple[int, int], run: tuple[int, int], dip: float) -> bool:
    level, start = frames.level_db, run[0]
    prior = level[before[0] : start + 2]
    top = int(np.argmax(prior))
    lowest = prior[top:].min()
    rise = level[start : start + frame(0.1)].max() - lowest
    # A slow attack rises too; it has no dip before it and comes soon after the note's beginning.
    if rise >= dip and rise + lowest > prior[top] - 30 and (prior[top] - lowest > 1.5 or len(prior) > frame(0.1)):
        return True
    margin = 0.03
    old = track.between(before[0] * FRAME_SECONDS + margin, start * FRAME_SECONDS - 0.01)
    new = track.between(start * FRAME_SECONDS + margin, min(run[1] * FRAME_SECONDS, start * FRAME_SECONDS + 0.25))
    if len(old) < 3 or len(new) < 3:
        return False
    return abs(semitones(float(np.median(new)), float(np.median(old[-15:])))) > _NEW_PITCH


def _note(frames: Frames, track: PitchTrack, first: int, last: int) -> Note:
    level = frames.level_db[first:last]
    peak = level.max()
    loud = np.flatnonzero(level > peak - 6)
    heard = np.flatnonzero(level > peak - 25)
    start, end = first * FRAME_SECONDS, (first + int(heard[-1]) + 1) * FRAME_SECONDS
    core = (first + int(loud[-1]) + 1) * FRAME_SECONDS
    before = level[max(int(heard[-1]) - frame(0.06), 0)]
    if before - level[heard[-1]] > 12 or last - first - int(heard[-1]) > 1 and before - level[-1] > 20:
        core = end  # it stops at once, however far it has decayed
    note = Note(start, end, as_event(frames, first, first + int(heard[-1]) + 1).level_db, core - start)
    return dataclasses.replace(note, **_pitch(frames, track, note))


def _pitch(frames: Frames, track: PitchTrack, note: Note) -> dict[str, Any]:
    """Return the pitch fields of a note; the edges, where the pitch still settles, are left out."""
    edge = min(0.04, 0.2 * note.seconds)
    start, end = note.start + edge, max(note.end - edge, note.start + edge + 0.02)
    hz = track.between(start, end)
    if len(hz) < 3 or track.voiced_share(start, end) < 0.5:
        return {"hz": None}
    middle = float(np.median(hz))
    near = hz[np.abs(12 * np.log2(hz / middle)) < 1.5]
    if len(near) < 0.6 * len(hz):
        return {"hz": None}
    part = frames.wave[round(start * RATE) : round(end * RATE)]
    explained, odd, between = harmonic_energy(part, middle)
    sure = True
    if odd < _ODD:
        middle, sure = 2 * middle, odd < _ODD / 4
    elif between > _BETWEEN:
        sure = between < 2 * _BETWEEN and explained > 0.9
    spread = float(np.percentile(np.abs(12 * np.log2(near / np.median(near))), 80))
    # 8 cents: what Praat and the tuning of a real instrument leave open even in a steady tone.
    error = 0.08 + spread / max(len(near) ** 0.5 / 2, 1)
    return {"hz": middle, "pitch_error": error, "octave_is_sure": sure, "explained": explained}
