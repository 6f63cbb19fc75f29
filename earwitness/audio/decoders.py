"""The two decoders: libsndfile for WAV, FLAC, OGG and MP3, PyAV (FFmpeg) for what libsndfile refuses.

Each yields blocks, so memory beside the result is bounded. Both packages are imported late: this module loads without
them.
"""

from __future__ import annotations

import importlib
import os
import struct
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

MAX_SECONDS = 4 * 3600  # three hours of anything work; four are 0.9 GB as float32
BLOCK = 1 << 18  # samples decoded at a time, all channels, which bounds the memory beside the result

_MAX_PACKETS = 10_000_000  # four hours have fewer than a million
# Plain containers only: a playlist or a concat script may name other files and addresses, and must not be followed.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,flac,mp3,aac,aiff,caf,au,asf,avi,flv,mpeg,mpegts,amr,ac3,eac3,"
    "dts,wv,ape,tta,mpc,mpc8,voc,gsm,loas,mxf,rm,dsf,spdif"
)
_NO_HEADER = ("aac", "ac3", "eac3", "dts", "mp3", "loas")  # of these FFmpeg guesses the duration from the first bytes
_SCALES = {"int8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}


class UnreadableError(Exception):
    """A decoder refused the file before it gave a sample; the next one may read it."""


def libsndfile_blocks(file: BinaryIO, name: str, max_seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (rate, float32 (frames, channels)) by libsndfile."""
    soundfile = require("soundfile", "reading audio files")
    try:
        sound = soundfile.SoundFile(_Guarded(file))
    except soundfile.LibsndfileError as error:
        raise UnreadableError(error.error_string.rstrip(".")) from None
    with sound:
        if sound.frames >= 2**62:  # written to a pipe: libsndfile cannot seek to its end and loses the last block
            raise UnreadableError("its length is not stated")
        if sound.frames / sound.samplerate > max_seconds:
            raise ValueError(too_long(name, max_seconds))
        done = 0
        while True:
            try:
                block = sound.read(BLOCK // sound.channels, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if not done:
                    raise UnreadableError(error.error_string.rstrip(".")) from None
                block = np.empty((0, 1), np.float32)
            if not len(block):
                break
            done += len(block)
            yield sound.samplerate, block
        if not done and sound.format not in ("WAV", "WAVEX", "AIFF"):  # those say so when they are empty
            raise UnreadableError("no audio data")
        if 0 < done < sound.frames:
            warn(f"{name} is damaged: {done / sound.samplerate:.2f} s of it could be read")


def av_blocks(file: BinaryIO, name: str, max_seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (rate, float32 (frames, channels)) of the first audio track by PyAV (FFmpeg)."""
    av = require("av", "reading this kind of audio file")
    try:
        container = av.open(file, metadata_errors="ignore", options={"format_whitelist": _CONTAINERS})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableError(getattr(error, "strerror", None) or "unknown format") from None
    with container:
        if not container.streams.audio:
            raise ValueError(f"{name} has no audio track; give a file with sound in it")
        track = container.streams.audio[0]
        if track.codec_context is None:
            raise ValueError(f"{name} uses a codec that FFmpeg cannot decode here; convert it to WAV or FLAC")
        if (_stated(container, track) or 0) > max_seconds + 0.5:  # what is stated may be a little more than is there
            raise ValueError(too_long(name, max_seconds))
        pending: list[np.ndarray] = []
        rate, seconds, damaged = 0, 0.0, False
        for frame in _av_frames(container, track, av.FFmpegError):
            if frame is None:
                damaged = True
                continue
            block = _frame_samples(frame)
            # A frame is some 20 ms: gather them, as long as rate and channels stay.
            differs = pending and (rate, pending[0].shape[1]) != (frame.sample_rate, block.shape[1])
            if differs or sum(map(np.size, pending)) >= BLOCK:
                yield rate, np.concatenate(pending)
                pending = []
            pending.append(block)
            rate = frame.sample_rate
            seconds += len(block) / rate
        if pending:
            yield rate, np.concatenate(pending)
        if damaged and not seconds:
            raise UnreadableError("damaged data")
        if seconds and (damaged or seconds < (_stated(container, track) or 0) - 0.5):
            warn(f"{name} is damaged or cut off: {seconds:.2f} s of it could be read")


def _av_frames(container: Any, track: Any, failure: type[Exception]) -> Iterator[Any]:
    """Yield the decoded frames of a track, and None for each packet that cannot be read or decoded."""
    packets = container.demux(track)
    for _ in range(_MAX_PACKETS):  # a reader that fails for ever must end
        try:
            yield from next(packets).decode()
        except (StopIteration, EOFError):
            return
        except (failure, OSError):
            yield None


def _frame_samples(frame: Any) -> np.ndarray:
    """Return the (frames, channels) float32 samples of an FFmpeg frame, which is planar or interleaved."""
    array = frame.to_ndarray()
    return to_float(array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels))


def to_float(array: np.ndarray) -> np.ndarray:
    """Return float32 samples; integers are scaled so that full scale is 1."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is reported with its place
            return array.astype(np.float32, copy=False)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    scale = _SCALES.get(array.dtype.name, 2.0**63)
    return (array / scale).astype(np.float32)


def warn_if_cut(file: BinaryIO, size: int, name: str) -> bool:
    """Return whether a WAV file has less data than its header says, which libsndfile does not report; warn if so."""
    byte_rate = 0
    chunk = b"RIFF"
    for chunk, length, start in _wav_chunks(file):
        if chunk == b"fmt " and len(body := file.read(12)) == 12:
            byte_rate = struct.unpack_from("<I", body, 8)[0]
        if chunk == b"data":
            # Programs that write to a pipe leave the length at 0 or near the largest value: that is no cut.
            if start + length <= size or length >= 0x7FFFF000 or start >= size:
                return start >= size and length > 0
            have = f"{(size - start) / byte_rate:.2f} of {length / byte_rate:.2f} s" if byte_rate else "part of it"
            warn(f"{name} was cut off: {have} is there; copy or record it again for the rest")
            return True
    return chunk != b"RIFF"  # chunks, but no data


def is_unfinished_wav(file: BinaryIO) -> bool:
    """Return whether a WAV file's lengths were never written, as when the recorder crashed; FFmpeg reads to its end."""
    file.seek(4)
    stated = int.from_bytes(file.read(4), "little")
    return any(chunk == b"data" and not length and stated + 8 <= start for chunk, length, start in _wav_chunks(file))


def _wav_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, stated length, where its body starts) of each chunk of a WAV file; nothing of other files."""
    file.seek(0)
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        return
    while len(header := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", header)
        start = file.tell()
        yield kind, length, start
        file.seek(start + length + length % 2)


def stated_seconds(file: BinaryIO) -> float | None:
    """Return the duration in a file's header; None where it has none or is not audio."""
    soundfile, av = require("soundfile", "reading audio files"), require("av", "reading this kind of audio file")
    if is_unfinished_wav(file):
        return None
    file.seek(0)
    try:
        with soundfile.SoundFile(_Guarded(file)) as sound:
            return sound.frames / sound.samplerate if 0 < sound.frames < 2**62 else None
    except soundfile.LibsndfileError:
        file.seek(0)
    try:
        with av.open(file, metadata_errors="ignore", options={"format_whitelist": _CONTAINERS}) as container:
            tracks = container.streams.audio
            return _stated(container, tracks[0]) if tracks else None
    except (av.FFmpegError, OSError, ValueError):
        return None


