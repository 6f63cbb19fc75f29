"""What lines and files do to sound: companding, band limits, coarse samples, MP3 and Opus.

Pure functions of (wave, rng, ...): mono float32 at 16 kHz in and out, of the same length and in step with each other.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from earwitness.audio import SAMPLE_RATE, load_audio

TELEPHONE_HZ = 3_400  # upper edge of the telephone band (ITU-T G.711 is sampled at 8 kHz)
BIT_RATES = {"mp3": 32_000, "opus": 12_000}
"""Bits a second; low enough to be heard. Ours."""

_MU = 255.0  # ITU-T G.711
_FORMATS = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus")}
_MAX_DELAY_SECONDS = 0.15


def mu_law(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the clip as a telephone passes it: 3.4 kHz wide, then 8 bits on the mu-law scale. ``rng`` is not used."""
    wave = np.clip(low_pass(wave, rng, TELEPHONE_HZ), -1, 1).astype(np.float64)
    companded = np.sign(wave) * np.log1p(_MU * np.abs(wave)) / np.log1p(_MU)
    steps = np.rint(companded * 127) / 127
    return (np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU).astype(np.float32)


def low_pass(wave: np.ndarray, rng: np.random.Generator, edge_hz: float | None = None) -> np.ndarray:
    """Return the clip without what lies above an edge, by default one drawn from 2.5 to 6 kHz; no delay.

    Above the edge the gain falls as a half cosine over 15 % of it.
    """
    edge = rng.uniform(2_500, 6_000) if edge_hz is None else edge_hz
    frequency = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    fall = np.clip((frequency - edge) / (0.15 * edge), 0, 1)
    return np.fft.irfft(np.fft.rfft(wave) * (0.5 + 0.5 * np.cos(np.pi * fall)), len(wave)).astype(np.float32)


def reduce_bits(wave: np.ndarray, rng: np.random.Generator, bits: int | None = None) -> np.ndarray:
    """Return the clip in samples of few bits, by default 6 to 10, with the full scale at its peak."""
    bits = int(rng.integers(6, 11)) if bits is None else bits
    peak = float(np.abs(wave).max())
    steps = 2 ** (bits - 1) - 1
    return (np.rint(wave / peak * steps) * (peak / steps)).astype(np.float32) if peak else wave.copy()


def mp3(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the clip after MP3 at 32 kbit/s; needs PyAV. ``rng`` is not used."""
    return _through_file(wave, "mp3")


def opus(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the clip after Opus at 12 kbit/s; needs PyAV. ``rng`` is not used."""
    return _through_file(wave, "opus")


CODECS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "mu_law": mu_law,
    "low_pass": low_pass,
    "bits": reduce_bits,
    "mp3": mp3,
    "opus": opus,
}


def _through_file(wave: np.ndarray, codec: str) -> np.ndarray:
    """Encode and decode, then take away the delay that the coder added."""
    import av

    container_format, encoder = _FORMATS[codec]
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format=container_format) as container:
            stream: Any = container.add_stream(encoder, rate=SAMPLE_RATE, layout="mono")
            stream.bit_rate = BIT_RATES[codec]
            pcm = np.clip(np.rint(wave * 2.0**15), -(2**15), 2**15 - 1).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            for packet in (*_packets(stream, frame), *stream.encode(None)):
                container.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"FFmpeg cannot encode {codec} here ({error}); leave it out of Augmentation.codecs") from None
    decoded = load_audio(buffer.getvalue())
    decoded = decoded[_delay(wave, decoded) :][: len(wave)]
    return np.pad(decoded, (0, len(wave) - len(decoded))).astype(np.float32)


def _packets(stream, frame):
    """Encode one long frame as the encoder's own frames."""
    import av

    resampler = av.AudioResampler(stream.format, "mono", SAMPLE_RATE, frame_size=stream.codec_context.frame_size or 960)
    for piece in (*resampler.resample(frame), *resampler.resample(None)):
        yield from stream.encode(piece)


def _delay(wave: np.ndarray, decoded: np.ndarray) -> int:
    """Return by how many samples ``decoded`` lags, by cross-correlation."""
    most = int(_MAX_DELAY_SECONDS * SAMPLE_RATE)
    size = 1 << (len(wave) + len(decoded)).bit_length()
    product = np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(wave, size)), size)
    return int(np.argmax(product[:most]))
