"""Augmentation of speech questions: what is heard gets worse, what is asked stays answerable.

The report augments its 3,000 speech questions for reinforcement learning (section 3.2) and gives no details, so every
operation, probability and range here is ours. Each operation is a pure function of (wave, rng, ...): mono float32
at 16 kHz in and out. ``augment`` draws from (seed, sample id, epoch) alone, so that any process, in any order and after
any resume, hears the same clip.

Words stay what they are under all operations. Other answers do not: speed moves pitch, tempo and times; gain,
loudness; reverberation and low-pass, distance and scene; noise adds a sound; shift moves times. ``safe_operations``
leaves out what would change the answer of a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.audio import SAMPLE_RATE
from earwitness.data import codecs
from earwitness.records import Sample

OPERATIONS = ("speed", "reverb", "noise", "gain", "codec", "shift")
"""In the order in which they are applied: the speaker, the room, the room's noise, the microphone, the line."""

_CHANGES = {
    "speed": ("pitch", "tempo", "rhythm", "rate", "duration", "length", "time", "speaker", "age", "gender", "emotion"),
    "reverb": ("distance", "near", "scene", "room", "duration", "length"),
    "noise": ("scene", "background", "event", "sound", "noise", "count", "loudness"),
    "gain": ("loudness", "volume", "distance", "trend"),
    "codec": ("timbre", "instrument", "quality", "distance"),
    "shift": ("duration", "length", "time", "start"),
}
NOISES = ("white", "pink", "babble")


@dataclass(frozen=True)
class Augmentation:
    """Probabilities (0..1) of the operations and the ranges that they draw from, uniformly. All values are ours."""

    speed: float = 0.3
    speed_factor: tuple[float, float] = (0.9, 1.1)
    """Above 1 is faster and higher."""
    reverb: float = 0.3
    reverb_seconds: tuple[float, float] = (0.15, 0.6)
    """Time in which the tail falls by 60 dB."""
    noise: float = 0.5
    noise_snr_db: tuple[float, float] = (5.0, 25.0)
    gain: float = 0.5
    gain_db: tuple[float, float] = (-10.0, 6.0)
    codec: float = 0.3
    codecs: tuple[str, ...] = ("mu_law", "low_pass", "bits")
    """Names of ``codecs.CODECS``; "mp3" and "opus" take about a hundred times longer and depend on FFmpeg's version."""
    shift: float = 0.3
    shift_seconds: tuple[float, float] = (0.0, 0.5)

    def __post_init__(self) -> None:
        for name in OPERATIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Augmentation.{name} is {getattr(self, name)}; give a probability from 0 to 1")
        for name in ("speed_factor", "reverb_seconds", "noise_snr_db", "gain_db", "shift_seconds"):
            low, high = getattr(self, name)
            if not low <= high or (name == "speed_factor" and low <= 0) or ("seconds" in name and low < 0):
                raise ValueError(
                    f"Augmentation.{name} is {(low, high)}; give (low, high), speed above 0, seconds from 0"
                )
        for name in self.codecs:
            if name not in codecs.CODECS:
                raise ValueError(f"Augmentation.codecs has {name!r}, which is not one of {', '.join(codecs.CODECS)}")


