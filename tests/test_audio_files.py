"""Reading recordings: every format, rate, depth and channel count, and everything that can be wrong with a file."""

import io
import pathlib
import struct
import subprocess
import sys
import warnings

import av
import numpy as np
import pytest
import soundfile
import soxr
import torch

from earwitness.audio import MAX_SECONDS, load_audio


def tone(rate=16000, seconds=1.0, hz=440.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def wav_bytes(wave, rate=16000, subtype="PCM_16", format="WAV"):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, subtype=subtype, format=format)
    return buffer.getvalue()


def encode(path, wave, rate, codec, video=False):
    """Write a stereo file by PyAV, with a second of black picture before the sound track if video."""
    with av.open(str(path), "w") as out:
        if video:
            picture = out.add_stream("mpeg4", rate=5)
            picture.width = picture.height = picture_size = 64
            picture.pix_fmt = "yuv420p"
        track = out.add_stream(codec, rate=rate, layout="stereo")
        if video:
            for _ in range(5):
                frame = av.VideoFrame(picture_size, picture_size, "yuv420p")
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate = rate
        track.codec_context.bit_rate = 128_000
        resampler = av.AudioResampler(track.format, "stereo", rate, frame_size=track.codec_context.frame_size or None)
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            out.mux(track.encode(piece))


def loudest_hz(wave):
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * 16000 / len(wave)


def check_tone(wave, seconds=1.0, tolerance=0.06, hz=440.0):
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert len(wave) / 16000 == pytest.approx(seconds, abs=tolerance)
    assert loudest_hz(wave) == pytest.approx(hz, abs=3)
    assert np.abs(wave[2000:-2000]).max() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"])
def test_wav_depths(subtype):
    wave = tone()
    loaded = load_audio(wav_bytes(wave, subtype=subtype))
    exact = {"PCM_U8": 0.01, "ULAW": 0.02, "IMA_ADPCM": 0.02}.get(subtype, 1e-4)
    start = 200 if subtype == "IMA_ADPCM" else 0  # its steps need a moment to find the level
    np.testing.assert_allclose(loaded[start:16000], wave[start:], atol=exact)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000])
