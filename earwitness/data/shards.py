"""Rendered SoundWorld clips on disk, in shards that several processes write and any run can map.

A shard holds a fixed range of indices of one suite and split: log-mels (float16), the labelled spans, the samples.
A shard is written whole or not at all, so a build that is stopped resumes with the missing shards.
"""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np

from earwitness import audio, soundworld
from earwitness.records import Sample

SHARD_CLIPS = 500


@dataclass(frozen=True)
class Clip:
    """One rendered clip: where its mel lies in the shard, its spans in seconds, and the sample."""

    mel: np.ndarray
    """(128, T) float16."""
    spans: list[tuple[float, float, str]]
    sample: Sample
    num_samples: int


def shard_path(root: pathlib.Path, suite: str, split: str, number: int) -> pathlib.Path:
    """Return the folder of a shard."""
    return root / f"{suite}-{split}-v{soundworld.VERSION}-{number:04d}"


def _write_shard(root: pathlib.Path, suite: str, split: str, number: int) -> int:
    target = shard_path(root, suite, split, number)
    if target.exists():
        return 0
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    mels, rows = [], []
    for index in range(number * SHARD_CLIPS, (number + 1) * SHARD_CLIPS):
        sample = soundworld.sample(suite, split, index)
        wave, spans = soundworld.spans(sample)
        mels.append(audio.log_mel(wave).numpy().astype(np.float16))
        marks = [[round(s.start, 4), round(s.end, 4), s.tag] for s in spans]
        rows.append({"sample": sample.to_json(), "spans": marks, "num_samples": len(wave), "T": mels[-1].shape[1]})
    np.save(partial / "mel.npy", np.concatenate(mels, axis=1))
    (partial / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    partial.rename(target)
    return SHARD_CLIPS


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)


def build(root: pathlib.Path, suites: tuple[str, ...], split: str, clips: int, workers: int, report=print) -> None:
    """Render the first ``clips`` items of each suite (rounded up to whole shards); existing shards are kept."""
    root.mkdir(parents=True, exist_ok=True)
    numbers = range(-(-clips // SHARD_CLIPS))
    jobs = [(suite, n) for n in numbers for suite in suites if not shard_path(root, suite, split, n).exists()]
    if not jobs:
        return
    start, done = time.time(), 0
    with ProcessPoolExecutor(workers, initializer=_single_thread) as pool:
        futures = [pool.submit(_write_shard, root, suite, split, n) for suite, n in jobs]
        for future in as_completed(futures):
            future.result()
            done += 1
            left = (time.time() - start) / done * (len(jobs) - done)
            report(f"rendered {done * SHARD_CLIPS} of {len(jobs) * SHARD_CLIPS} clips, {left / 60:.1f} min left")


def read(root: pathlib.Path, suite: str, split: str, clips: int, in_memory: bool = False) -> Iterator[Clip]:
    """Yield the first ``clips`` clips of a suite in index order; see ``read_shard`` for ``in_memory``."""
    for number in range(-(-clips // SHARD_CLIPS)):
        yield from read_shard(root, suite, split, number, in_memory)[: clips - number * SHARD_CLIPS]


def read_shard(root: pathlib.Path, suite: str, split: str, number: int, in_memory: bool) -> list[Clip]:
    """Return the clips of one shard.

    A mel's rows lie apart in the file, so reading clips one by one from disk costs 128 seeks each: whoever touches
    the mels wants ``in_memory``, which reads the shard at once.
    """
    folder = shard_path(root, suite, split, number)
    if not folder.exists():
        raise FileNotFoundError(f"shard {folder} is missing: build the data first")
    mels = np.load(folder / "mel.npy", mmap_mode=None if in_memory else "r")
    clips, offset = [], 0
    for line in (folder / "clips.jsonl").read_text().splitlines():
        row = json.loads(line)
        marks = [(start, end, tag) for start, end, tag in row["spans"]]
        mel = mels[:, offset : offset + row["T"]]
        clips.append(Clip(mel, marks, Sample.from_json(row["sample"]), row["num_samples"]))
        offset += row["T"]
    return clips
