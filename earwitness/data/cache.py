"""Outputs of the frozen encoder on disk, computed once for a clip, shared by every run and safe for many writers.

An entry is named by what it depends on: the content of the audio, the chunk rule and the encoder's weights. So a
changed file, rule or encoder finds nothing stale, and two manifests with the same clip share it. Knowing a file's
content needs no decoding: its bytes are hashed, once while size and time of change stay the same. An entry is a
temporary file that is renamed when it is complete, so nobody reads half of one and the last of two writers wins with
the same content; one that lost its end, as after a power cut, counts as absent. What is read is a place on disk: the
states are fetched when a tensor is made of them. Letters: E encoder frames at 25 Hz, D encoder width.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from earwitness import audio, soundworld
from earwitness.data import dialogue
from earwitness.data.features import weights_hash
from earwitness.records import Sample

_TOGETHER_SECONDS = 120.0  # of sound in one pass of the encoder


class UnusableAudio(OSError):
    """Sound of a sample that is not there or not sound, told in one sentence."""


class Stored:
    """States (E, D) float16 of one chunk on disk, fetched by ``torch.as_tensor`` and ``numpy.asarray``.

    So thousands of examples can be put in order by length before any sound is read, and a rank reads its own only.
    """

    def __init__(self, path: pathlib.Path, start: int, frames: int, width: int) -> None:
        self._path, self._start, self.shape = path, start, (frames, width)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the states; raises ``OSError`` for an entry that was taken away since it was found."""
        count = self.shape[0] * self.shape[1]
        try:
            rows = np.fromfile(self._path, np.float16, count, offset=self._start)
        except OSError as error:
            raise OSError(f"feature cache entry {self._path} was taken away ({error.strerror}); start again") from error
        if len(rows) != count:
            raise OSError(f"feature cache entry {self._path} was cut short; delete it and start again")
        rows = rows.reshape(self.shape)
        return rows if dtype is None else rows.astype(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return np.asarray(self).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # the CPU


class FeatureCache:
    """Encoder states of clips; ``states`` reads them, ``fill`` computes what is missing."""

    def __init__(self, folder: str | pathlib.Path, model: Any, bf16: bool = False) -> None:
        """Open a cache.

        Args:
            folder: its place on disk, shared by as many processes as like.
            model: an ``AudioReasoner``; its encoder computes what is missing.
            bf16: compute products in bfloat16; the entries are float16 in any case.
        """
        self.folder, self._model, self._bf16 = pathlib.Path(folder).expanduser(), model, bf16
        self.digest = weights_hash(model.encoder)
        self._rule = f"{audio.CHUNK_SECONDS}-{model.audio_rule}-{int(bf16)}-{self.digest}"
        self._content: dict[tuple[str, int, int], str] = {}

    def states(self, sample: Sample) -> list[list[Stored]]:
        """Return the states (E, D) float16 of every chunk of at most 25 s, for each clip of a sample.

        Raises:
            UnusableAudio: audio that cannot be read, naming sample and file.
            OSError: an entry that cannot be written or read back.
        """
        out = []
        for clip in dialogue.clips(sample):
            path = self._path(clip, sample)
            chunks = _read(path)
            if chunks is None:
                self._encode([(clip, path, sample)])
                chunks = _read(path)
            if chunks is None:
                raise OSError(f"feature cache entry {path} cannot be read back; look at the disk of the cache")
            out.append(chunks)
        return out

    def fill(self, samples: Iterable[Sample], total: int | None = None) -> int:
        """Encode the clips of samples that are not there yet, many in one pass; return how many were."""
        start, done, seen = time.monotonic(), 0, 0
        told = start
        waiting: dict[pathlib.Path, tuple[Any, pathlib.Path, Sample]] = {}
        for sample in samples:
            seen += 1
            for clip in dialogue.clips(sample):
                path = self._path(clip, sample)
                if path not in waiting and _read(path) is None:
                    waiting[path] = (clip, path, sample)
            if len(waiting) >= 32:
                done += self._encode(list(waiting.values()))
                waiting.clear()
            if time.monotonic() - told > 2 and done:
                told = time.monotonic()
                left = "" if total is None else f", {(told - start) / seen * (total - seen) / 60:.1f} min left"
                print(f"encoded {done} clips of {seen} samples{left}", file=sys.stderr, flush=True)
        return done + (self._encode(list(waiting.values())) if waiting else 0)

    def _encode(self, jobs: list[tuple[Any, pathlib.Path, Sample]]) -> int:
        chunks: list[np.ndarray] = []
        counts = []
        for clip, _, sample in jobs:
            found = audio.split_chunks(_load(clip, sample))
            counts.append(len(found))
            chunks += found
        device = next(self._model.encoder.parameters()).device
        states: list[np.ndarray] = []
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=self._bf16):
            for group in _groups(chunks):
                states += [s.float().cpu().numpy().astype(np.float16) for s in self._model.encode_frames(group)]
        rest = iter(states)
        width = self._model.config.audio_encoder_config["n_audio_state"]
        for count, (_, path, _) in zip(counts, jobs):
            _write(path, list(itertools.islice(rest, count)), width)
        return len(jobs)

    def _path(self, clip: str | bytes, sample: Sample) -> pathlib.Path:
        name = hashlib.sha256(f"{self._key(clip, sample)} {self._rule}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.npy"

    def _key(self, clip: str | bytes, sample: Sample) -> str:
        """Return what stands for the content of a clip."""
        if isinstance(clip, bytes):
            return hashlib.sha256(clip).hexdigest()
        if clip.startswith("soundworld:"):
            return clip
        try:
            stat = os.stat(clip)
            seen = (clip, stat.st_size, stat.st_mtime_ns)
            if seen not in self._content:
                with open(clip, "rb") as file:
                    self._content[seen] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(sample, clip, error.strerror or str(error)) from error
        return self._content[seen]


def _load(clip: str | bytes, sample: Sample) -> np.ndarray:
    try:
        if isinstance(clip, str) and clip.startswith("soundworld:"):
            return soundworld.waveform(clip)
        wave = audio.load_audio(clip)
        if len(wave) < audio.N_FFT:
            raise ValueError(f"it has {1000 * len(wave) / audio.SAMPLE_RATE:.3g} ms, less than a frame of 25 ms")
        return wave
    except (OSError, ValueError) as error:
        raise _unreadable(sample, "audio bytes" if isinstance(clip, bytes) else clip, str(error)) from error


def _unreadable(sample: Sample, clip: str, reason: str) -> UnusableAudio:
    return UnusableAudio(f"sample {sample.id}: {clip} cannot be used ({reason}); restore it or take the sample out")


def _groups(chunks: Sequence[np.ndarray]) -> Iterable[Sequence[np.ndarray]]:
    """Yield runs of chunks of limited length together."""
    group: list[np.ndarray] = []
    for chunk in chunks:
        if group and sum(map(len, group)) + len(chunk) > _TOGETHER_SECONDS * audio.SAMPLE_RATE:
            yield group
            group = []
        group.append(chunk)
    if group:
        yield group


def _write(path: pathlib.Path, chunks: list[np.ndarray], width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with open(partial, "wb") as file:
            np.save(file, np.array([len(c) for c in chunks], dtype=np.int32))
            np.save(file, np.concatenate([np.empty((0, width), np.float16), *chunks]))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror or error  # numpy's own errors have no strerror
        raise OSError(f"feature cache {path.parent.parent} cannot be written ({reason}); free space") from error


def _read(path: pathlib.Path) -> list[Stored] | None:
    """Return the chunks of an entry, or None if there is no whole one."""
    try:
        with open(path, "rb") as file:
            lengths = np.load(file)
            np.lib.format.read_magic(file)
            (frames, width), _, dtype = np.lib.format.read_array_header_1_0(file)
            start, end = file.tell(), os.fstat(file.fileno()).st_size
    except (FileNotFoundError, EOFError, ValueError):  # numpy raises the last two for a file without its end
        return None
    if frames != lengths.sum() or dtype != np.float16 or end != start + frames * width * dtype.itemsize:
        return None
    row_bytes = width * dtype.itemsize
    begins = start + row_bytes * (np.cumsum(lengths) - lengths)
    return [Stored(path, int(begin), int(length), width) for begin, length in zip(begins, lengths, strict=True)]
