"""Any recording -> mono 16 kHz waveform, decoded and resampled block by block, whole or as a stream.

soxr resamples, imported late; beside the result, memory is bounded by one block.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from earwitness.audio import decoders
from earwitness.audio.decoders import BLOCK, MAX_SECONDS
from earwitness.audio.front_end import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | torch.Tensor | tuple[Any, int]"

_LOUDEST = 1e6  # a sample beyond this is damage, not sound, and its square would overflow the log-mel
_INTEGER_UNITS = 64  # floats this far above full scale were probably meant as 16-bit numbers
_RATES = (1_000, 768_000)


def load_audio(source: Source, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """Return a waveform, float32 of shape (L,), mono, 16 kHz, full scale at 1.

    WAV, FLAC, OGG and MP3 are read by libsndfile, everything else (m4a, webm, opus, mp4, the first audio track of a
    video) by PyAV. Channels are averaged. Nothing is normalised, clipped or trimmed.

    Args:
        source: a path, the bytes of a file, an open binary file, an array or tensor at 16 kHz, or (array, rate in Hz).
            An array is (samples,), (samples, channels) or (channels, samples); int8, int16, int32 and uint8 are
            scaled to -1..1, floats are taken as they are.
        max_seconds: decoding stops with an error beyond this, whatever the header says: a small file can decode to
            hours.

    Raises:
        OSError: the file is missing, a folder, or cannot be opened.
        ValueError: nothing in it can be decoded, it has no samples, samples that are not finite, or more than
            max_seconds of them; or an array of the wrong shape or type.

    A damaged or cut file gives what can be read of it, with a warning where the format lets it be known.
    """
    return _joined(stream_audio(source, max_seconds))


def stream_audio(source: Source, max_seconds: float = MAX_SECONDS) -> Iterator[np.ndarray]:
    """Yield the waveform of load_audio in pieces of some seconds, so that memory does not grow with the recording.

    Takes and raises what load_audio does; errors come where decoding meets them. A path is open while it is read.
    """
    if not _is_file(source):
        array, rate = _array(source)
        blocks = ((rate, decoders.to_float(array[i : i + BLOCK])) for i in range(0, len(array), BLOCK))
        yield from _resampled(blocks, "the audio array", max_seconds)
        return
    with _opened(source) as (file, name):
        yield from _resampled(_file_blocks(file, name, max_seconds), name, max_seconds)


def duration_seconds(source: Source) -> float:
    """Return how long a recording is, from its header where that says so, else by decoding it.

    Takes and raises what load_audio does. Compressed formats may state a few hundredths of a second more or less than
    they decode to. An open file is left at its start, and one that cannot seek is used up.
    """
    if not _is_file(source):
        array, rate = _array(source)
        return len(array) / rate
    with _opened(source) as (file, name):
        seconds = decoders.stated_seconds(file)
        if seconds is None:
            file.seek(0)
            pieces = _resampled(_file_blocks(file, name, MAX_SECONDS), name, MAX_SECONDS)
            seconds = sum(map(len, pieces)) / SAMPLE_RATE
        file.seek(0)
        return seconds


def _is_file(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(source, "read")


@contextlib.contextmanager
def _opened(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """Give a path, bytes or an open file as a file that can seek and is at its start, and what errors call it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source), "the audio given as bytes"
    elif isinstance(source, (str, os.PathLike)):
        with _open_path(os.fspath(source)) as file:
            yield _seekable(file, str(source)), str(source)
    else:
        yield _seekable(source, "the open audio file"), "the open audio file"


def _open_path(path: Any) -> BinaryIO:
    """Return the open file of a path, or raise an error of one sentence."""
    shown = f"{path[:80]}..." if len(path) > 100 else path
    if str(path).startswith(("http://", "https://")):
        raise ValueError(f"{path} is an address, not a file; download it and give the path")
    if not path or "\0" in str(path):
        raise ValueError(f"{path!r} is not a path; give the path of an audio file")
    try:
        return pathlib.Path(path).open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {shown}; check the path") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{shown} is a folder, not an audio file; give a file in it") from None
    except PermissionError:
        raise PermissionError(f"{shown} may not be read; change its permissions or copy it") from None
    except OSError as error:
        raise OSError(f"{shown} cannot be opened ({error.strerror}); check the path") from None


def _seekable(file: Any, name: str) -> BinaryIO:
    """Return a binary file from its current position; one that cannot seek is read whole first."""
    try:
        if file.seekable() and file.tell() == 0 and file.read(0) == b"":
            return file
    except (AttributeError, io.UnsupportedOperation):
        pass
    data = file.read()
    if isinstance(data, str):
        raise ValueError(f"{name} was opened as text; open it with mode 'rb'")
    return io.BytesIO(data)


