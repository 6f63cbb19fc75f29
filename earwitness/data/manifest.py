"""Manifests of any length: JSON lines on disk, validated once, read by number.

Only the offsets of the lines are held in memory, eight bytes a sample.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from earwitness.records import Sample


class Manifest:
    """The samples of a JSON-lines file, by number."""

    def __init__(self, path: str | pathlib.Path) -> None:
        """Read the file through once and check every line.

        Raises:
            ValueError: a line that is no valid ``Sample``, naming file and line; a file without samples; an id twice.
            FileNotFoundError: no such file.
        """
        self.path = pathlib.Path(path).expanduser()
        if not self.path.is_file():
            raise FileNotFoundError(f"manifest {self.path} does not exist; write one Sample as JSON on each line")
        offsets, lines, seen = [], [], set[str]()
        with open(self.path, "rb") as file:
            offset = 0
            for number, line in enumerate(file, 1):
                if line.strip():
                    sample = self._parse(line, number)
                    if sample.id in seen:
                        raise ValueError(f"{self.path}, line {number}: id {sample.id!r} stands there a second time")
                    seen.add(sample.id)
                    offsets.append(offset)
                    lines.append(number)
                offset += len(line)
        if not offsets:
            raise ValueError(f"manifest {self.path} has no samples; write one Sample as JSON on each line")
        self._offsets, self._lines = np.array(offsets, dtype=np.int64), np.array(lines, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Sample:
        """Return sample number ``index``; relative audio paths are taken from the manifest's folder."""
        with open(self.path, "rb") as file:
            file.seek(int(self._offsets[index]))
            sample = self._parse(file.readline(), int(self._lines[index]))
        heard = tuple(self._resolve(clip) for clip in sample.audio)
        return dataclasses.replace(sample, audio=heard, messages=tuple(self._heard(m) for m in sample.messages))

    def _heard(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message whose clips are found from the manifest's folder."""
        content = message.get("content")
        if not isinstance(content, (list, tuple)):
            return message
        parts = [{**p, "audio": self._resolve(p["audio"])} if p.get("type") == "audio" else p for p in content]
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
