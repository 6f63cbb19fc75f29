"""Writing a waveform as a 16-bit WAV file, in memory or on disk."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import tempfile
import wave as wave_format

import numpy as np

from earwitness.audio.front_end import SAMPLE_RATE


def encode_wav(wave: np.ndarray) -> bytes:
    """Return a waveform (L,) at 16 kHz as the bytes of a 16-bit PCM WAV file; what is beyond -1..1 is clipped.

    Raises:
        ValueError: not one axis, no samples, or samples that are not finite.
    """
    samples = np.asarray(wave, dtype=np.float32)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise ValueError(
            f"a WAV file needs one axis of finite samples, not shape {samples.shape}; read it with load_audio"
        )
    pcm = np.clip(np.rint(samples * 2.0**15), -(2**15), 2**15 - 1).astype("<i2")
    buffer = io.BytesIO()
    with wave_format.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(pcm.tobytes())
    return buffer.getvalue()


def write_wav(path: str | os.PathLike[str], wave: np.ndarray) -> None:
    """Write a waveform (L,) at 16 kHz as a 16-bit PCM WAV file, whole or not at all.

    Raises:
        ValueError: see encode_wav.
        OSError: the folder is missing or cannot be written; an earlier file of that name is then as it was.
    """
    path, data, part = pathlib.Path(path), encode_wav(wave), ""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(handle, "wb") as out:
            out.write(data)
        os.chmod(part, 0o644)  # mkstemp makes files that only their owner may read
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise OSError(f"cannot write {path}: {error.strerror}; choose a folder that exists and has room") from None
