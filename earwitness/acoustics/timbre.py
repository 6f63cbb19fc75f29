"""The colour of a sound: brightness, balance, noisiness, vibrato, and whether it is struck or held."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.acoustics.frames import FRAME_SECONDS, RATE, Frames, frame
from earwitness.acoustics.pitch import PitchTrack, sound
from earwitness.acoustics.quantity import Quantity, about, unknown

_LOW_HZ, _HIGH_HZ = 300.0, 3000.0
_STRUCK_DB, _HELD_DB = 9.0, 2.5


def centroid(frames: Frames, start: float, end: float) -> Quantity:
    """Return the centre of gravity of the amplitude spectrum in Hz, from its louder frames."""
    amplitudes = np.sqrt(_mean_power(frames, start, end))
    value = float((amplitudes * frames.hz).sum() / (amplitudes.sum() + 1e-12))
    return about("spectral centroid", value, 0.12 * value + 40, "Hz", start=start, end=end)


def balance(frames: Frames, start: float, end: float) -> tuple[Quantity, Quantity, Quantity]:
    """Return the shares of energy below 300 Hz, from 300 to 3000 Hz and above, each 0 to 1."""
    power = _mean_power(frames, start, end)
    total = float(power.sum()) + 1e-20
    low, high = frames.hz < _LOW_HZ, frames.hz > _HIGH_HZ
    shares = [float(power[part].sum()) / total for part in (low, ~low & ~high, high)]
    names = ("energy below 300 Hz", "energy 300 to 3000 Hz", "energy above 3000 Hz")
    first, second, third = (
        Quantity(name, share, max(share - 0.05, 0), min(share + 0.05, 1), start=start, end=end)
        for name, share in zip(names, shares)
    )
    return first, second, third


def flatness(frames: Frames, start: float, end: float) -> Quantity:
    """Return the spectral flatness in dB: near 0 for white noise, below -20 for tones."""
    power = _mean_power(frames, start, end)[3:] + 1e-12
    value = float(10 * (np.mean(np.log10(power)) - np.log10(np.mean(power))))
    return about("spectral flatness", value, 2.5, "dB", start=start, end=end)


def harmonicity(wave: np.ndarray, start: float, end: float) -> Quantity:
    """Return Praat's harmonics-to-noise ratio in dB, the median of its periodic frames."""
    part = wave[round(start * RATE) : round(end * RATE)]
    if len(part) < 0.1 * RATE or not np.any(part):
        return unknown("harmonics-to-noise ratio", "the stretch is too short", "dB", start=start, end=end)
    values = sound(part).to_harmonicity_cc(0.01, 75.0, 0.1, 1.0).values[0]  # type: ignore[attr-defined]
    kept = values[values > -150]
    if len(kept) < 5:
        return unknown("harmonics-to-noise ratio", "nothing is periodic", "dB", start=start, end=end)
    spread = float(np.std(kept)) / len(kept) ** 0.5
    return about("harmonics-to-noise ratio", float(np.median(kept)), 1.0 + 2 * spread, "dB", start=start, end=end)


def vibrato(track: PitchTrack, start: float, end: float) -> Quantity:
    """Return the depth of a regular swing of pitch at 4 to 8 Hz in cents (half of peak to peak); 0 without one."""
    inside = (track.times >= start + 0.05) & (track.times <= end - 0.03)
    hz = track.hz[inside]
    if len(hz) < 35 or np.mean(np.isfinite(hz)) < 0.95:
        return unknown("vibrato", "the note is too short or not steady", "cents", start=start, end=end)
    cents = 1200 * np.log2(hz[np.isfinite(hz)] / np.nanmedian(hz))
    trend = np.polyval(np.polyfit(np.arange(len(cents)), cents, 2), np.arange(len(cents)))
    swing = cents - trend
    t = np.arange(len(swing)) * 0.01
    rates = np.arange(3.5, 8.6, 0.25)
    waves = [np.abs(np.mean(swing * np.exp(-2j * np.pi * rate * t))) * 2 for rate in rates]
    depth = float(max(waves))
    if depth**2 / 2 < 0.4 * float(np.var(swing)):  # most of what moves is not one swing
        return about("vibrato", 0.0, depth, "cents", start=start, end=end)
    return about(
        "vibrato", depth, 3 + 0.15 * depth, "cents", note=f"{rates[int(np.argmax(waves))]:g} Hz", start=start, end=end
    )


def envelope(frames: Frames, start: float, end: float) -> Quantity:
    """Return ``struck`` (it decays from the beginning) or ``held`` (it keeps its level); None between them."""
    if end - start < 0.25:
        return unknown("envelope", "the note is too short", start=start, end=end)
    level = frames.level_db[frame(start) : frame(end)]
    level = level[: max(int(np.flatnonzero(level > level.max() - 25)[-1]), 4)]
    first, last = level[: len(level) // 4].max(), np.median(level[-len(level) // 3 : -max(len(level) // 10, 1)])
    fall = float(first - last)
    steady = float(np.median(level[len(level) // 2 :])) < first - 2
    bounds: dict[str, Any] = {"low": fall - 1.5, "high": fall + 1.5}
    if fall > _STRUCK_DB and steady and int(np.argmax(level)) * FRAME_SECONDS < 0.12:
        return Quantity("envelope", "struck", note=f"falls by {fall:.0f} dB", **bounds, start=start, end=end)
    if fall < _HELD_DB:
        return Quantity("envelope", "held", note=f"falls by {fall:.0f} dB", **bounds, start=start, end=end)
    return Quantity("envelope", None, note=f"falls by {fall:.0f} dB", **bounds, start=start, end=end)


def _mean_power(frames: Frames, start: float, end: float) -> np.ndarray:
    """Return the mean power spectrum of the frames within 20 dB of the loudest in a span."""
    first, last = frame(start), max(frame(end), frame(start) + 1)
    level, power = frames.level_db[first:last], frames.power[first:last]
    if not len(power):
        return np.zeros(len(frames.hz))
    return power[level >= level.max() - 20].mean(axis=0)
