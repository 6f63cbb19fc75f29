"""The audio front end: log-mel against the stored reference and librosa, token counts, chunks, WAV out."""

import io
import pathlib

import numpy as np
import pytest
import soundfile
import torch

from earwitness import audio

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def cases():
    return np.load(GOLDEN / "cases.npz")


@pytest.mark.parametrize("index", range(4))
def test_log_mel_is_the_published_one(cases, index):
    wave = cases[f"clip{index}_pcm16"].astype(np.float32) / 32768
    mel = audio.log_mel(wave)
    assert mel.dtype == torch.float32
    np.testing.assert_allclose(mel, cases[f"clip{index}_log_mel"], atol=1e-4)


def test_filters_are_librosas():
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=audio.SAMPLE_RATE, n_fft=audio.N_FFT, n_mels=audio.MEL_BINS)
    np.testing.assert_allclose(audio.mel_filters(), expected, atol=1e-6)


def test_all_token_counts():
    table = np.load(GOLDEN / "audio_token_counts.npz")
    for rule in ("serving", "reference"):
        counts = [audio.audio_token_count(int(n), rule=rule) for n in table["samples"]]
        np.testing.assert_array_equal(counts, table[f"{rule}_rule"])


def test_the_default_rule_is_the_servers():
    assert audio.audio_token_count(11792) == audio.audio_token_count(11792, rule="serving") == 10
    assert audio.audio_token_count(11792, rule="reference") == 9
    assert (audio.audio_token_count(320, "reference"), audio.audio_token_count(321, "reference")) == (0, 1)
    assert audio.audio_token_count(0) == 0


def test_token_counts_refuse_nonsense():
    with pytest.raises(ValueError, match="'fast' is unknown; choose 'serving' or 'reference'"):
        audio.audio_token_count(16000, rule="fast")
    with pytest.raises(ValueError, match="-1 samples"):
        audio.audio_token_count(-1)


@pytest.mark.parametrize("length", [1, 2, 159, 160, 161, 199, 200, 320, 321, 400, 479, 480, 16000, 16001])
def test_log_mel_of_any_length(length):
    mel = audio.log_mel(np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32))
    assert mel.shape == (audio.MEL_BINS, (length + 479) // 160)
    assert torch.isfinite(mel).all()


def test_log_mel_of_silence_is_flat():
    assert torch.unique(audio.log_mel(np.zeros(16000, np.float32))).tolist() == [-1.5]


def test_log_mel_finds_the_tone():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    mel = audio.log_mel(torch.from_numpy(tone))
    assert int(mel[:, 50].argmax()) == int(audio.mel_filters()[:, 25].argmax())  # bin 25 of 40 Hz each
    assert float(mel.max() - mel.min()) == pytest.approx(2.0)  # 80 dB


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros((2, 100)), np.float32(1)])
def test_log_mel_takes_a_mono_waveform(wave):
    with pytest.raises(ValueError, match="load_audio"):
        audio.log_mel(wave)


@pytest.mark.parametrize(
    ("length", "sizes"),
    [(0, []), (1, [1]), (399_999, [399_999]), (400_000, [400_000]), (400_001, [400_000, 1]), (800_000, [400_000] * 2)],
)
def test_chunks(length, sizes):
    wave = np.arange(length, dtype=np.float32)
    chunks = audio.split_chunks(wave)
    assert [len(chunk) for chunk in chunks] == sizes
    if chunks:
        np.testing.assert_array_equal(np.concatenate(chunks), wave)
        assert np.shares_memory(chunks[0], wave)


def test_wav_round_trip(tmp_path):
    wave = np.random.default_rng(0).uniform(-1, 0.999, 5000).astype(np.float32)
    np.testing.assert_allclose(audio.load_audio(audio.encode_wav(wave)), wave, atol=0.6 / 32768)
    audio.write_wav(tmp_path / "clip.wav", wave)
    assert (tmp_path / "clip.wav").read_bytes() == audio.encode_wav(wave)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.wav"]


def test_wav_out_clips_and_is_16_bit():
    info = soundfile.info(io.BytesIO(audio.encode_wav(np.zeros(3))))
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", 3)
    np.testing.assert_allclose(audio.load_audio(audio.encode_wav(np.array([-3, 3, 0.5]))), [-1, 1, 0.5], atol=1e-4)


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros((2, 2)), np.array([0, np.nan])])
def test_wav_out_refuses(wave, tmp_path):
    with pytest.raises(ValueError, match="finite samples"):
        audio.write_wav(tmp_path / "clip.wav", wave)
    assert not list(tmp_path.iterdir())


def test_wav_out_into_a_missing_folder(tmp_path):
    with pytest.raises(OSError, match="cannot write .*clip.wav.*; choose a folder that exists"):
        audio.write_wav(tmp_path / "none" / "clip.wav", np.zeros(10))


def test_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "clip.wav"
    audio.write_wav(path, np.zeros(10))
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match=r"clip\.wav: No space left on device; choose a folder"):
        audio.write_wav(path, np.ones(10))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["clip.wav"]
