"""The clip in frames of 5 ms: level, spectrum and onset strength; everything else is measured on these.

Letters: L samples at 16 kHz, T frames, B bands. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

RATE = 16_000
HOP = 80
FRAME_SECONDS = HOP / RATE
_WINDOW = 512  # 32 ms: two periods of 63 Hz
_SILENCE_DB = -100.0
_BANDS = 44  # of 2 semitones, from 50 Hz to 8 kHz


@dataclass(frozen=True)
class Frames:
    """Frame-wise views of a waveform (L,) float32 at 16 kHz; frame t is centred at t * 5 ms."""

    wave: np.ndarray

    @cached_property
    def power(self) -> np.ndarray:
        """Return the power spectrum (T, 257), scaled so that a full-scale sine has 0.25 at its peak."""
        padded = np.pad(self.wave.astype(np.float32), _WINDOW // 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP]
        shape = np.hanning(_WINDOW).astype(np.float32)
        out = np.empty((len(windows), _WINDOW // 2 + 1), np.float32)
        for first in range(0, len(windows), 4096):  # an hour of audio must not become one array of windows
            part = np.fft.rfft(windows[first : first + 4096] * shape, axis=1) / shape.sum()
            out[first : first + 4096] = np.abs(part) ** 2
        return out

    @cached_property
    def hz(self) -> np.ndarray:
        """Return the frequency of each bin."""
        return np.fft.rfftfreq(_WINDOW, 1 / RATE)

    @cached_property
    def level_db(self) -> np.ndarray:
        """Return the RMS level of 20 ms around each frame in dB below full scale, never under -100."""
        energy = np.concatenate([[0.0], np.cumsum(np.square(self.wave, dtype=np.float64))])
        centres = np.arange(len(self.power)) * HOP
        first, last = np.clip(centres - 160, 0, len(self.wave)), np.clip(centres + 160, 0, len(self.wave))
        mean = (energy[last] - energy[first]) / np.maximum(last - first, 1)
        return 10 * np.log10(np.maximum(mean, 10 ** (_SILENCE_DB / 10)))

    @cached_property
    def floor_db(self) -> float:
        """Return the level of the background: that of the quietest twentieth of the frames."""
        return float(np.percentile(self.level_db, 5))

    @cached_property
    def peak_db(self) -> float:
        """Return the level that the loudest twentieth of the frames reaches."""
        return float(np.percentile(self.level_db, 97))

    @cached_property
    def bands_db(self) -> np.ndarray:
        """Return the level in bands of 2 semitones (T, B), at most 55 dB below the strongest."""
        edges = 50 * 2 ** (np.arange(_BANDS + 1) / 6)
        which = np.digitize(self.hz, edges) - 1
        sums = np.zeros((len(self.power), _BANDS), np.float32)
        for b in range(_BANDS):
            inside = which == b
            if not inside.any():  # low bands are narrower than a bin
                inside = np.arange(len(self.hz)) == np.argmin(np.abs(self.hz - np.sqrt(edges[b] * edges[b + 1])))
            sums[:, b] = self.power[:, inside].sum(axis=1)
        top = float(sums.max(initial=1e-10))
        return 10 * np.log10(np.maximum(sums, max(top * 10**-5.5, 1e-10)))

    @cached_property
    def onset_strength(self) -> np.ndarray:
        """Return how many dB the bands rise over 20 ms, on average (T,); vibrato within 2 semitones does not count.

        A band is compared with the strongest of its neighbours 20 ms before, as in Boeck and Widmer's SuperFlux
        (DAFx 2013).
        """
        bands, lag = self.bands_db, 4
        before = np.pad(bands, ((lag, 0), (1, 1)), mode="edge")[: len(bands)]
        # The clip begins in silence as far as rises are concerned, so that a sound at 0 s has an onset.
        before[:lag] = bands.min()
        highest = np.maximum(np.maximum(before[:, :-2], before[:, 1:-1]), before[:, 2:])
        return np.maximum(bands - highest, 0).mean(axis=1)


def frame(seconds: float) -> int:
    """Return the frame nearest to a time."""
    return round(seconds / FRAME_SECONDS)
