"""Manifests of any length: JSON lines on disk, validated once, read by number.

Twenty bytes a sample are in memory: where its line begins, the line's number, and a checksum that shows when a line is
no longer the one that was validated. The index of a large manifest is kept on disk, so that the next run, or the next
rank, does not read the file through again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import zlib
from array import array
from typing import Any

import numpy as np

from earwitness.records import Sample

_SMALL_BYTES = 4 << 20  # such a manifest is read through in a fraction of a second


class Manifest:
    """The samples of a JSON-lines file, by number."""

    def __init__(self, path: str | pathlib.Path, index: str | pathlib.Path = "~/.cache/earwitness/manifests") -> None:
        """Read the file through and check every line, unless its index is there.

        Args:
            path: the manifest.
            index: folder of the indices of large manifests; an index is of one path, size and time of change.

        Raises:
            ValueError: a line that is no valid ``Sample``, naming file and line; a file without samples; an id twice.
            FileNotFoundError: no such file.
        """
        self.path = pathlib.Path(path).expanduser()
        if not self.path.is_file():
            raise FileNotFoundError(f"manifest {self.path} does not exist; write one Sample as JSON on each line")
        place = self._index_path(pathlib.Path(index).expanduser())
        found = None if place is None else _load(place)
        if found is None:
            found = self._scan()
            if place is not None:
                _save(place, found)
        self._offsets, self._lines, self._checks = found

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Sample:
        """Return sample number ``index``; relative audio paths are taken from the manifest's folder.

        Raises:
            ValueError: the line changed since it was validated, naming file and line.
            OSError: the file can no longer be read.
        """
        number = int(self._lines[index])
        line = self._line(int(self._offsets[index]))
        if zlib.crc32(line) != self._checks[index]:
            raise ValueError(f"{self.path}, line {number}: the line changed after it was validated; start again")
        sample = self._parse(line, number)
        heard = tuple(self._resolve(clip) for clip in sample.audio)
        return dataclasses.replace(sample, audio=heard, messages=tuple(self._heard(m) for m in sample.messages))

    def _line(self, offset: int) -> bytes:
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                return file.readline().strip()
        except OSError as error:
            raise OSError(f"manifest {self.path} cannot be read any more ({error.strerror}); restore it") from error

    def _scan(self) -> tuple[np.ndarray, ...]:
        """Return (offsets, line numbers, checksums) of the samples after checking every line."""
        offsets, lines, checks, ids = array("q"), array("q"), array("I"), array("q")
        with open(self.path, "rb") as file:
            offset = 0
            for number, raw in enumerate(file, 1):
                if line := raw.strip():
                    ids.append(hash(self._parse(line, number).id))
                    offsets.append(offset)
                    lines.append(number)
                    checks.append(zlib.crc32(line))
                offset += len(raw)
        if not offsets:
            raise ValueError(f"manifest {self.path} has no samples; write one Sample as JSON on each line")
        found = np.array(offsets, np.int64), np.array(lines, np.int64), np.array(checks, np.uint32)
        self._check_ids(np.array(ids, np.int64), *found[:2])
        return found

    def _check_ids(self, ids: np.ndarray, offsets: np.ndarray, lines: np.ndarray) -> None:
        """Raise ``ValueError`` for an id that stands there twice; ``ids`` are hashes, since names would fill memory."""
        order = np.argsort(ids, kind="stable")
        for place in np.flatnonzero(np.diff(ids[order]) == 0):
            pair = order[place : place + 2]
            first, second = (self._parse(self._line(int(offsets[i])), int(lines[i])).id for i in pair)
            if first == second:
                raise ValueError(f"{self.path}, line {lines[pair[1]]}: id {second!r} stands there a second time")

    def _index_path(self, folder: pathlib.Path) -> pathlib.Path | None:
        stat = self.path.stat()
        if stat.st_size < _SMALL_BYTES:
            return None
        fields = [field.name for field in dataclasses.fields(Sample)]  # a line is valid under these
        key = f"{self.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {fields}"
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    def _heard(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message whose clips are found from the manifest's folder."""
        content = message.get("content")
        if not isinstance(content, (list, tuple)):
            return message
        parts = [
            {**p, "audio": self._resolve(p["audio"])} if isinstance(p, dict) and p.get("type") == "audio" else p
            for p in content
        ]
        return {**message, "content": parts}

    def _parse(self, line: bytes, number: int) -> Sample:
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise ValueError("the line is not a JSON object")
            return Sample.from_json(fields)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.path}, line {number}: {error}") from error

    def _resolve(self, clip: str | bytes) -> str | bytes:
        if isinstance(clip, bytes) or "://" in clip or clip.startswith("soundworld:"):
            return clip
        return str(self.path.parent / pathlib.Path(clip).expanduser())


def _load(place: pathlib.Path) -> tuple[np.ndarray, ...] | None:
    try:
        with np.load(place) as arrays:
            return arrays["offsets"], arrays["lines"], arrays["checks"]
    except Exception:  # absent or damaged, in one of many ways: the manifest itself is there to be read again
        return None


def _save(place: pathlib.Path, found: tuple[np.ndarray, ...]) -> None:
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    with contextlib.suppress(OSError):  # without an index the next run takes longer to begin; that is all
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            np.savez(file, offsets=found[0], lines=found[1], checks=found[2])
        os.replace(partial, place)
        return
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
