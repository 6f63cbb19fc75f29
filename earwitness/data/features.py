"""Outputs of the frozen encoder, computed once a clip and kept beside the rendered shard.

The file name carries a hash of the encoder's weights, so a changed encoder never meets stale features.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import time

import numpy as np
import torch

from earwitness.data import shards
from earwitness.records import Sample


def weights_hash(module: torch.nn.Module) -> str:
    """Return a SHA-256 over names, shapes and bytes of all parameters and buffers of a module."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def build(root: pathlib.Path, suite: str, split: str, clips: int, encoder, digest: str, report=print) -> None:
    """Encode the shards of a suite that have no features yet; each file is replaced atomically."""
    numbers = range(-(-clips // shards.SHARD_CLIPS))
    missing = [n for n in numbers if not _path(root, suite, split, n, digest).exists()]
    start = time.time()
    for done, number in enumerate(missing, 1):
        rows = shards.read_shard(root, suite, split, number, in_memory=True)
        lengths = np.array([row.mel.shape[1] for row in rows])
        order = np.argsort(lengths)
        states: list[np.ndarray] = [np.empty(0)] * len(rows)
        for batch in np.array_split(order, max(1, len(order) // 32)):
            mel = np.zeros((len(batch), 128, int(lengths[batch].max())), dtype=np.float32)
            for row, item in zip(mel, batch):
                row[:, : lengths[item]] = rows[item].mel
            with torch.autocast("cpu", torch.bfloat16):
                out = encoder.forward_padded(torch.from_numpy(mel), torch.from_numpy(lengths[batch])).float()
            for item, row in zip(batch, out):
                states[item] = row[: (lengths[item] + 1) // 4].numpy().astype(np.float16)
        path = _path(root, suite, split, number, digest)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with open(partial, "wb") as file:
            np.save(file, np.concatenate(states))
        os.replace(partial, path)
        left = (time.time() - start) / done * (len(missing) - done) / 60
        report(f"{suite}: encoded {done} of {len(missing)} shards, {left:.1f} min left")


class ShardStates:
    """The cached states of SoundWorld samples, by address; the files are mapped, not read."""

    def __init__(self, root: pathlib.Path, suites: tuple[str, ...], split: str, clips: int, digest: str) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self._places: dict[str, np.ndarray] = {}
        for suite in suites:
            self.samples[suite] = []
            for number in range(-(-clips // shards.SHARD_CLIPS)):
                rows = np.load(_path(root, suite, split, number, digest), mmap_mode="r")
                offset = 0
                for clip in shards.read_shard(root, suite, split, number, in_memory=False):
                    frames = (clip.mel.shape[1] + 1) // 4
                    self._places[str(clip.sample.audio[0])] = rows[offset : offset + frames]
                    self.samples[suite].append(clip.sample)
                    offset += frames
            del self.samples[suite][clips:]

    def states(self, sample: Sample) -> list[list[np.ndarray]]:
        """Return the states (E, D) float16 of the one clip of a sample."""
        return [[self._places[str(sample.audio[0])]]]


def _path(root: pathlib.Path, suite: str, split: str, number: int, digest: str) -> pathlib.Path:
    return shards.shard_path(root, suite, split, number) / f"states-{digest[:12]}.npy"
