"""Key and mode: from the notes where they form a triad, else from the chroma of the clip."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.acoustics.notes import Note
from earwitness.acoustics.quantity import NAMES, Quantity, unknown

# How well each degree fits a major and a minor key, as listeners rated it (Krumhansl and Kessler 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
CLEAR_LEAD = 0.05
_FITS = 0.6


def triad(notes: list[Note]) -> Quantity:
    """Return the chord of at most six notes, such as ``A minor``; None where they form no major or minor triad."""
    name = "chord"
    span: dict[str, Any] = {"start": notes[0].start, "end": notes[-1].end} if notes else {}
    pitches = [n.hz for n in notes if n.hz and n.pitch_error < 0.5]
    if not notes or len(pitches) < len(notes) or len(notes) > 6:
        return unknown(name, "not every note has a clear pitch", **span)
    classes = {round(69 + 12 * np.log2(hz / 440)) % 12 for hz in pitches}
    for root in sorted(classes):
        for mode, third in (("major", 4), ("minor", 3)):
            if classes == {root, (root + third) % 12, (root + 7) % 12}:
                return Quantity(name, f"{NAMES[root]} {mode}", **span)
    return unknown(name, "the notes form no major or minor triad", **span)


def key_fits(wave: np.ndarray) -> dict[str, float]:
    """Return how well each of the 24 keys fits the chroma of a clip, as a correlation, the best first."""
    import librosa

    chroma = librosa.feature.chroma_stft(y=wave, sr=16_000, n_fft=4096, hop_length=2048, tuning=0.0, norm=None)
    total = np.sqrt(chroma).sum(axis=1)
    if total.std() == 0:
        return {}
    fits = {}
    for mode, profile in (("major", _MAJOR), ("minor", _MINOR)):
        for root in range(12):
            fits[f"{NAMES[root]} {mode}"] = float(np.corrcoef(np.roll(profile, root), total)[0, 1])
    return dict(sorted(fits.items(), key=lambda item: -item[1]))


def key(fits: dict[str, float], seconds: float) -> Quantity:
    """Return the key, such as ``C# minor``; ``low`` is its lead in correlation over the next key.

    None where the clip is short or has no clear pitch (no ``fits``), or where the two best keys fit nearly alike, as
    relative keys do, which share their tones.
    """
    span: dict[str, Any] = {"start": 0.0, "end": seconds}
    if not fits:
        return unknown("key", "the clip is too short or has too little pitch", **span)
    (best, first), (other, second) = list(fits.items())[:2]
    lead = first - second
    if first < _FITS or lead < CLEAR_LEAD:
        return Quantity("key", None, lead, lead, note=f"{best} and {other} fit nearly alike", **span)
    return Quantity("key", best, lead, lead, note=f"next best {other}", **span)
