"""Sound in and out of a conversation: formats, streaming, bounds, refusals."""

import base64
import io

import numpy as np
import pytest
import soundfile
import soxr

from earwitness.realtime import g711
from earwitness.realtime.audio_in import SoundBuffer, SoundIn, decode_base64, whole_clip
from earwitness.realtime.audio_out import SoundOut, bytes_per_second
from earwitness.realtime.resample import Resampler
from earwitness.realtime.shapes import Refusal


def b64(sound: bytes) -> str:
    return base64.b64encode(sound).decode()


def test_g711_is_that_of_libsndfile_for_every_sample():
    samples = np.arange(-32768, 32768).astype(np.int16)
    for law, subtype in (("mu", "ULAW"), ("a", "ALAW")):
        file = io.BytesIO()
        levels = g711.decode(np.arange(256, dtype=np.uint8), law)
        soundfile.write(file, levels, 8000, format="RAW", subtype=subtype)
        again = np.frombuffer(file.getvalue(), np.uint8)
        assert np.array_equal(g711.decode(again, law), levels)
        file.seek(0)
        read, _ = soundfile.read(file, dtype="int16", channels=1, samplerate=8000, format="RAW", subtype=subtype)
        assert np.array_equal(read, levels)
        ours = g711.decode(g711.encode(samples, law), law).astype(int)
        file = io.BytesIO()
        soundfile.write(file, samples, 8000, format="RAW", subtype=subtype)
        theirs = g711.decode(np.frombuffer(file.getvalue(), np.uint8), law).astype(int)
        # libsndfile drops the last bits before it chooses, which moves its choices a little; ours may not be worse.
        assert (np.abs(ours - samples) - np.abs(theirs - samples)).max() <= 8
        assert np.mean(ours != theirs) < 0.02


def test_g711_levels_of_the_standard():
    assert g711.decode(np.array([0x00, 0x80, 0xFF, 0x7F], np.uint8), "mu").tolist() == [-32124, 32124, 0, 0]
    assert g711.decode(np.array([0x2A, 0xAA, 0xD5, 0x55], np.uint8), "a").tolist() == [-32256, 32256, 8, -8]
    assert g711.encode(np.array([-32768, 32767, 0], np.int16), "mu").tolist() == [0x00, 0x80, 0xFF]


RATES = [(24000, 16000), (8000, 16000), (16000, 24000), (22050, 24000), (22050, 8000), (16000, 8000), (24000, 24000)]


def band(rate: int, seconds: float, highest: float) -> np.ndarray:
    """Noise without anything above ``highest`` Hz."""
    count = int(rate * seconds)
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / rate) > highest] = 0
    wave = np.fft.irfft(spectrum, count) * np.hanning(count)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_resampling_agrees_with_soxr(source, target):
    wave = band(source, 0.5, 0.38 * min(source, target))
    stream = Resampler(source, target)
    out = np.concatenate([stream.push(wave), stream.end()])
    assert len(out) == -(-len(wave) * target // source)
    reference = soxr.resample(wave, source, target, quality="VHQ")
    count = min(len(out), len(reference))
    error = np.sqrt(np.mean((out[:count] - reference[:count]) ** 2) / np.mean(reference**2))
    assert error < 1e-3


def test_resampling_keeps_out_what_would_alias():
    t = np.arange(24000) / 24000
    stream = Resampler(24000, 16000)
    assert np.abs(stream.push(np.sin(2 * np.pi * 9500 * t).astype(np.float32))[100:]).max() < 1e-3


@pytest.mark.parametrize(("source", "target"), RATES)
def test_pieces_of_any_size_give_the_same_wave_without_waiting(source, target):
    wave, rng = band(source, 0.4, 3000), np.random.default_rng(2)
    whole = Resampler(source, target)
    expected = np.concatenate([whole.push(wave), whole.end()])
    stream, parts, given = Resampler(source, target), [], 0
    while given < len(wave):
        size = int(rng.integers(0, 200))
        parts.append(stream.push(wave[given : given + size]))
        given = min(given + size, len(wave))
        late = given / source - sum(map(len, parts)) / target
        assert late <= 0.0032
    parts.append(stream.end())
    assert np.allclose(np.concatenate(parts), expected, atol=1e-6)
    again = np.concatenate([stream.push(wave), stream.end()])
    assert np.allclose(again, expected, atol=1e-6)


@pytest.mark.parametrize("form", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_out_and_in_again(form):
    wave = band(16000, 0.5, 3000)
    out = SoundOut(form, 16000)
    sound = out.push(wave[:1000]) + out.push(wave[1000:]) + out.end()
    assert len(sound) == pytest.approx(0.5 * bytes_per_second(form), abs=2)
    incoming = SoundIn(form)
    step = 320 if form != "audio/pcm" else 960
    pieces = [incoming.push(b64(sound[i : i + step])) for i in range(0, len(sound), step)]
    back = np.concatenate([*pieces, incoming.end()])
    assert np.array_equal(back, whole_clip(b64(sound), form))
    error = np.sqrt(np.mean((back[: len(wave)] - wave[: len(back)]) ** 2) / np.mean(wave**2))
    assert error < (0.002 if form == "audio/pcm" else 0.03)


def test_loud_and_broken_waves_are_clipped_not_wrapped():
    samples = np.frombuffer(SoundOut("audio/pcm", 24000).push(np.array([2, -2, np.nan, 0.5], np.float32)), "<i2")
    assert samples.tolist() == [32767, -32768, 0, 16384]


def test_bad_sound_is_refused_and_leaves_the_stream_as_it_was():
    wave = np.arange(960, dtype="<i2").tobytes()
    clean, troubled = SoundIn("audio/pcm"), SoundIn("audio/pcm")
    clean.push(b64(wave))
    troubled.push(b64(wave))
    for bad, code, words in (
        (b64(wave[:-1]), "invalid_audio", "odd number"),
        ("@@@@", "invalid_value", "not base64"),
        ("abc", "invalid_value", "not base64"),
        ("AAAA\n", "invalid_value", "not base64"),
        ("\u00e4AAA", "invalid_value", "not base64"),
    ):
        with pytest.raises(Refusal, match=words) as refusal:
            troubled.push(bad)
        assert (refusal.value.code, refusal.value.param) == (code, "audio")
    assert np.array_equal(clean.push(b64(wave)), troubled.push(b64(wave)))


def test_fifteen_mebibytes_pass_and_a_byte_more_does_not():
    assert len(decode_base64(b64(bytes(15 * 2**20)))) == 15 * 2**20
    with pytest.raises(Refusal, match="15 MiB") as refusal:
        decode_base64(b64(bytes(15 * 2**20 + 1)))
    assert refusal.value.code == "audio_too_large"


def test_buffer_is_bounded_and_addressed_by_sample_number():
    buffer = SoundBuffer(1.0)
    for i in range(10):
        buffer.add(np.full(1600, i, np.float32))
    with pytest.raises(Refusal, match="at most 1 seconds") as refusal:
        buffer.add(np.zeros(1, np.float32))
    assert refusal.value.code == "input_audio_buffer_overflow" and buffer.next == 16000
    buffer.forget_before(2000)
    assert (buffer.first, buffer.held, sum(map(len, buffer.pieces))) == (2000, 14000, 14000)
    assert buffer.pieces[0].base is None
    assert buffer.take(3100, 3300).tolist() == [1] * 100 + [2] * 100
    assert buffer.take(0, 2100).tolist() == [1] * 100
    buffer.forget_before(10**9)
    assert (buffer.held, buffer.next, len(buffer.take(0, 10**9))) == (0, 16000, 0)
