"""Fundamental frequency by Praat's autocorrelation, and what can be said about a stretch of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.acoustics.frames import FRAME_SECONDS, RATE, Frames

# Instruments: from low bass to above the soprano. The window is three periods of the floor, 55 ms.
INSTRUMENT_HZ = (55.0, 2000.0)
VOICE_HZ = (60.0, 500.0)
_STEP = 0.01
_SURROUNDINGS = 0.4  # seconds on either side


@dataclass(frozen=True)
class PitchTrack:
    """The pitch every 10 ms: times in seconds, Hz (NaN where unvoiced) and Praat's strength of the periodicity."""

    times: np.ndarray
    hz: np.ndarray
    strength: np.ndarray

    def between(self, start: float, end: float) -> np.ndarray:
        """Return the Hz of the voiced frames in a span."""
        part = self.hz[(self.times >= start) & (self.times <= end)]
        return part[np.isfinite(part)]

    def voiced_share(self, start: float, end: float) -> float:
        """Return the share of frames in a span that have a pitch; 0 for an empty span."""
        part = self.hz[(self.times >= start) & (self.times <= end)]
        return float(np.mean(np.isfinite(part))) if len(part) else 0.0


def sound(wave: np.ndarray) -> object:
    """Return the clip as a Praat object; needs the extra ``acoustics``."""
    import parselmouth

    return parselmouth.Sound(np.asarray(wave, np.float64), RATE)


def track(wave: np.ndarray, hz_range: tuple[float, float], silence: float = 0.01) -> PitchTrack:
    """Return the pitch track of a waveform (L,); empty where the clip is shorter than Praat's window.

    ``silence`` is the share of the clip's peak below which nothing is voiced.
    """
    import parselmouth

    low, high = hz_range
    if len(wave) < 4 * RATE / low or not np.any(wave):
        none = np.zeros(0)
        return PitchTrack(none, none, none)
    command = parselmouth.praat.call
    # step, floor, candidates, very accurate, silence, voicing, octave cost, octave jump, voiced/unvoiced, ceiling
    settings = (_STEP, low, 15, "no", silence, 0.45, 0.01, 0.35, 0.14, high)
    pitch = command(sound(wave), "To Pitch (ac)", *settings)
    found = pitch.selected_array
    hz = np.where(found["frequency"] > 0, found["frequency"], np.nan)
    return PitchTrack(pitch.xs(), hz, found["strength"])


def voice_track(frames: Frames) -> PitchTrack:
    """Return the pitch of a voice, in two passes: the second searches around what the first found (Hirst 2011).

    A wide search mistakes harmonics and creak for pitch; a range of the speaker's own does so much less. What is
    much quieter than its surroundings, or than the clip, is a hum in the pauses and no voice.
    """
    wave = frames.wave
    first = _louder(track(wave, VOICE_HZ, silence=0.03), frames)
    voiced = first.hz[np.isfinite(first.hz)]
    if len(voiced) < 10:
        return first
    low, high = np.percentile(voiced, [5, 95])
    return _louder(track(wave, (max(VOICE_HZ[0], 0.75 * low), min(VOICE_HZ[1], 1.5 * high)), silence=0.03), frames)


def _louder(found: PitchTrack, frames: Frames) -> PitchTrack:
    """Return a track without pitch where the level lies 14 dB under its surroundings or 17 dB under the clip."""
    if not len(found.times):
        return found
    at = np.minimum(np.round(found.times / FRAME_SECONDS).astype(int), len(frames.level_db) - 1)
    level = frames.level_db[at]
    wide = round(_SURROUNDINGS / _STEP)
    padded = np.pad(level, wide, constant_values=-200)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * wide + 1).max(axis=1)
    loud = (level > around - 14) & (level > frames.peak_db - 17)
    return PitchTrack(found.times, np.where(loud, found.hz, np.nan), found.strength)


def harmonic_energy(wave: np.ndarray, hz: float) -> tuple[float, float, float]:
    """Return, of a stretch with pitch ``hz``, (explained, odd, between).

    ``explained`` is the share of energy at its harmonics, ``odd`` that of its odd harmonics among these, and
    ``between`` the energy half-way between harmonics against that at them. A pitch one octave too low has almost no
    ``odd``; one too high has much ``between``.
    """
    size = 1 << max(13, len(wave).bit_length())
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size)) ** 2
    step = RATE / size
    count = int(min(7600 / hz, 30))
    width = max(0.03 * hz, 2.5 * RATE / len(wave))  # the main lobe of the window, or a quarter tone

    def near(ratio: float) -> float:
        first, last = (ratio * hz - width) / step, (ratio * hz + width) / step
        return float(power[max(int(first), 0) : int(last) + 1].sum())

    at = [near(k) for k in range(1, count + 1)]
    odd = sum(at[0::2])
    halves = sum(near(k + 0.5) for k in range(count)) if width < 0.25 * hz else 0.0
    total = float(power[int(40 / step) :].sum()) + 1e-20
    return min(sum(at) / total, 1.0), odd / (sum(at) + 1e-20), halves / (sum(at) + 1e-20)
