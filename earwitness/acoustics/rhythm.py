"""Tempo: from regular onsets directly, else where two methods agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.acoustics.frames import FRAME_SECONDS, Frames
from earwitness.acoustics.quantity import Quantity, about, unknown

_SLOWEST, _FASTEST = 40.0, 240.0
# A listener counts one beat where another counts two, three or half of one.
METRICAL = (1.0, 2.0, 0.5, 3.0, 1 / 3, 4.0, 0.25, 1.5, 2 / 3)


def tempo(frames: Frames, starts: list[float]) -> Quantity:
    """Return the beats a minute of a clip whose notes begin at ``starts`` (seconds); None where no pulse is clear."""
    name = "tempo"
    span: dict[str, Any] = {"start": 0.0, "end": len(frames.wave) / 16_000}
    regular = _grid(starts)
    if regular is not None:
        beats, error = regular
        return about(name, beats, error, "beats a minute", note="from regular onsets", **span)
    if span["end"] < 4:
        return unknown(name, "the onsets are irregular and the clip is short", "beats a minute", **span)
    first = _periodicity(frames.onset_strength)
    if first is None:
        return unknown(name, "there is no steady pulse", "beats a minute", **span)
    second = _librosa(frames)
    if not same_pulse(first, second, 0.05):
        why = f"two methods disagree, {first:.0f} and {second:.0f}"
        return unknown(name, why, "beats a minute", **span)
    return about(name, first, 0.03 * first, "beats a minute", note="from the periodicity of onsets", **span)


def same_pulse(a: float, b: float, tolerance: float) -> bool:
    """Return whether two tempi are equal within a relative tolerance, up to the metrical level."""
    return any(abs(a / (b * ratio) - 1) <= tolerance for ratio in METRICAL)


def _grid(starts: list[float]) -> tuple[float, float] | None:
    """Return (beats a minute, uncertainty) where four or more onsets lie on a regular grid."""
    if len(starts) < 4:
        return None
    gaps = np.diff(starts)
    unit = float(np.median(gaps))
    if unit <= 0:
        return None
    steps = np.round(gaps / unit)
    if steps.min() < 1 or np.mean(steps == 1) < 0.6 or np.abs(gaps / unit - steps).max() > 0.14:
        return None
    at = np.concatenate([[0], np.cumsum(steps)])
    slope, offset = np.polyfit(at, starts, 1)
    error = float(np.std(starts - (slope * at + offset))) + 0.003
    beats = 60 / float(slope)
    if not _SLOWEST * 0.75 <= beats <= _FASTEST * 2.5:
        return None
    return beats, beats * 2 * error / (float(slope) * at[-1]) + 0.005 * beats


def _periodicity(strength: np.ndarray) -> float | None:
    """Return the tempo whose period and its multiples carry the most autocorrelation; None where that is weak."""
    centred = strength - strength.mean()
    size = 1 << (2 * len(centred) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    auto = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(centred)]
    if auto[0] <= 0:
        return None
    auto = auto / auto[0] * len(auto) / np.maximum(len(auto) - np.arange(len(auto)), len(auto) / 4)
    candidates = np.exp(np.linspace(np.log(_SLOWEST), np.log(_FASTEST), 600))
    lags = 60 / candidates / FRAME_SECONDS
    scores = np.zeros(len(candidates))
    for multiple in (1, 2, 3, 4):
        inside = lags * multiple < len(auto) - 1
        scores += np.where(inside, np.interp(lags * multiple, np.arange(len(auto)), auto), 0) / 4
    scores *= np.exp(-0.5 * (np.log2(candidates / 115) / 1.2) ** 2)  # people hear beats near two a second
    best = int(np.argmax(scores))
    return float(candidates[best]) if scores[best] > 0.12 else None


def _librosa(frames: Frames) -> float:
    import librosa

    found = librosa.feature.tempo(
        onset_envelope=frames.onset_strength, sr=16_000, hop_length=80, max_tempo=_FASTEST, start_bpm=115
    )
    return float(np.ravel(found)[0])
