"""Durations without decoding, encoder frames, recordings that were never finished, and use without audio packages."""

import io
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile

from earwitness import audio


def wav_bytes(wave, rate=16000, **kwargs):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, **{"format": "WAV", **kwargs})
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_duration_of_files(format, tmp_path):
    data = wav_bytes(np.zeros((66_150, 2)), 44_100, format=format)
    (tmp_path / "clip").write_bytes(data)
    with (tmp_path / "clip").open("rb") as file:
        for source in (data, tmp_path / "clip", file):
            assert audio.duration_seconds(source) == pytest.approx(1.5, abs=0.01)
        assert len(audio.load_audio(file)) == pytest.approx(24_000, abs=160), "an open file is left at its start"


def test_duration_of_arrays():
    assert audio.duration_seconds(np.zeros(8000, np.float32)) == 0.5
    assert audio.duration_seconds((np.zeros((2, 8000), np.int16), 8000)) == 1.0


def test_duration_of_bare_aac_is_decoded_and_not_guessed():
    av = pytest.importorskip("av")
    wave = np.concatenate([np.zeros(240_000), np.random.default_rng(0).normal(0, 0.2, 240_000)]).astype(np.float32)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="adts") as out:
        track = out.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        out.mux([*track.encode(frame), *track.encode(None)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a guess from the silent start would also call the file damaged
        assert audio.duration_seconds(buffer.getvalue()) == pytest.approx(10, abs=0.1)


def test_duration_of_what_is_not_audio(tmp_path):
    with pytest.raises(ValueError, match="holds text, not audio"):
        audio.duration_seconds(b"hello there, this is no sound")
    with pytest.raises(FileNotFoundError, match="check the path"):
        audio.duration_seconds(tmp_path / "none.wav")


def test_a_recorder_that_never_wrote_the_lengths():
    """A recorder that crashed leaves both lengths at 0: the samples are there all the same."""
    wave = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)
    data = bytearray(wav_bytes(wave))
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = struct.pack("<I", 0)
    np.testing.assert_allclose(audio.load_audio(bytes(data)), wave, atol=1 / 32768)
    assert audio.duration_seconds(bytes(data)) == 0.5


def test_a_cut_aiff_prints_no_traceback(capfd):
    with pytest.raises(ValueError, match="cannot be decoded"):
        audio.load_audio(wav_bytes(np.zeros(900), format="AIFF")[:40])
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
def test_odd_paths(path):
    with pytest.raises((ValueError, OSError), match="give the path of an audio file|check the path") as caught:
        audio.load_audio(path)
    assert len(str(caught.value)) < 200


def test_encoder_frames_by_rule():
    for num_samples in (1, 321, 16_000, 16_001, 400_000):
        frames = (num_samples + 479) // 160
        assert audio.encoder_frame_count(num_samples) == (frames + 1) // 4
        assert audio.encoder_frame_count(num_samples, "reference") == (frames - 1) // 4


def test_log_mel_refuses_integers():
    with pytest.raises(ValueError, match=r"takes floats in -1\.\.1, not torch\.int16; scale them with load_audio"):
        audio.log_mel(np.zeros(900, np.int16))


def test_the_front_end_needs_no_audio_packages():
    script = (
        "import sys\n"
        "for name in ('soundfile', 'soxr', 'av', 'librosa'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from earwitness import audio\n"
        "assert audio.log_mel(audio.load_audio(np.zeros(1600, np.float32))).shape == (128, 12)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
