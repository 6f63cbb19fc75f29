"""Notes of six instruments by additive synthesis; held-out recipes have harmonics and formants of their own.

Attack, vibrato, decay and room are the same in both. Waves are float32 at 16 kHz. Numbers are harmonic amplitudes,
seconds and Hz.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from earwitness.soundworld.core import SAMPLE_RATE, Rng

TIMBRES = ("flute", "organ", "piano", "violin", "trumpet", "voice")

# Amplitudes of the harmonics 1, 2, 3 ...; formant peaks (Hz, width) for the voice.
_HARMONICS: dict[str, dict[str, list[float]]] = {
    "train": {
        "flute": [1, 0.12, 0.05, 0.01],
        "organ": [1, 0.05, 0.6, 0.02, 0.45, 0.02, 0.3, 0.02, 0.2],
        "piano": [1, 0.6, 0.4, 0.28, 0.18, 0.12, 0.08, 0.05],
        "violin": [1 / k for k in range(1, 15)],
        "trumpet": [0.4, 0.7, 1, 0.95, 0.8, 0.6, 0.4, 0.25, 0.15, 0.1],
        "voice": [1.0] * 24,
    },
    "heldout": {
        "flute": [1, 0.03, 0.1],
        "organ": [1, 0, 0.8, 0, 0.3, 0, 0.35, 0, 0.1, 0, 0.1],
        "piano": [1, 0.4, 0.5, 0.2, 0.25, 0.06, 0.1],
        "violin": [1, 0.7, 0.3, 0.35, 0.15, 0.22, 0.1, 0.14, 0.1, 0.08, 0.09, 0.06],
        "trumpet": [0.3, 0.9, 0.8, 1, 0.6, 0.7, 0.3, 0.3, 0.1],
        "voice": [1.0] * 20,
    },
}
_FORMANTS = {"train": ((750, 110), (1150, 130), (2800, 200)), "heldout": ((560, 90), (1750, 140), (2450, 180))}
# (rate Hz, depth in cents) of vibrato; attack seconds; decay rate 1/s (0 = sustained).
_VIBRATO: dict[str, tuple[float, float]] = {"violin": (5.6, 28), "voice": (5.0, 38), "flute": (4.6, 8)}
_ATTACK = {"flute": 0.045, "organ": 0.012, "piano": 0.004, "violin": 0.06, "trumpet": 0.03, "voice": 0.05}


@lru_cache(maxsize=4)
def _time(samples: int) -> np.ndarray:
    return np.arange(samples, dtype=np.float32) / SAMPLE_RATE


def note(timbre: str, hz: float, seconds: float, rng: Rng, heldout: bool = False) -> np.ndarray:
    """Return one note of a timbre with small random differences from note to note."""
    split = "heldout" if heldout else "train"
    t = _time(round(seconds * SAMPLE_RATE))
    rate, cents = _VIBRATO.get(timbre, (0.0, 0.0))
    cents *= rng.uniform(0.6, 1.2)
    bend = cents / 1200 * np.log(2) * np.sin(2 * np.pi * rate * t + rng.uniform(0, 6)) if cents else 0.0
    phase = np.cumsum((2 * np.pi * hz / SAMPLE_RATE) * np.exp(bend) * np.ones_like(t), dtype=np.float64)
    base = np.exp(1j * phase).astype(np.complex64)
    wave, power = np.zeros(len(t), np.float32), np.ones(len(t), np.complex64)
    for number, amplitude in enumerate(_HARMONICS[split][timbre], 1):
        if number * hz > 7600:
            break
        power = power * base
        if timbre == "voice":
            amplitude = _formant_gain(number * hz, _FORMANTS[split]) / number
        amplitude *= rng.uniform(0.8, 1.2)
        part = amplitude * power.imag
        if timbre == "piano":  # higher partials die sooner
            part = part * np.exp(-t * (2.2 + 1.3 * number))
        wave += part
    if timbre == "flute":
        wave += rng.uniform(0.015, 0.05) * rng.standard_normal(len(t), dtype=np.float32)
    return _shape(wave / (np.abs(wave).max() + 1e-6), timbre, rng)


def _formant_gain(hz: float, formants: tuple[tuple[int, int], ...]) -> float:
    return 0.03 + sum(1 / (1 + ((hz - centre) / width) ** 2) for centre, width in formants)


def _shape(wave: np.ndarray, timbre: str, rng: Rng) -> np.ndarray:
    """Apply attack and release."""
    attack = max(8, round(_ATTACK[timbre] * rng.uniform(0.7, 1.3) * SAMPLE_RATE))
    release = min(round(0.035 * SAMPLE_RATE), len(wave) // 3)
    attack = min(attack, len(wave) // 3)
    wave[:attack] *= np.linspace(0, 1, attack, dtype=np.float32)
    wave[-release:] *= np.linspace(1, 0, release, dtype=np.float32)
    return wave


def room(wave: np.ndarray, rng: Rng) -> np.ndarray:
    """Return the wave with a faint random echo tail of up to 0.15 s, as in a small room."""
    length = round(rng.uniform(0.03, 0.15) * SAMPLE_RATE)
    decay = np.exp(-6 * np.arange(length, dtype=np.float32) / length)
    tail = rng.standard_normal(length, dtype=np.float32) * decay
    tail *= rng.uniform(0.05, 0.3) / (np.sqrt(np.sum(tail**2)) + 1e-9)
    tail[0] += 1.0
    size = 1 << (len(wave) + length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)[: len(wave)].astype(np.float32)
