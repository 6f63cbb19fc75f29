"""Augmentation: exact ratios, lengths, determinism, and what it must leave alone."""

import numpy as np
import pytest

from earwitness.data import augment as a
from earwitness.data import codecs
from earwitness.records import Sample

RATE = 16_000


def rng(seed=0):
    return np.random.default_rng(seed)


def chirp(seconds=1.0):
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (300 + 500 * t) * t)).astype(np.float32)


def peak_hz(wave):
    return np.argmax(np.abs(np.fft.rfft(wave))) * RATE / len(wave)


@pytest.mark.parametrize("kind", a.NOISES)
@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_has_the_ratio_asked_for(kind, snr):
    wave = chirp()
    noise = a.add_noise(wave, rng(), snr, kind, [chirp(0.3)[::-1], chirp(2)]) - wave
    assert 10 * np.log10(np.mean(wave**2.0) / np.mean(noise**2.0)) == pytest.approx(snr, abs=0.01)


def test_pink_noise_falls_by_three_decibels_an_octave():
    wave = chirp(4)
    power = np.abs(np.fft.rfft(a.add_noise(wave, rng(), 0.0, "pink") - wave)) ** 2
    bands = [power[4 * low : 8 * low].mean() for low in (200, 400, 800, 1600)]
    assert np.diff(10 * np.log10(bands)) == pytest.approx([-3] * 3, abs=0.8)


def test_noise_edges():
    silent = np.zeros(100, np.float32)
    assert np.array_equal(a.add_noise(silent, rng(), 10.0), silent)
    with pytest.raises(ValueError, match="babble without clips"):
        a.add_noise(chirp(), rng(), 10.0, "babble")
    with pytest.raises(ValueError, match="noise 'blue' is not one of"):
        a.add_noise(chirp(), rng(), 10.0, "blue")


def test_reverb_rings_on_and_keeps_level_and_place():
    wave = np.zeros(RATE, np.float32)
    wave[1000] = 0.5
    wet = a.reverberate(wave, rng(), 0.4)
    assert len(wet) == len(wave) and np.argmax(np.abs(wet)) == 1000
    assert np.mean(wet**2.0) == pytest.approx(np.mean(wave**2.0), rel=1e-3)
    assert np.abs(wet[:990]).max() < 1e-5 and np.abs(wet[1500:4000]).max() > 1e-3
    early, late = (np.mean(wet[s : s + 800] ** 2.0) for s in (1400, 1400 + 3200))
    assert 10 * np.log10(early / late) == pytest.approx(60 * 0.2 / 0.4, abs=3)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_moves_length_and_pitch(factor):
    tone = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE).astype(np.float32)
    out = a.change_speed(tone, rng(), factor)
    assert len(out) == pytest.approx(RATE / factor, abs=2)
    assert peak_hz(out) == pytest.approx(500 * factor, rel=0.01)
    assert out.dtype == np.float32


def test_gain_and_shift():
    wave = chirp()
    assert 20 * np.log10(np.abs(a.change_gain(wave, rng(), -6.0)).max() / np.abs(wave).max()) == pytest.approx(-6)
    late, early = a.shift_time(wave, rng(), 0.25), a.shift_time(wave, rng(), -0.25)
    assert np.array_equal(late[4000:], wave) and not late[:4000].any()
    assert np.array_equal(early[:RATE], wave) and len(early) == RATE + 4000


@pytest.mark.parametrize("name", codecs.CODECS)
def test_codecs_keep_length_and_step(name):
    wave = chirp()
    out = codecs.CODECS[name](wave, rng())
    assert out.dtype == np.float32 and out.shape == wave.shape
    assert np.corrcoef(out, wave)[0, 1] > 0.97 and not np.array_equal(out, wave)
    assert np.array_equal(out, codecs.CODECS[name](wave, rng()))
    assert np.isfinite(codecs.CODECS[name](np.zeros(5, np.float32), rng())).all()


def test_telephone_band():
    noise = rng().standard_normal(RATE).astype(np.float32) * 0.1
    spectrum = np.abs(np.fft.rfft(codecs.low_pass(noise, rng(), codecs.TELEPHONE_HZ))) ** 2
    assert spectrum[4000:].max() < 1e-6 * spectrum[:3000].mean()


def test_augment_is_a_function_of_seed_sample_and_epoch():
    config = a.Augmentation(1.0, reverb=1.0, noise=1.0, gain=1.0, codec=1.0, shift=1.0)
    wave = chirp()
    before = wave.copy()
    first = a.augment(wave, config, 1, "x", 0)
    np.random.random(3)
    assert np.array_equal(first, a.augment(wave, config, 1, "x", 0))
    assert np.array_equal(wave, before)
    assert first.dtype == np.float32 and np.abs(first).max() <= 1
    others = [a.augment(wave, config, *key) for key in ((2, "x", 0), (1, "y", 0), (1, "x", 1))]
    assert all(len(o) != len(first) or not np.array_equal(o, first) for o in others)


def test_leaving_an_operation_out_does_not_change_the_others():
    config = a.Augmentation(gain=1.0, noise=0.0, reverb=0.0, speed=0.0, codec=0.0, shift=0.0)
    every = a.Augmentation(gain=1.0, noise=1.0, reverb=1.0, speed=1.0, codec=1.0, shift=1.0)
    assert np.array_equal(a.augment(chirp(), config, 0, "x", 0), a.augment(chirp(), every, 0, "x", 0, ("gain",)))


def test_probabilities_are_met():
    config = a.Augmentation(gain=0.5, noise=0, reverb=0, speed=0, codec=0, shift=0)
    wave = chirp(0.01)
    changed = sum(not np.array_equal(wave, a.augment(wave, config, 0, str(i), 0)) for i in range(400))
    assert 160 < changed < 240


def test_safe_operations():
    def sample(task="", tags=()):
        return Sample(id="x", question="?", task=task, tags=tags)

    assert a.safe_operations(sample("spoken_math")) == a.OPERATIONS
    assert "speed" not in a.safe_operations(sample("pitch_comparison"))
    assert "gain" not in a.safe_operations(sample(tags=("loudness",)))
    assert "noise" not in a.safe_operations(sample("count"))


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="Augmentation.noise is 2"):
        a.Augmentation(noise=2)
    with pytest.raises(ValueError, match=r"Augmentation.speed_factor is \(0, 1\)"):
        a.Augmentation(speed_factor=(0, 1))
    with pytest.raises(ValueError, match="'gsm', which is not one of mu_law"):
        a.Augmentation(codecs=("gsm",))
    with pytest.raises(ValueError, match="sample x: a clip to augment needs one axis"):
        a.augment(np.zeros(0), a.Augmentation(), 0, "x", 0)
