"""Simple instruments and noises with known settings, written for the tests; nothing here comes from SoundWorld."""

import numpy as np

RATE = 16_000
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# Amplitudes of the harmonics 1, 2, 3 ...
REED = [1, 0.1, 0.75, 0.1, 0.5, 0.08, 0.14, 0.07]
BRASS = [0.6, 0.9, 1, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1]
STRING = [1, 0.9, 0.5, 0.45, 0.4, 0.25, 0.2, 0.18, 0.12, 0.1, 0.07]
SAW = [1 / k for k in range(1, 13)]
CLARINET = [1, 0.02, 0.55, 0.03, 0.35, 0.03, 0.2, 0.02, 0.1]
PURE = [1.0]
PIPE = [1, 0.5, 0.15, 0.25, 0.05]


def hz_of(midi):
    return 440 * 2 ** ((midi - 69) / 12)


def name_of(midi):
    return f"{NAMES[midi % 12]}{midi // 12 - 1}"


def tone(hz, seconds, harmonics=REED, level_db=-20.0, decay=0.0, vibrato_cents=0.0, attack=0.02, vibrato_hz=5.5):
    """Return a tone of known pitch, length and RMS level; ``decay`` in 1/s makes it struck."""
    t = np.arange(round(seconds * RATE)) / RATE
    bend = vibrato_cents / 1200 * np.log(2) * np.sin(2 * np.pi * vibrato_hz * t)
    phase = 2 * np.pi * np.cumsum(hz * np.exp(bend)) / RATE
    wave = sum(a * np.sin((k + 1) * phase + k) for k, a in enumerate(harmonics) if (k + 1) * hz < 7500)
    wave = wave * np.exp(-decay * t) * np.minimum(1, t / attack) * np.clip((t[-1] - t) / 0.02, 0, 1)
    return wave * 10 ** (level_db / 20) / np.sqrt(np.mean(wave**2))


def fm(hz, seconds, level_db=-20.0, index=1.4):
    """Return a tone by frequency modulation at the pitch itself, whose brightness decays."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * hz * t + index * np.exp(-2 * t) * np.sin(2 * np.pi * hz * t))
    wave *= np.minimum(1, t / 0.01) * np.clip((t[-1] - t) / 0.03, 0, 1)
    return wave * 10 ** (level_db / 20) / np.sqrt(np.mean(wave**2))


def pluck(hz, seconds, level_db=-20.0, seed=0):
    """Return a plucked string by Karplus and Strong's loop of a noise burst, tuned by resampling."""
    rng = np.random.default_rng(seed)
    period = int(np.ceil(RATE / hz - 0.5))
    made = RATE / (period + 0.5)
    length = round(seconds * RATE * 1.1) + period
    loop = rng.uniform(-1, 1, period)
    out = np.empty(length)
    for i in range(0, length, period):
        part = loop[: length - i]
        out[i : i + period] = part
        loop = 0.998 * 0.5 * (loop + np.concatenate([[out[max(i - 1, 0)]], loop[:-1]]))
    at = np.arange(round(seconds * RATE)) * hz / made
    wave = np.interp(at, np.arange(length), out)
    wave *= np.clip((len(wave) - np.arange(len(wave))) / 320, 0, 1)
    return wave * 10 ** (level_db / 20) / np.sqrt(np.mean(wave**2))


def noise(seconds, level_db=-20.0, seed=0):
    """Return white noise of a known level."""
    wave = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return wave * 10 ** (level_db / 20)


def place(parts, seconds, noise_db=-70.0, seed=0):
    """Return a clip with waves at (start in seconds, wave), over faint noise."""
    out = noise(seconds, noise_db, seed)
    for start, wave in parts:
        first = round(start * RATE)
        wave = wave[: len(out) - first]
        out[first : first + len(wave)] += wave
    return out.astype(np.float32)


def row(notes, gap=0.08, lead=0.15, **more):
    """Return (clip, starts) of waves one after another."""
    parts, at = [], lead
    for wave in notes:
        parts.append((at, wave))
        at += len(wave) / RATE + gap
    return place(parts, at + 0.15, **more), [start for start, _ in parts]
