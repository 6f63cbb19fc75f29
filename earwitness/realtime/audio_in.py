"""Sound from a client: base64 of PCM16 24 kHz or G.711 8 kHz -> a float32 wave at 16 kHz, as it arrives.

``input_audio_buffer.append`` and ``session.audio.input.format`` of the protocol. Sound is mono.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np

from earwitness.realtime import g711
from earwitness.realtime.protocol import APPEND_LIMIT
from earwitness.realtime.resample import Resampler
from earwitness.realtime.shapes import Refusal

SAMPLE_RATE = 16_000
RATES = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
"""Samples a second of each format on the wire."""
LAWS = {"audio/pcmu": "mu", "audio/pcma": "a"}


def decode_base64(text: str, param: str = "audio") -> bytes:
    """Return the bytes of a base64 text; a ``Refusal`` where it is none or holds more than 15 MiB."""
    if len(text) * 3 // 4 - text[-2:].count("=") > APPEND_LIMIT:
        raise Refusal(f"{param} holds more than 15 MiB of sound; send it in smaller pieces", "audio_too_large", param)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(f"{param} is not base64; encode the sound with the standard alphabet", param=param) from None


def to_wave(sound: bytes, form: str, param: str = "audio") -> np.ndarray:
    """Return float32 samples (-1 to 1) at the rate of the format; little-endian PCM16 or G.711 codes come in."""
    if form in LAWS:
        samples = g711.decode(np.frombuffer(sound, np.uint8), LAWS[form])
    else:
        if len(sound) % 2:
            raise Refusal(
                f"{param} has {len(sound)} bytes, an odd number; PCM16 has two bytes a sample", "invalid_audio", param
            )
        samples = np.frombuffer(sound, "<i2")
    return samples.astype(np.float32) / 32768


def whole_clip(text: str, form: str, param: str = "audio") -> np.ndarray:
    """Return the 16 kHz wave of one complete clip, such as the ``input_audio`` of a conversation item."""
    stream = Resampler(RATES[form], SAMPLE_RATE)
    wave = to_wave(decode_base64(text, param), form, param)
    return np.concatenate([stream.push(wave), stream.end()])


class SoundIn:
    """The stream of one client's sound."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.stream = Resampler(RATES[form], SAMPLE_RATE)

    def push(self, text: str) -> np.ndarray:
        """Return the 16 kHz samples that an append adds; a refused append leaves the stream as it was."""
        return self.stream.push(to_wave(decode_base64(text), self.form))

    def end(self) -> np.ndarray:
        """Return the last samples, 1.5 to 3 ms that the filter still held, and begin anew."""
        return self.stream.end()


class SoundBuffer:
    """The latest seconds of a stream at 16 kHz, addressed by the sample's number since the stream began."""

    def __init__(self, most_seconds: float) -> None:
        self.most = int(most_seconds * SAMPLE_RATE)
        self.first = 0
        """Number of the oldest sample that is still held."""
        self.pieces: list[np.ndarray] = []
        self.held = 0
        """Samples held."""

    @property
    def next(self) -> int:
        """Number of the sample that comes next, the length of the stream so far."""
        return self.first + self.held

    def add(self, wave: np.ndarray) -> None:
        """Append samples; a ``Refusal`` and no change where they do not fit."""
        if self.held + len(wave) > self.most:
            limit = self.most / SAMPLE_RATE
            raise Refusal(
                f"the input audio buffer holds at most {limit:g} seconds; commit or clear it",
                "input_audio_buffer_overflow",
                "audio",
            )
        if len(wave):
            self.pieces.append(np.asarray(wave, np.float32))
            self.held += len(wave)

    def forget_before(self, sample: int) -> None:
        """Drop everything before this sample number."""
        while self.pieces and self.first < sample:
            surplus = sample - self.first
            piece = self.pieces[0]
            cut = min(surplus, len(piece))
            self.pieces[0] = piece[cut:].copy()  # a view would keep the whole piece in memory
            if not len(self.pieces[0]):
                del self.pieces[0]
            self.first += cut
            self.held -= cut

    def take(self, start: int, end: int) -> np.ndarray:
        """Return a copy of the samples from ``start`` to before ``end``, as far as they are held."""
        found, first = [], self.next
        for piece in reversed(self.pieces):  # what is asked for is mostly the latest
            if first <= start:
                break
            first -= len(piece)
            found.append(piece[max(start - first, 0) : max(end - first, 0)])
        return np.concatenate(found[::-1]).copy() if found else np.zeros(0, np.float32)
