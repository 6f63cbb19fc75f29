"""How loud, whether it grows or fades, and how far it stands above the background."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.acoustics.frames import Frames, frame
from earwitness.acoustics.quantity import Quantity, about, unknown

_TREND_DB, _STEADY_DB = 5.0, 2.0


def level(frames: Frames, start: float, end: float) -> Quantity:
    """Return the RMS level of a span in dB below full scale."""
    part = frames.wave[round(start * 16_000) : round(end * 16_000)]
    if not len(part):
        return unknown("level", "the span is empty", "dB", start=start, end=end)
    rms = float(np.sqrt(np.mean(np.square(part, dtype=np.float64))))
    return about("level", max(20 * np.log10(rms + 1e-6), -100.0), 0.5, "dB", start=start, end=end)


def trend(frames: Frames, start: float, end: float) -> Quantity:
    """Return ``growing``, ``fading`` or ``steady``; ``low`` and ``high`` bound the change of level in dB.

    Thirds are compared by their louder frames, so that pauses between words or notes do not count. A struck sound
    fades by nature: whether a claim about a movement follows from that is not decided here.
    """
    name = "loudness trend"
    span: dict[str, Any] = {"start": start, "end": end}
    part = frames.level_db[frame(start) : frame(end) + 1]
    if len(part) < 60:
        return unknown(name, "the span is shorter than 0.3 s", **span)
    thirds = [float(np.percentile(third, 75)) for third in np.array_split(part, 3)]
    change = thirds[2] - thirds[0]
    error = 1.0 + 0.1 * abs(change)
    bounds: dict[str, Any] = {
        "low": change - error,
        "high": change + error,
        "note": f"{change:+.0f} dB from first to last third",
    }
    monotone = min(thirds[0], thirds[2]) - 1 <= thirds[1] <= max(thirds[0], thirds[2]) + 1
    if abs(change) >= _TREND_DB and monotone:
        return Quantity(name, "growing" if change > 0 else "fading", **bounds, **span)
    if abs(change) <= _STEADY_DB and max(thirds) - min(thirds) <= _STEADY_DB + 1:
        return Quantity(name, "steady", **bounds, **span)
    return Quantity(name, None, **bounds, **span)


def signal_to_noise(frames: Frames) -> Quantity:
    """Return how far the sound stands above its pauses in dB; None where there is no pause to measure in."""
    span: dict[str, Any] = {"start": 0.0, "end": len(frames.wave) / 16_000}
    loudest, quiet = frames.peak_db, frames.floor_db
    share = float(np.mean(frames.level_db < quiet + 4)) if len(frames.level_db) else 0.0
    if loudest - quiet < 10 or share < 0.04:
        return unknown("signal-to-noise ratio", "there is no pause to measure the background in", "dB", **span)
    if quiet <= -95:
        return Quantity(
            "signal-to-noise ratio", loudest - quiet, 60.0, 200.0, "dB", note="the pauses are digital silence", **span
        )
    return about("signal-to-noise ratio", loudest - quiet, 3.0, "dB", **span)
