"""Sound to a client: a float32 wave at a voice's rate -> PCM16 24 kHz or G.711 8 kHz, as it is made.

``response.output_audio.delta`` and ``session.audio.output.format`` of the protocol. Sound is mono.
"""

from __future__ import annotations

import numpy as np

from earwitness.realtime import g711
from earwitness.realtime.audio_in import LAWS, RATES
from earwitness.realtime.resample import Resampler

_WIDTH = {"audio/pcm": 2, "audio/pcmu": 1, "audio/pcma": 1}


def bytes_per_second(form: str) -> int:
    """Return how many bytes a second of sound has in a format: 48,000 or 8,000."""
    return RATES[form] * _WIDTH[form]


class SoundOut:
    """The stream of one answer's sound."""

    def __init__(self, form: str, source_rate: int) -> None:
        self.form = form
        self.stream = Resampler(source_rate, RATES[form])

    def push(self, wave: np.ndarray) -> bytes:
        """Return the bytes that a piece of the wave (float32, clipped to -1 to 1) adds."""
        return self._bytes(self.stream.push(wave))

    def end(self) -> bytes:
        """Return the last bytes, 1.5 to 3 ms that the filter still held, and begin anew."""
        return self._bytes(self.stream.end())

    def _bytes(self, wave: np.ndarray) -> bytes:
        samples = np.clip(np.rint(np.nan_to_num(wave) * 32768), -32768, 32767).astype("<i2")
        return (g711.encode(samples, LAWS[self.form]) if self.form in LAWS else samples).tobytes()
