"""SoundWorld items as files: WAV clips and a manifest of ``Sample`` records, for any other model."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable

from earwitness import audio, soundworld
from earwitness.records import append_line
from earwitness.soundworld.core import VERSION


def write(
    suite: str,
    split: str,
    count: int,
    folder: str | os.PathLike,
    start: int = 0,
    report: Callable[[], object] = lambda: None,
) -> pathlib.Path:
    """Write items ``start`` to ``start + count - 1`` and return the path of the manifest.

    ``folder`` gets ``SUITE-SPLIT.jsonl`` and ``audio/ID.wav`` (16 kHz, 16 bit) of items with audio; audio paths in the
    manifest are relative to it. A clip is on disk before its line, and both appear whole, so an interrupted export
    continues where it ended and items that are there are not made again. ``report`` is called once an item.

    Raises:
        ValueError: the manifest holds something else, or was written by another version of SoundWorld.
        OSError: the folder cannot be written.
    """
    folder = pathlib.Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give a folder to write to")
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    manifest = folder / f"{suite}-{split}.jsonl"
    there = _written(manifest)
    for index in range(start, start + count):
        identity = f"{suite}-{split}-{index}"
        clip = pathlib.Path("audio") / f"{identity}.wav"
        if identity not in there or not (folder / clip).exists():
            item = soundworld.sample(suite, split, index)
            if item.audio:
                audio.write_wav(folder / clip, soundworld.waveform(item))
                item = dataclasses.replace(item, audio=(clip.as_posix(),))
            if identity not in there:
                line = json.dumps(item.to_json(), ensure_ascii=False)
                append_line(manifest, f"{line}\n")
        report()
    return manifest


def _written(manifest: pathlib.Path) -> frozenset[str]:
    """Return the ids in a manifest, after dropping a last line that was cut off."""
    if not manifest.exists():
        return frozenset()
    text = manifest.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        partial = manifest.with_name(manifest.name + ".partial")
        partial.write_text(whole, encoding="utf-8")
        os.replace(partial, manifest)
    ids = set()
    for number, line in enumerate(whole.split("\n")[:-1], 1):
        try:
            fields = json.loads(line)
            identity, version = fields["id"], fields["source"]["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{manifest}, line {number} was not written by this export; give another folder"
            ) from error
        if version != VERSION:
            raise ValueError(
                f"{manifest} was written by SoundWorld version {version} and this is {VERSION}; give another folder"
            )
        ids.add(identity)
    return frozenset(ids)
