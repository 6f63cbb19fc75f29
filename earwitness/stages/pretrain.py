"""Encoder pre-training on dense truth: what sounds in every 40 ms frame (pitch, timbre, event, phoneme, speaker ...).

The published model takes its encoder ready-made from Qwen2-Audio and freezes it (report, section 3); a small model
has none to take, so this stage makes one. Linear heads read the encoder's 25 Hz output and are thrown away. After
this stage the encoder is frozen.

    earwitness train pretrain --config configs/tiny-pretrain.yaml
"""

from __future__ import annotations

import pathlib
import sys
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from earwitness import soundworld
from earwitness.data import shards
from earwitness.data.batches import LengthBatches
from earwitness.data.frames import FrameTargets
from earwitness.model import presets
from earwitness.model.encoder import AudioEncoder
from earwitness.train import config as configs
from earwitness.train import loop
from earwitness.train.checkpoint import save_atomically
from earwitness.train.learner import Learner, OptimiserConfig
from earwitness.train.world import start as join

# Frames with nothing of a group in them are many and easy; measured to matter little between 0.1 and 0.5.
_NONE_WEIGHT = 0.25


@dataclass(frozen=True)
class DataConfig:
    """Where rendered clips live and how many there are."""

    folder: str = "~/.cache/earwitness/data"
    suites: tuple[str, ...] = ("music", "sound", "speech")
    clips: int = 12_000
    """Training clips a suite."""
    workers: int = 2


@dataclass(frozen=True)
class PretrainConfig:
    """The whole configuration of the stage."""

    run: str
    """Run folder."""
    loop: loop.LoopConfig
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    data: DataConfig = field(default_factory=DataConfig)
    preset: str = "tiny"
    batch: int = 48
    validation_clips: int = 500
    """A suite, for the accuracies printed at the end."""


class FrameTagger(nn.Module):
    """An encoder with one linear head over all groups of tags."""

    def __init__(self, encoder: AudioEncoder, width: int, targets: FrameTargets) -> None:
        super().__init__()
        self.encoder, self.targets = encoder, targets
        self.head = nn.Linear(width, targets.num_classes)

    def loss(self, mel_BMT: torch.Tensor, num_frames_B: torch.Tensor, target_BEC: torch.Tensor):
        """Return (loss, accuracy per group on the frames where something of the group sounds)."""
        states_BED = self.encoder.forward_padded(mel_BMT, num_frames_B)
        logits_BEC = self.head(states_BED).float()
        E = logits_BEC.shape[1]
        valid_BE = torch.arange(E)[None] < (num_frames_B // 4)[:, None]
        total, accuracy = logits_BEC.new_zeros(()), {}
        for name, columns in self.targets.groups.items():
            logits, target = logits_BEC[..., columns], target_BEC[:, :E, columns]
            active = valid_BE & (target[..., 0] == 0)
            weight = torch.where(active, 1.0, _NONE_WEIGHT) * valid_BE
            loss_BE = -(target * logits.log_softmax(-1)).sum(-1)
            total = total + (loss_BE * weight).sum() / weight.sum()
            if active.any():
                hit = target.gather(-1, logits.argmax(-1, keepdim=True))[..., 0] > 0
                accuracy[name] = hit[active].float().mean().item()
        return total, accuracy


class ClipSet:
    """Clips of several suites with their encoded spans; mels stay memory-mapped."""

    def __init__(self, data: DataConfig, split: str, clips: int, targets: FrameTargets) -> None:
        root = pathlib.Path(data.folder).expanduser()
        shards.build(root, data.suites, split, clips, data.workers, report=lambda s: print(s, file=sys.stderr))
        self.mels, self.marks = [], []
        for suite in data.suites:
            for clip in shards.read(root, suite, split, clips, in_memory=True):
                self.mels.append(clip.mel)
                self.marks.append(targets.encode(clip.spans))
        self.lengths = np.array([m.shape[1] for m in self.mels])
        self.targets = targets

    def batch(self, items: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (mel (B, 128, T) zero-padded, frames (B), targets (B, E, classes))."""
        lengths = self.lengths[items]
        mel = np.zeros((len(items), 128, int(lengths.max())), dtype=np.float32)
        for row, item in zip(mel, items):
            row[:, : self.lengths[item]] = self.mels[item]
        target = self.targets.targets([self.marks[i] for i in items], -(-mel.shape[2] // 4))
        return torch.from_numpy(mel), torch.from_numpy(lengths), torch.from_numpy(target)


def all_tags(suites: tuple[str, ...]) -> list[str]:
    """Return every tag of the suites, in a fixed order."""
    return [tag for name in suites for tag in soundworld.suite(name).tags]


def main(config_path: str, overrides: tuple[str, ...] = (), minutes: float | None = None, dry_run: bool = False) -> int:
    """Run or continue the stage; returns the step reached."""
    config = configs.load(PretrainConfig, config_path, overrides)
    torch.manual_seed(config.loop.seed)
    model_config = presets.preset(config.preset)
    encoder = AudioEncoder(model_config)
    sinusoids(encoder.positional_embedding.weight)
    targets = FrameTargets(all_tags(config.data.suites))
    tagger = FrameTagger(encoder, model_config.audio.state, targets)
    count = sum(p.numel() for p in encoder.parameters())
    print(
        f"encoder {count:,} parameters, {targets.num_classes} classes in {len(targets.groups)} groups", file=sys.stderr
    )
    if dry_run:
        return 0
    world = join("cpu")
    if world.size > 1:
        raise ValueError("pretrain runs in one process: the encoder of tiny is small; start it without torchrun")
    folder = pathlib.Path(config.run).expanduser()
    configs.record(config, folder)
    clips = ClipSet(config.data, "train", config.data.clips, targets)
    batches = LengthBatches(clips.lengths, config.batch, config.loop.seed)
    learner = Learner(tagger, config.optimiser, world, config.loop.steps)

    def step_at(step: int) -> dict[str, float]:
        items = batches.at(step)[1]
        with learner.autocast():
            loss, accuracy = tagger.loss(*clips.batch(items))
        learner.backward(loss)
        return {"loss": loss.item(), "grad_norm": learner.update(), "clips": float(len(items)), **accuracy}

    step = loop.run(config.loop, world, {"tagger": learner}, step_at, folder, minutes=minutes)
    if step == config.loop.steps:
        save_atomically(encoder.state_dict(), folder / "encoder.pt")
        validate(config, tagger, targets)
    return step


@torch.no_grad()
def sinusoids(table_SD: torch.Tensor) -> None:
    """Fill a table of positions with Whisper's sinusoids, so that positions no clip reached still make sense."""
    S, D = table_SD.shape
    rates = torch.exp(-np.log(10_000) / (D // 2 - 1) * torch.arange(D // 2))
    angles = torch.arange(S)[:, None] * rates
    table_SD.copy_(torch.cat([angles.sin(), angles.cos()], dim=1))


@torch.no_grad()
def validate(config: PretrainConfig, tagger: FrameTagger, targets: FrameTargets) -> None:
    """Print the frame accuracy of every group on unseen clips."""
    clips = ClipSet(config.data, "validation", config.validation_clips, targets)
    batches = LengthBatches(clips.lengths, config.batch, 0)
    sums: dict[str, list[float]] = {}
    for step in range(batches.per_epoch):
        for name, value in tagger.loss(*clips.batch(batches.at(step)[1]))[1].items():
            sums.setdefault(name, []).append(value)
    for name, values in sums.items():
        print(f"validation {name}: {np.mean(values):.4f}", file=sys.stderr)