def _stated(container: Any, track: Any) -> float | None:
    """Return the seconds that the header gives for a track, else None."""
    if container.format.name in _NO_HEADER:
        return None
    if track.duration:
        return float(track.duration * track.time_base)
    alone = len(container.streams) == 1  # else it may be the video that is so long
    return container.duration / 1e6 if container.duration and alone else None  # FFmpeg's unit is a microsecond


class _Guarded:
    """A file for libsndfile, which seeks before the start of a cut file: Python would print a traceback for that."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as files do; a place that does not exist leaves it where it is."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()

    def write(self, data: bytes) -> int:
        """Refuse; soundfile wants the method to be there."""
        raise OSError("open for reading only")


def too_long(name: str, max_seconds: float) -> str:
    """Return the sentence for a recording that decodes to more than is taken."""
    most = f"{max_seconds / 3600:g} hours" if max_seconds >= 3600 else f"{max_seconds:.4g} s"
    return f"{name} is longer than {most}; cut it into shorter files"


def warn(message: str) -> None:
    """Warn about a recording that could be read only in part."""
    warnings.warn(message, UserWarning, stacklevel=2)


def require(package: str, purpose: str) -> Any:
    """Return a module imported late, or say how to get it."""
    try:
        return importlib.import_module(package)
    except (ImportError, OSError):
        raise OSError(f"{purpose} needs the package {package}; install it with: pip install {package}") from None
