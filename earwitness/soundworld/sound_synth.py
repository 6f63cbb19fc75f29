"""Everyday sounds by synthesis: twelve events and five backgrounds; held-out recipes share no parameter range.

Each recipe takes (t, rng, scale) and returns a float32 wave as long as ``t`` (seconds at 16 kHz); ``scale`` multiplies
its characteristic frequencies and is drawn from disjoint ranges for training and for held-out clips.
"""

from __future__ import annotations

import numpy as np

from earwitness.soundworld.core import SAMPLE_RATE, Rng

Wave = np.ndarray
_TAU = 2 * np.pi
# Ranges of the frequency scale; held-out sounds lie outside the training range on both sides.
_SCALES = {"train": ((0.92, 1.12),), "heldout": ((0.8, 0.88), (1.16, 1.28))}


def _noise(n: int, rng: Rng) -> Wave:
    return rng.standard_normal(n, dtype=np.float32)


def _fft_size(n: int) -> int:
    """Return the next length that transforms fast; a prime length takes twenty times as long."""
    power = 1 << (n - 1).bit_length()
    return next(size for size in (power // 8 * 5, power // 4 * 3, power // 8 * 7, power) if size >= n)


def band(wave: Wave, low: float, high: float) -> Wave:
    """Return the wave between two frequencies in Hz, by an FFT mask with soft edges."""
    size = _fft_size(len(wave))
    spectrum = np.fft.rfft(wave, size)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    edge = 0.15
    mask = 1 / (1 + (low / np.maximum(hz, 1)) ** (2 / edge)) / (1 + (np.maximum(hz, 1) / high) ** (2 / edge))
    return np.fft.irfft(spectrum * mask, size)[: len(wave)].astype(np.float32)


def _partials(t: Wave, hz: float, ratios: list[float], decays: list[float]) -> Wave:
    out = np.zeros_like(t)
    for k, (ratio, decay) in enumerate(zip(ratios, decays)):
        if hz * ratio < 7600:
            out += np.sin(_TAU * hz * ratio * t) * np.exp(-decay * t) / (1 + 0.4 * k)
    return out


def _sweep(t: Wave, hz: Wave) -> Wave:
    return np.sin(_TAU * np.cumsum(hz) / SAMPLE_RATE).astype(np.float32)


def bell(t: Wave, rng: Rng, s: float) -> Wave:
    """Return a struck bell."""
    return _partials(t, 900 * s * rng.uniform(0.9, 1.1), [0.5, 1, 1.2, 1.5, 2.0, 2.7], [3, 4, 5, 6, 8, 10])


def knock(t: Wave, rng: Rng, s: float) -> Wave:
    """Return two or three knocks on wood."""
    out, times = np.zeros_like(t), int(rng.integers(2, 4))
    for k in range(times):
        u = t - t[-1] * (0.02 + 0.9 * k / times)
        hit = np.exp(-np.maximum(u, 0) * 55) * (u >= 0)
        out += hit * (np.sin(_TAU * 190 * s * u) + 0.6 * np.sin(_TAU * 420 * s * u) + 0.3 * _noise(len(t), rng))
    return out


def siren(t: Wave, rng: Rng, s: float) -> Wave:
    """Return a siren whose pitch swings."""
    rate = rng.uniform(2.2, 3.2)
    hz = 850 * s * np.exp(0.45 * np.sin(_TAU * rate * t + rng.uniform(0, 6)))
    phase = _TAU * np.cumsum(hz) / SAMPLE_RATE
    return (np.sin(phase) + 0.35 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)).astype(np.float32)


def alarm(t: Wave, rng: Rng, s: float) -> Wave:
    """Return the beeps of an alarm clock."""
    gate = ((t * rng.uniform(8, 10)) % 1 < 0.55).astype(np.float32)
    return gate * np.sign(np.sin(_TAU * 2000 * s * t)) * 0.7


def drip(t: Wave, rng: Rng, s: float) -> Wave:
    """Return two or three water drops: short chirps that rise."""
    out, times = np.zeros_like(t), int(rng.integers(2, 4))
    for k in range(times):
        u = np.maximum(t - t[-1] * (0.05 + 0.85 * k / times), 0)
        out += np.sin(_TAU * (1100 * s * u + 9000 * u**2)) * np.exp(-u * 45) * (u > 0)
    return out


def thunder(t: Wave, rng: Rng, s: float) -> Wave:
    """Return a low rumble with a crack at its start."""
    rumble = band(_noise(len(t), rng), 30, 170 * s)
    crack = band(_noise(len(t), rng), 200, 1500) * np.exp(-t * 22)
    swell = np.exp(-t * 2.0) * (1 + 0.5 * np.sin(_TAU * 5 * t + rng.uniform(0, 6)))
    return rumble / (np.abs(rumble).max() + 1e-6) * swell + 0.5 * crack / (np.abs(crack).max() + 1e-6)


def dog(t: Wave, rng: Rng, s: float) -> Wave:
    """Return two barks: harmonic bursts whose pitch falls, with some rasp."""
    out = np.zeros_like(t)
    for start in (0.02, 0.52):
        u = (t - start * t[-1]) / 0.16
        inside = np.clip(u, 0, 1)
        shape = np.maximum(np.sin(np.pi * inside), 0) ** 0.6 * ((u > 0) & (u < 1))
        phase = _TAU * np.cumsum(480 * s * (1.2 - 0.5 * inside)) / SAMPLE_RATE
        voice = sum(np.sin(k * phase) * a for k, a in ((1, 0.6), (2, 1.0), (3, 0.8), (4, 0.4), (5, 0.25)))
        out += shape * (voice + 0.4 * _noise(len(t), rng))
    return out


def whistle(t: Wave, rng: Rng, s: float) -> Wave:
    """Return a whistle that slides up."""
    hz = (1500 + 1100 * t / t[-1]) * s * rng.uniform(0.95, 1.05)
    return _sweep(t, hz) + 0.03 * _noise(len(t), rng)


def glass(t: Wave, rng: Rng, s: float) -> Wave:
    """Return breaking glass: a burst and many high partials."""
    burst = band(_noise(len(t), rng), 2500 * s, 7500) * np.exp(-t * 18)
    out = 0.8 * burst / (np.abs(burst).max() + 1e-6)
    for _ in range(7):
        start, hz = rng.uniform(0, 0.5) * t[-1], rng.uniform(2600, 5800) * s
        u = np.maximum(t - start, 0)
        out += 0.3 * np.sin(_TAU * hz * u) * np.exp(-u * 25) * (u > 0)
    return out


def horn(t: Wave, rng: Rng, s: float) -> Wave:
    """Return a car horn: two steady reedy tones."""
    out = np.zeros_like(t)
    for hz in (400 * s, 505 * s):
        for k in range(1, 9):
            out += np.sin(_TAU * hz * k * t + k) / k**0.7
    return out


def steps(t: Wave, rng: Rng, s: float) -> Wave:
    """Return footsteps on gravel: three soft crunches."""
    crunch = band(_noise(len(t), rng), 500 * s, 3200 * s)
    phase = (t / t[-1] * 3) % 1
    return crunch * np.exp(-((phase - 0.3) ** 2) / 0.018)


def engine(t: Wave, rng: Rng, s: float) -> Wave:
    """Return an engine: a low pulse train with rough amplitude."""
    rate = 38 * s * rng.uniform(0.9, 1.1)
    pulses = sum(np.sin(_TAU * rate * k * t + k * k) / k**0.5 for k in range(1, 18))
    return (pulses * (1 + 0.35 * np.sin(_TAU * rate / 2 * t))).astype(np.float32)


RECIPES = {
    "bell": bell,
    "knock": knock,
    "siren": siren,
    "alarm": alarm,
    "drip": drip,
    "thunder": thunder,
    "dog": dog,
    "whistle": whistle,
    "glass": glass,
    "horn": horn,
    "steps": steps,
    "engine": engine,
}
BACKGROUNDS = ("silence", "rain", "wind", "street", "forest")


def event(name: str, seconds: float, far: bool, rng: Rng, heldout: bool) -> Wave:
    """Return one event at RMS 0.1, or, when far, 12 dB lower, dull and with an echo."""
    scales = _SCALES["heldout" if heldout else "train"]
    low, high = scales[int(rng.integers(len(scales)))]
    t = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    wave = np.asarray(RECIPES[name](t, rng, rng.uniform(low, high)), np.float32)
    edge = min(160, len(wave) // 4)
    wave[:edge] *= np.linspace(0, 1, edge, dtype=np.float32)
    wave[-4 * edge :] *= np.linspace(1, 0, len(wave[-4 * edge :]), dtype=np.float32)
    wave *= 0.1 / (np.sqrt(np.mean(wave**2)) + 1e-6)
    return _distant(wave, rng) if far else wave


def _distant(wave: Wave, rng: Rng) -> Wave:
    """Return the wave as from afar; the low-pass is gentle, so that high sounds stay audible."""
    size = _fft_size(len(wave))
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    low = np.fft.irfft(np.fft.rfft(wave, size) / np.sqrt(1 + (hz / 900) ** 2), size)
    wave = low[: len(wave)].astype(np.float32)
    delay = round(rng.uniform(0.03, 0.06) * SAMPLE_RATE)
    echo = wave.copy()
    for k in (1, 2, 3):
        if k * delay < len(wave):
            echo[k * delay :] += 0.5**k * wave[: -k * delay]
    gain = 0.1 * 10 ** (-(12 + rng.uniform(-1, 1)) / 20)
    return echo * (gain / (np.sqrt(np.mean(echo**2)) + 1e-6))


def background(name: str, samples: int, rng: Rng) -> Wave:
    """Return a background at RMS 1; ``silence`` is a faint hiss."""
    white = _noise(samples, rng)
    t = np.arange(samples, dtype=np.float32) / SAMPLE_RATE
    if name == "rain":
        wave = band(white, 1500, 7000) * (1 + 0.2 * band(_noise(samples, rng), 5, 60))
    elif name == "wind":
        wave = band(white, 150, 600) * (1 + 0.7 * np.sin(_TAU * rng.uniform(0.4, 0.8) * t + rng.uniform(0, 6)))
    elif name == "street":
        wave = band(white, 40, 160) + 0.15 * band(_noise(samples, rng), 160, 1200)
    elif name == "forest":
        chirps = np.sin(_TAU * (4300 * t + 90 * np.sin(_TAU * 9 * t))) * (
            np.sin(_TAU * rng.uniform(1.2, 1.8) * t) > 0.6
        )
        wave = 0.35 * band(white, 2500, 6000) + chirps
    else:
        wave = white
    return (wave / (np.sqrt(np.mean(wave**2)) + 1e-6)).astype(np.float32)