def _file_blocks(file: BinaryIO, name: str, max_seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (rate, float32 (frames, channels)) of a seekable file: libsndfile first, PyAV for what that refuses."""
    head = file.read(4096)
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise ValueError(f"{name} is empty (0 bytes); record or download it again")
    cut = decoders.warn_if_cut(file, size, name)
    readers = [decoders.libsndfile_blocks, decoders.av_blocks]
    # ADTS, the bare form of AAC, begins with the mark of MP3 but has layer bits 00, and libsndfile mistakes it.
    adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    if adts or decoders.is_unfinished_wav(file):
        readers = [decoders.av_blocks]
    for read in readers:
        file.seek(0)
        try:
            found = 0
            for rate, block in read(file, name, max_seconds):
                found += len(block)
                yield rate, block
        except decoders.UnreadableError as error:  # comes before any sample
            reason = str(error)
            continue
        if not found:
            note = " because it was cut off" if cut else ""
            raise ValueError(f"{name} holds no samples{note}; record or copy it again")
        return
    if b"\0" not in head and _is_text(head):
        raise ValueError(f"{name} holds text, not audio; give a recording (WAV, FLAC, OGG, MP3, m4a, webm, mp4)")
    if head[4:8] == b"ftyp":
        raise ValueError(f"{name} cannot be decoded ({reason}), as when it was cut off; record or download it again")
    raise ValueError(f"{name} cannot be decoded ({reason}); convert it to WAV, e.g. ffmpeg -i IN OUT.wav")


def _array(source: Any) -> tuple[np.ndarray, float]:
    """Return (frames, channels) and the rate in Hz of an array or tensor, alone or with its rate."""
    rate: Any = SAMPLE_RATE
    if isinstance(source, tuple):
        if len(source) != 2 or not isinstance(source[1], (int, float, np.integer, np.floating)):
            raise ValueError("the audio is a tuple that is not (array, sample rate); give the array first, then Hz")
        source, rate = source
        _check_rate(rate, "the audio array")
    if hasattr(source, "detach"):
        source = source.detach().cpu()
        source = (source.float() if source.is_floating_point() else source).numpy()
    if not isinstance(source, np.ndarray):
        raise ValueError(
            f"audio of type {type(source).__name__} cannot be read; give a path, bytes, a binary file, an array at "
            "16 kHz or (array, sample rate)"
        )
    if not source.size:
        raise ValueError("the audio array holds no samples; give at least one")
    array = source[:, None] if source.ndim == 1 else source
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    num_frames, num_channels = array.shape if array.ndim == 2 else (0, 0)
    if array.ndim != 2 or num_channels > 32 or num_frames == num_channels > 1:
        raise ValueError(
            f"an audio array of shape {source.shape} has no clear time axis; give (samples,), (samples, channels) "
            "or (channels, samples) with at most 32 channels"
        )
    if array.dtype.kind != "f" and array.dtype.name not in ("int8", "int16", "int32", "uint8"):
        raise ValueError(f"an audio array of {array.dtype} has no known full scale; convert it to float32 or int16")
    return array, rate


def _resampled(blocks: Iterator[tuple[float, np.ndarray]], name: str, max_seconds: float) -> Iterator[np.ndarray]:
    """Yield the waveform at 16 kHz of decoded blocks, each (rate in Hz, float32 (frames, channels)), in pieces."""
    resampler = _Resampler()
    num_bad, first_bad, seconds, peak = 0, 0.0, 0.0, 0.0
    for rate, block in blocks:
        _check_rate(rate, name)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        size = np.abs(mono)
        bad = np.flatnonzero(~(size <= _LOUDEST))  # also true for NaN
        if len(bad) and not num_bad:
            first_bad = seconds + bad[0] / rate
        num_bad, seconds, peak = num_bad + len(bad), seconds + len(mono) / rate, max(peak, float(size.max(initial=0)))
        if seconds > max_seconds:
            raise ValueError(decoders.too_long(name, max_seconds))
        if len(mono) and not num_bad:
            yield from resampler.add(rate, mono)
    if num_bad:
        raise ValueError(
            f"{name} has {num_bad} samples that are NaN, infinite or beyond {_LOUDEST:.0e}, the first at "
            f"{first_bad:.3f} s; replace them or export the file again"
        )
    if peak > _INTEGER_UNITS:
        decoders.warn(f"{name} peaks at {peak:.0f} where full scale is 1; divide it by 32768 if it is in 16-bit units")
    yield from resampler.finish()


def _check_rate(rate: float, name: str) -> None:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise ValueError(f"{name} has a sample rate of {rate:g} Hz; give audio of 8 to 192 kHz")


class _Resampler:
    """Turns mono blocks of any rate into pieces at 16 kHz."""

    def __init__(self) -> None:
        self._rate, self._stream = 0.0, None
        self._last, self._length = 0.0, 0

    def add(self, rate: float, mono: np.ndarray) -> Iterator[np.ndarray]:
        """Take (frames,) float32 at a rate in Hz, which may change from one call to the next."""
        if rate != self._rate:
            yield from self._flush()
            self._rate = rate
            if rate != SAMPLE_RATE:
                soxr = decoders.require("soxr", "resampling audio")
                self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self._last = mono[-1]
        yield self._counted(mono if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(mono)))

    def finish(self) -> Iterator[np.ndarray]:
        """Give what is left."""
        yield from self._flush()
        if not self._length:  # one sample at 48 kHz is a third of a sample here: keep it as one
            yield np.array([self._last], np.float32)

    def _flush(self) -> Iterator[np.ndarray]:
        if self._stream is not None:
            yield self._counted(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
        self._stream = None

    def _counted(self, samples: np.ndarray) -> np.ndarray:
        self._length += len(samples)
        return samples


def _joined(pieces: Iterator[np.ndarray]) -> np.ndarray:
    """Return pieces as one array that grows in place, so that a long recording is never held twice."""
    samples, length = np.empty(0, np.float32), 0
    for piece in pieces:
        end = length + len(piece)
        if end > len(samples):
            samples.resize(max(end, len(samples) * 5 // 4), refcheck=False)
        samples[length:end] = piece
        length = end
    samples.resize(length, refcheck=False)
    return samples


def _is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are text (a character may be cut at the end)."""
    try:
        text = head[: max(1, len(head) - 4)].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 8 and error.start > 0
    return sum(not (c.isprintable() or c.isspace()) for c in text) == 0
