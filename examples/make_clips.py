"""Make the clips in this folder: recordings that share no code with SoundWorld, to try the model outside its world.

    python examples/make_clips.py [FOLDER]

Only numpy and the standard library, no random numbers but seeded ones. Every synthesis method here differs from the
one that SoundWorld uses for a comparable sound.

    two_notes.wav        a plucked string: A3, then E4                      22.05 kHz, mono
    two_sung_notes.wav   a voice sings "ah": E4, then C4                    22.05 kHz, mono
    knock_then_bell.wav  a knock on wood, then a bell                       44.1 kHz, stereo
"""

import pathlib
import sys
import wave

import numpy as np

A3, C4, E4 = 220.00, 261.63, 329.63


def pluck(hz: float, seconds: float, rate: int, seed: int) -> np.ndarray:
    """Return a plucked string (Karplus and Strong 1983): a noise burst in a loop that loses its highs."""
    rng = np.random.default_rng(seed)
    # The averaging filter delays half a sample, the all-pass below the fraction that is left.
    period = rate / hz - 0.5
    whole = int(period - 0.1)
    fraction = period - whole
    coefficient = (1 - fraction) / (1 + fraction)
    burst = rng.random(whole) * 2 - 1
    burst = burst - np.roll(burst, round(whole * 0.2))  # plucked at a fifth of the string
    line, out = list(burst), []
    last_in = last_mean = last_out = 0.0
    for _ in range(round(seconds * rate)):
        sample = line.pop(0)
        mean = 0.996 * 0.5 * (sample + last_in)
        last_out = coefficient * (mean - last_out) + last_mean
        last_in, last_mean = sample, mean
        line.append(last_out)
        out.append(sample)
    return fade(np.array(out), 0.001, 0.04, rate)


def sing(hz: float, seconds: float, rate: int, seed: int) -> np.ndarray:
    """Return a sung "ah": glottal pulses with vibrato and breath, through the resonances of the open mouth."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    vibrato = 1 + 0.006 * np.sin(2 * np.pi * 5.5 * t) * np.clip((t - 0.1) / 0.2, 0, 1)
    phase = np.cumsum(hz * vibrato / rate) % 1
    # An opening and a faster closing phase, then closed: the airflow of Rosenberg's model (1971).
    opening, closing = 0.4, 0.16
    flow = np.where(
        phase < opening,
        0.5 - 0.5 * np.cos(np.pi * phase / opening),
        np.where(phase < opening + closing, np.cos(0.5 * np.pi * (phase - opening) / closing), 0.0),
    )
    source = np.diff(flow, prepend=0.0) + 0.004 * rng.standard_normal(len(t))
    spectrum = np.fft.rfft(source, 2 * len(t))
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * len(t), 1))
    for centre_hz, width_hz in ((730, 90), (1090, 110), (2440, 140), (3300, 200), (3750, 240)):
        radius, angle = np.exp(-np.pi * width_hz / rate), 2 * np.pi * centre_hz / rate
        spectrum = spectrum / (1 - 2 * radius * np.cos(angle) * z + radius**2 * z**2)
    return fade(np.fft.irfft(spectrum)[: len(t)], 0.05, 0.08, rate)


def ring(partials: list[tuple[float, float, float]], seconds: float, rate: int) -> np.ndarray:
    """Return a struck body: decaying partials, each (Hz, amplitude, seconds to fall by 60 dB)."""
    t = np.arange(round(seconds * rate)) / rate
    return np.sum([a * np.exp(-6.9 * t / fall) * np.sin(2 * np.pi * hz * t) for hz, a, fall in partials], axis=0)


def knock(rate: int) -> np.ndarray:
    """Return a knuckle on a wooden door: a few short, low modes of the panel and the click of the contact."""
    out = ring(
        [(182, 1.0, 0.11), (311, 0.7, 0.08), (467, 0.45, 0.06), (803, 0.25, 0.04), (1490, 0.12, 0.02)], 0.3, rate
    )
    click = np.random.default_rng(3).standard_normal(round(0.004 * rate))
    out[: len(click)] += 0.4 * click * np.linspace(1, 0, len(click)) ** 2
    return fade(out, 0.0005, 0.02, rate)


def bell(rate: int) -> np.ndarray:
    """Return a small hand bell: the church bell's partials, the tierce a minor third, each doubled so that it beats."""
    ratios = ((0.5, 0.35, 1.6), (1.0, 0.8, 1.3), (1.2, 0.6, 1.0), (1.5, 0.3, 0.8), (2.0, 0.7, 0.7), (2.67, 0.3, 0.4))
    partials = [(880 * r * d, a / 2, fall) for r, a, fall in ratios for d in (1.0, 1.0021)]
    return fade(ring([*partials, (880 * 5.43, 0.15, 0.1)], 0.75, rate), 0.001, 0.15, rate)


def fade(samples: np.ndarray, rise_seconds: float, fall_seconds: float, rate: int) -> np.ndarray:
    """Return the samples with a soft start and end."""
    up, down = np.linspace(0, 1, round(rise_seconds * rate)), np.linspace(1, 0, round(fall_seconds * rate))
    out = samples / np.abs(samples).max()
    out[: len(up)] *= up
    out[-len(down) :] *= down
    return out


def in_sequence(parts: list[np.ndarray], gap_seconds: float, rate: int) -> np.ndarray:
    """Return the parts one after another with a tenth of a second before and after."""
    edge, gap = np.zeros(round(0.1 * rate)), np.zeros(round(gap_seconds * rate))
    pieces = [edge]
    for i, part in enumerate(parts):
        pieces += [gap, part] if i else [part]
    return np.concatenate([*pieces, edge])


def in_room(samples: np.ndarray, rate: int, seed: int) -> np.ndarray:
    """Return (frames, 2): the sound with the faint, different reverberation that each of two microphones hears."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(0.25 * rate)) / rate
    size = len(samples) + len(t)
    sides = []
    for delay_seconds in (0.0, 0.0003):
        tail = 0.012 * rng.standard_normal(len(t)) * np.exp(-6.9 * t / 0.22)
        tail[round(delay_seconds * rate)] += 1
        sides.append(np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)])
    return np.stack(sides, axis=1)


def write(path: pathlib.Path, samples: np.ndarray, rate: int) -> None:
    """Write (frames,) or (frames, 2) as 16-bit WAV at a peak of 0.6, over a floor of faint noise."""
    noise = np.random.default_rng(9).standard_normal(samples.shape)
    loud = 0.6 * samples / np.abs(samples).max() + 0.0003 * noise
    with wave.open(str(path), "wb") as out:
        out.setnchannels(samples.ndim)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.rint(loud * 32767).astype("<i2").tobytes())


def main(argv: list[str]) -> int:
    """Write the three clips into a folder (by default this one)."""
    folder = pathlib.Path(argv[0]) if argv else pathlib.Path(__file__).parent
    rate = 22_050
    notes = [pluck(A3, 0.45, rate, 1), pluck(E4, 0.45, rate, 2)]
    write(folder / "two_notes.wav", in_sequence(notes, 0.1, rate), rate)
    sung = [sing(E4, 0.55, rate, 1), sing(C4, 0.55, rate, 2)]
    write(folder / "two_sung_notes.wav", in_sequence(sung, 0.1, rate), rate)
    rate = 44_100
    struck = in_sequence([0.8 * knock(rate), bell(rate)], 0.1, rate)
    write(folder / "knock_then_bell.wav", in_room(struck, rate, 4), rate)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