def test_rates(rate):
    loaded = load_audio(wav_bytes(tone(rate), rate))
    check_tone(loaded, tolerance=0.0001)
    np.testing.assert_allclose(loaded[500:-500], tone()[500 : len(loaded) - 500], atol=2e-3)


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_averaged(channels):
    rows = [tone(hz=200.0 * (i + 1)) for i in range(channels)]
    loaded = load_audio(wav_bytes(np.stack(rows, axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(loaded, np.mean(rows, axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
     ("RF64", "PCM_16"), ("WAVEX", "PCM_24"), ("CAF", "PCM_16")],
)  # fmt: skip
def test_libsndfile_formats(format, subtype, tmp_path):
    path = tmp_path / "no_suffix_is_needed"
    path.write_bytes(wav_bytes(tone(48000), 48000, subtype, format))
    check_tone(load_audio(path))


@pytest.mark.parametrize(
    ("name", "codec", "video"),
    [("a.m4a", "aac", False), ("a.webm", "libopus", False), ("a.opus", "libopus", False), ("a.aac", "aac", False),
     ("a.mp4", "aac", True), ("a.mkv", "ac3", True), ("a.mov", "pcm_s24le", True), ("a.wma", "wmav2", False),
     ("a.ts", "mp2", False)],
)  # fmt: skip
def test_pyav_formats(name, codec, video, tmp_path):
    encode(tmp_path / name, tone(48000), 48000, codec, video)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_audio(str(tmp_path / name))
        check_tone(loaded)
        np.testing.assert_array_equal(load_audio((tmp_path / name).read_bytes()), loaded)


def test_every_kind_of_source(tmp_path):
    data, path = wav_bytes(tone()), tmp_path / "tone.wav"
    path.write_bytes(data)
    expected = load_audio(path)
    pipe = io.BytesIO(data)
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    behind = io.BytesIO(b"other" + data)
    behind.seek(5)
    with path.open("rb") as file:
        for source in (str(path), data, bytearray(data), io.BytesIO(data), file, pipe, behind):
            np.testing.assert_array_equal(load_audio(source), expected)
        assert not file.closed


def test_arrays():
    wave = tone()
    for array in (wave, wave.astype(np.float64), torch.from_numpy(wave), (wave, 16000), np.stack([wave] * 2)):
        np.testing.assert_allclose(load_audio(array), wave, atol=1e-6)
    np.testing.assert_allclose(load_audio(np.stack([wave, -wave], axis=1)), 0 * wave, atol=1e-6)
    np.testing.assert_allclose(load_audio(torch.from_numpy(wave).bfloat16()), wave, atol=2e-3)
    np.testing.assert_array_equal(load_audio(np.array([-(2**15), 0, 2**14], np.int16)), [-1, 0, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([-(2**31), 0, 2**30], np.int32)), [-1, 0, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([0, 128, 192], np.uint8)), [-1, 0, 0.5])
    check_tone(load_audio((tone(44100), 44100)), tolerance=0.0001)
    load_audio(wave)[0] = 9
    assert wave[0] != 9, "the result is the caller's to change"


def test_blocks_equal_the_whole():
    noise = np.random.default_rng(0).normal(0, 0.1, 900_001).astype(np.float32)
    whole = soxr.resample(noise, 44100, 16000)
    loaded = load_audio(wav_bytes(noise, 44100, "FLOAT"))
    assert abs(len(loaded) - len(whole)) <= 1
    np.testing.assert_allclose(loaded[:-1], whole[: len(loaded) - 1], atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 48000, 192000])
def test_one_sample_and_silence(rate):
    assert 1 <= len(load_audio(wav_bytes(np.array([0.5]), rate))) <= 2
    assert not load_audio(wav_bytes(np.zeros(rate), rate)).any()


def sparse_wav(path, rate, seconds, sample_bytes=2):
    """Write the header of a long WAV; its zeros take no room on the disk."""
    size = rate * seconds * sample_bytes
    bits = 8 * sample_bytes
    with path.open("wb") as out:
        out.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt ")
        out.write(struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * sample_bytes, sample_bytes, bits))
        out.write(b"data" + struct.pack("<I", size))
        out.truncate(44 + size)


def test_three_hours_in_bounded_memory(tmp_path):
    pytest.importorskip("resource")
    sparse_wav(tmp_path / "long.wav", 8000, 3 * 3600)
    code = """if True:
        import resource, sys, soundfile, soxr
        from earwitness.audio import load_audio, split_chunks
        load_audio(sys.argv[2])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wave = load_audio(sys.argv[1])
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(len(wave), len(split_chunks(wave)), (after - before) // 1024 - wave.nbytes // 2**20)
    """
    (tmp_path / "short.wav").write_bytes(wav_bytes(tone()))
    command = [sys.executable, "-c", code, str(tmp_path / "long.wav"), str(tmp_path / "short.wav")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    num_samples, num_chunks, beside_the_result_mib = map(int, ran.stdout.split())
    assert (num_samples, num_chunks) == (3 * 3600 * 16000, 432)
    assert beside_the_result_mib < 64


def test_more_than_the_limit(tmp_path):
    sparse_wav(tmp_path / "day.wav", 8000, MAX_SECONDS + 1, sample_bytes=1)
    with pytest.raises(ValueError, match=r"day\.wav is longer than 4 hours; cut it"):
        load_audio(tmp_path / "day.wav")
    with pytest.raises(ValueError, match="array is longer than 4 hours"):
        load_audio((np.broadcast_to(np.float32(0), MAX_SECONDS * 1000 + 1), 1000))


def test_missing_and_folder_and_address(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*none\.wav; check the path$"):
        load_audio(tmp_path / "none.wav")
    with pytest.raises(IsADirectoryError, match=r"is a folder, not an audio file; give a file in it$"):
        load_audio(tmp_path)
    with pytest.raises(ValueError, match="download it"):
        load_audio("https://example.org/a.wav")


BAD_FILES = {
    "empty": (b"", r"is empty \(0 bytes\); record or download it again"),
    "text": ("Bonjour, ceci n'est pas un son: éé.\n".encode() * 9, "holds text, not audio; give a recording"),
    "page": (b"<!DOCTYPE html><html><body>404</body></html>", "holds text, not audio"),
    "playlist": (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n", "holds text, not audio"),
    "noise": (np.random.default_rng(5).bytes(5000), "cannot be decoded .*; .*convert it to WAV"),
    "zeros": (bytes(5000), "cannot be decoded .*; .*convert it to WAV"),
    "no_samples": (wav_bytes(np.zeros(0)), "holds no samples; record or copy it again"),
    "header_only": (wav_bytes(tone())[:44], "holds no samples because it was cut off; record or copy it again"),
    "half_header": (wav_bytes(tone())[:30], "cannot be decoded"),
    "nan": (wav_bytes(np.r_[np.zeros(8000), np.nan, np.inf, np.zeros(9)], subtype="FLOAT"),
            r"has 2 samples that are NaN, infinite or beyond 1e\+06, the first at 0\.500 s; replace"),
    "nan_late": (wav_bytes(np.r_[np.zeros(300_000), np.nan], 48000, "FLOAT"),
                 r"has 1 samples .* the first at 6\.250 s"),
    "huge": (wav_bytes(np.array([0, 1e300]), subtype="DOUBLE"), "has 1 samples"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(kind, tmp_path):
    data, message = BAD_FILES[kind]
    path = tmp_path / f"{kind}.wav"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        load_audio(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^the audio given as bytes {message}"):
        load_audio(data)


def test_truncated_wav_gives_what_is_there():
    with pytest.warns(UserWarning, match=r"was cut off: 0\.25 of 1\.00 s is there"):
        wave = load_audio(wav_bytes(tone())[: 44 + 8000])
    np.testing.assert_allclose(wave, tone()[:4000], atol=1e-4)


def test_streamed_wav_with_an_unknown_length():
    data = bytearray(wav_bytes(tone()))
    data[4:8] = data[40:44] = b"\xff" * 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_audio(bytes(data))) == 16000


@pytest.mark.parametrize("format", ["FLAC", "OGG", "MP3"])
def test_truncated_compressed_files(format):
    noise = np.random.default_rng(1).normal(0, 0.1, 64000)
    data = wav_bytes(noise, subtype={"FLAC": "PCM_16", "OGG": "VORBIS"}.get(format), format=format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wave = load_audio(data[: len(data) // 2])
    assert 0.5 < len(wave) / 16000 < 3.5


def test_truncated_webm_and_m4a(tmp_path):
    encode(tmp_path / "a.webm", tone(48000, 4), 48000, "libopus")
    data = (tmp_path / "a.webm").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert 0.5 < len(load_audio(data[: len(data) // 2])) / 16000 < 3.5
    encode(tmp_path / "a.m4a", tone(48000, 4), 48000, "aac")
    data = (tmp_path / "a.m4a").read_bytes()
    with pytest.raises(ValueError, match="cannot be decoded .*; .* again"):  # its index is at the end
        load_audio(data[: len(data) // 2])


def test_damaged_middle_is_reported(tmp_path):
    encode(tmp_path / "a.aac", tone(48000, 4), 48000, "aac")
    data = bytearray((tmp_path / "a.aac").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert 1 < len(load_audio(bytes(data))) / 16000 <= 4.1


def test_video_without_sound(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        picture = out.add_stream("mpeg4", rate=5)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        out.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
        out.mux(picture.encode(None))
    with pytest.raises(ValueError, match=r"a\.mp4 has no audio track; give a file with sound in it"):
        load_audio(tmp_path / "a.mp4")


def test_unsupported_codec(tmp_path):
    encode(tmp_path / "a.mov", tone(48000), 48000, "pcm_s24le")
    data = (tmp_path / "a.mov").read_bytes().replace(b"in24", b"zzzz")
    with pytest.raises(ValueError, match="uses a codec that FFmpeg cannot decode here; convert it to WAV"):
        load_audio(data)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros(0, np.float32), "the audio array holds no samples"),
        (np.float32(0), "no clear time axis|type float32"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\) has no clear time axis"),
        (np.zeros((40, 50)), r"shape \(40, 50\) has no clear time axis"),
        (np.zeros((2, 2)), "no clear time axis"),
        (np.zeros(5, np.int64), "array of int64 has no known full scale; convert it to float32 or int16"),
        (np.zeros(5, complex), "array of complex128"),
        (np.zeros(5, bool), "array of bool"),
        (np.array(["a"]), "has no known full scale"),
        (np.array([0, np.nan]), "has 1 samples that are NaN.* first at 0.000 s"),
        ((np.zeros(5), 0), "sample rate of 0 Hz"),
        ((np.zeros(5), float("nan")), "sample rate of nan Hz"),
        ((16000, np.zeros(5)), "give the array first"),
        ((np.zeros(5), "16000"), "give the array first"),
        ((np.zeros(5),), "give the array first"),
        ([0.0, 1.0], "audio of type list cannot be read; give a path, bytes"),
        (None, "audio of type NoneType"),
        (io.StringIO("text"), "opened as text; open it with mode 'rb'"),
    ],
)
def test_bad_arrays_and_sources(source, message):
    with pytest.raises(ValueError, match=message):
        load_audio(source)


def test_numbers_in_16_bit_units_are_pointed_out():
    with pytest.warns(UserWarning, match="peaks at 16384 where full scale is 1; divide it by 32768"):
        load_audio(tone() * 32768)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(OSError, match="needs the package soundfile; install it with: pip install soundfile"):
        load_audio(b"RIFF0000WAVE")


def test_examples():
    folder = pathlib.Path(__file__).parents[1] / "examples"
    clips = {path.name: path for path in folder.glob("*.wav")}
    assert {"two_notes.wav", "two_sung_notes.wav", "knock_then_bell.wav"} <= set(clips)
    for path in clips.values():
        assert path.stat().st_size < 250_000
        wave = load_audio(path)
        assert 0.5 < len(wave) / 16000 < 4 and 0.2 < np.abs(wave).max() < 1
