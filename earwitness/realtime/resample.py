"""Streaming resampling with a delay of 1.5 to 3 ms.

soxr's streams, used everywhere else, hand out sound in blocks: measured with 20 ms pieces, 24 to 16 kHz, up to 21 ms
late at HQ and 66 ms for 8 to 16 kHz. In a conversation that is latency, so this filter is as short as speech allows.
"""

from __future__ import annotations

import math

import numpy as np

_CROSSINGS = 24  # of the sinc on each side, at the lower rate: the delay is 24 samples of it
_PASS = 0.91  # of the lower rate's Nyquist frequency
_BETA = 7.5  # Kaiser window: stop band below -70 dB
_BLOCK = 1 << 14  # samples filtered at once; each takes some 600 bytes meanwhile


class Resampler:
    """Turns pieces of a float32 wave at one rate into pieces at another; cutting the pieces elsewhere changes nothing.

    Sample i of the output stands for the time i / ``target`` of the input: there is no offset, only a wait of
    ``half`` input samples.
    """

    def __init__(self, source: int, target: int) -> None:
        common = math.gcd(source, target)
        self.up, self.down = target // common, source // common
        self.half = math.ceil(_CROSSINGS * max(1.0, source / target))
        cutoff = _PASS * min(1.0, target / source)
        offset = np.arange(1 - self.half, self.half + 1)[None, :] - np.arange(self.up)[:, None] / self.up
        window = np.i0(_BETA * np.sqrt(np.maximum(1 - (offset / self.half) ** 2, 0)))
        taps = np.sinc(cutoff * offset) * window
        self.taps = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)  # (phases, 2 half)
        self._restart()

    def _restart(self) -> None:
        self.held = np.zeros(self.half - 1, np.float32)  # input from just before the next output on
        self.ahead = 0  # of the next output from the first held sample's tap position, in 1/up input samples

    def push(self, wave: np.ndarray) -> np.ndarray:
        """Return what can be said of the output after ``wave``, (samples,) float32, was added to the input."""
        if self.up == self.down:
            return np.asarray(wave, np.float32)
        if len(wave) > _BLOCK:
            return np.concatenate([self.push(wave[i : i + _BLOCK]) for i in range(0, len(wave), _BLOCK)])
        held = np.concatenate([self.held, np.asarray(wave, np.float32)])
        width = 2 * self.half
        room = (len(held) - width + 1) * self.up - self.ahead  # a window may begin at any held sample before this
        count = max(0, -(-room // self.down))
        place = self.ahead + self.down * np.arange(count)
        begin, phase = place // self.up, place % self.up
        out = np.zeros(0, np.float32)
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(held, width)
            out = np.einsum("nk,nk->n", windows[begin], self.taps[phase])
        following = self.ahead + self.down * count
        cut = min(following // self.up, len(held))
        self.held, self.ahead = held[cut:], following - cut * self.up
        return out

    def end(self) -> np.ndarray:
        """Return the rest of the output and begin anew."""
        rest = self.push(np.zeros(self.half, np.float32)) if self.up != self.down else np.zeros(0, np.float32)
        self._restart()
        return rest