def generator(seed: int, sample_id: str, epoch: int, operation: str = "") -> np.random.Generator:
    """Return the random generator of an operation on a sample in an epoch; no other state enters."""
    digest = hashlib.sha256(f"{seed}\n{epoch}\n{operation}\n{sample_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def safe_operations(sample: Sample) -> tuple[str, ...]:
    """Return the operations that leave the answer right, as far as the sample's task and tags say.

    An operation is left out if a word of ``task`` or ``tags`` names what it changes. The question's text is not read:
    data without tasks and tags are taken to ask about words.
    """
    words = set(" ".join((sample.task, *sample.tags)).lower().replace("_", " ").replace("-", " ").split())
    return tuple(name for name in OPERATIONS if not words & set(_CHANGES[name]))


def augment(
    wave: np.ndarray,
    config: Augmentation,
    seed: int,
    sample_id: str,
    epoch: int,
    operations: Collection[str] = OPERATIONS,
    babble: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Return an augmented copy of a clip (L,); a pure function of its arguments.

    Each operation draws from a generator of its own, so that leaving one out does not change the others. A result
    beyond full scale is scaled back to it.

    Args:
        wave: float32 at 16 kHz.
        config: probabilities and ranges.
        seed: of the run.
        sample_id: of the sample.
        epoch: how often the sample was seen before.
        operations: those that may be applied, see ``safe_operations``.
        babble: clips of speech to make babble from; without them noise is white or pink.

    Raises:
        ValueError: the wave has no samples, or more than one axis.
    """
    wave = np.array(wave, dtype=np.float32)
    if wave.ndim != 1 or not len(wave):
        raise ValueError(f"sample {sample_id}: a clip to augment needs one axis of samples, not shape {wave.shape}")
    steps = _steps(config, babble)
    for name in OPERATIONS:
        rng = generator(seed, sample_id, epoch, name)
        if name in operations and rng.random() < getattr(config, name):
            wave = steps[name](wave, rng)
    peak = float(np.abs(wave).max())
    return wave / np.float32(peak) if peak > 1 else wave


def _steps(config: Augmentation, babble: Sequence[np.ndarray]) -> dict[str, Callable]:
    kinds = NOISES if len(babble) else NOISES[:2]
    return {
        "speed": lambda wave, rng: change_speed(wave, rng, rng.uniform(*config.speed_factor)),
        "reverb": lambda wave, rng: reverberate(wave, rng, rng.uniform(*config.reverb_seconds)),
        "noise": lambda wave, rng: add_noise(
            wave, rng, rng.uniform(*config.noise_snr_db), kinds[rng.integers(len(kinds))], babble
        ),
        "gain": lambda wave, rng: change_gain(wave, rng, rng.uniform(*config.gain_db)),
        "codec": lambda wave, rng: (
            codecs.CODECS[config.codecs[rng.integers(len(config.codecs))]](wave, rng) if config.codecs else wave
        ),
        "shift": lambda wave, rng: shift_time(wave, rng, rng.uniform(*config.shift_seconds) * rng.choice([-1, 1])),
    }


def add_noise(
    wave: np.ndarray,
    rng: np.random.Generator,
    snr_db: float,
    kind: str = "white",
    babble: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Return the clip with noise; the ratio of mean powers over the whole clip is ``snr_db``, exactly.

    ``pink`` falls by 3 dB an octave; ``babble`` is the sum of up to four of the given clips, each from a random place.
    A silent clip stays as it is, since no noise has a ratio to it.
    """
    if kind not in NOISES or (kind == "babble" and not len(babble)):
        raise ValueError(f"noise {kind!r} is not one of {', '.join(NOISES)}, or babble without clips to make it from")
    noise = rng.standard_normal(len(wave))
    if kind == "pink":
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(wave))
    elif kind == "babble":
        chosen = rng.permutation(len(babble))[:4]
        noise = np.sum([_excerpt(babble[i], rng, len(wave)) for i in chosen], axis=0)
    power, noise_power = np.mean(wave.astype(np.float64) ** 2), np.mean(noise**2)
    if not power or not noise_power:
        return wave.copy()
    scale = np.sqrt(power / noise_power / 10 ** (snr_db / 10))
    return (wave + scale * noise).astype(np.float32)


def _excerpt(clip: np.ndarray, rng: np.random.Generator, length: int) -> np.ndarray:
    """Return a stretch of a clip from a random place, going round at its end, at a mean power of 1."""
    clip = np.asarray(clip, dtype=np.float64)
    stretch = np.take(clip, np.arange(length) + rng.integers(len(clip)), mode="wrap")
    return stretch / max(float(np.sqrt(np.mean(stretch**2))), 1e-9)


def reverberate(
    wave: np.ndarray, rng: np.random.Generator, seconds: float, direct_to_tail_db: float = 6.0
) -> np.ndarray:
    """Return the clip in a synthetic room; length and mean power stay.

    The room's impulse response is one direct sound and, from 2 to 10 ms on, noise that falls by 60 dB in ``seconds``,
    ``direct_to_tail_db`` weaker in all. The direct sound is not delayed; the tail past the end is cut.
    """
    length = max(2, int(seconds * SAMPLE_RATE))
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail[: int(rng.uniform(0.002, 0.01) * SAMPLE_RATE)] = 0
    energy = float(np.sum(tail**2))
    response = tail * np.sqrt(10 ** (-direct_to_tail_db / 10) / energy) if energy else tail
    response[0] = 1
    size = 1 << (len(wave) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(response, size), size)[: len(wave)]
    power = np.mean(wet**2)
    scale = np.sqrt(np.mean(wave.astype(np.float64) ** 2) / power) if power else 1.0
    return (wet * scale).astype(np.float32)


def change_speed(wave: np.ndarray, rng: np.random.Generator, factor: float) -> np.ndarray:
    """Return the clip played ``factor`` times as fast, by resampling: pitch and tempo move together.

    Needs the ``soxr`` package. ``rng`` is not used.
    """
    import soxr

    if not factor > 0:
        raise ValueError(f"a speed factor is {factor}; give a number above 0")
    out = soxr.resample(np.asarray(wave, dtype=np.float32), SAMPLE_RATE * factor, SAMPLE_RATE)
    return out if len(out) else wave.copy()


def change_gain(wave: np.ndarray, rng: np.random.Generator, db: float) -> np.ndarray:
    """Return the clip louder by ``db``; nothing is clipped here. ``rng`` is not used."""
    return (wave * 10 ** (db / 20)).astype(np.float32)


def shift_time(wave: np.ndarray, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Return the clip after silence of ``seconds``, or, if negative, before it: nothing is cut. ``rng`` is not used."""
    silence = np.zeros(int(round(abs(seconds) * SAMPLE_RATE)), dtype=np.float32)
    return np.concatenate([silence, wave] if seconds > 0 else [wave, silence])
