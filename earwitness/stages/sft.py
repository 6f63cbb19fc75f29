"""Supervised fine-tuning on states of the frozen encoder: cold start (report, eq. 1) and MGRD rounds (eq. 5).

    earwitness train sft --config configs/tiny-sft.yaml
    torchrun --nproc-per-node 8 -m earwitness train sft --config my.yaml

Sources are SoundWorld suites and manifests of samples, mixed by weight. With ``mixture.think`` at 0 the stage trains
the control that answers without reasoning. The small model's chains are written from SoundWorld's facts; that is
allowed for this stand-in only, and MGRD does not start from it.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from earwitness import prompt, soundworld
from earwitness.data import dialogue, features, packing, shards
from earwitness.data.cache import FeatureCache
from earwitness.data.collate import Batch, collate, collate_packed, nothing
from earwitness.data.dialogue import Example
from earwitness.data.manifest import Manifest
from earwitness.data.stream import Source, Stream, micro_batches, part, thinned
from earwitness.losses import sft_loss
from earwitness.model import presets
from earwitness.model.reasoner import AudioReasoner
from earwitness.model.tokenizer import train_tokenizer
from earwitness.records import Sample
from earwitness.stages.pretrain import DataConfig
from earwitness.stages.start import (
    ComputeConfig,
    StartConfig,
    adapt,
    export,
    from_nothing,
    guard,
    place,
    published,
    say,
)
from earwitness.train import config as configs
from earwitness.train import loop
from earwitness.train.learner import Learner, OptimiserConfig
from earwitness.train.modules import Policy
from earwitness.train.world import World
from earwitness.train.world import start as join


@dataclass(frozen=True)
class MixtureConfig:
    """Relative frequencies of the kinds of dialogue made from SoundWorld's clips."""

    think: float = 1.0
    direct: float = 0.5
    caption: float = 0.15
    transcribe: float = 0.1
    """Of speech clips only."""
    without_choices: float = 0.25
    """Share of questions asked without listing the options."""


@dataclass(frozen=True)
class ManifestConfig:
    """A source of samples beside SoundWorld."""

    path: str
    weight: float = 1.0
    """Items relative to one SoundWorld suite."""


@dataclass(frozen=True)
class SftConfig:
    """The whole configuration of the stage."""

    run: str
    """Run folder; the model in the published layout is written to ``model/`` in it."""
    loop: loop.LoopConfig
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    start: StartConfig = field(default_factory=StartConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """SoundWorld clips; ``suites: []`` for none."""
    shares: dict[str, float] = field(default_factory=dict)
    """SoundWorld's question types of which only this share of the items is learned, so that a later stage finds a model
    that writes its chains well and is seldom right there."""
    manifests: dict[str, ManifestConfig] = field(default_factory=dict)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    batch: int = 64
    """Dialogues of an update, over all ranks."""
    max_tokens: int = 32_768
    """Tokens of one forward pass, padding included; a larger share of the batch takes several. A longer example cannot
    be used."""
    pack: bool = False
    """Put dialogues one after another in rows of ``max_tokens``, none seeing another; else rows are padded."""
    by_tokens: bool = False
    """Weights are shares of tokens, as the report gives its budgets (text 1 B, audio 4 B), and not of items."""
    skip_unusable: bool = False
    """Say what is wrong with a sample that cannot be used and take its source's next; else it ends the run."""
    cache: str = "~/.cache/earwitness/features"
    """Encoder states of the clips of manifests."""


class Data:
    """Everything an SFT run reads."""

    def __init__(self, config: SftConfig, tokenizer: Any, model: AudioReasoner) -> None:
        root, digest = pathlib.Path(config.data.folder).expanduser(), features.weights_hash(model.encoder)
        suites, clips = config.data.suites, config.data.clips
        for suite in suites:
            features.build(root, suite, "train", clips, model.encoder, digest, report=say)
        self._shards = features.ShardStates(root, suites, "train", clips, digest)
        self._cache = FeatureCache(config.cache, model) if config.manifests else None
        self._tokenizer, self._without = tokenizer, config.mixture.without_choices
        kinds = {kind: getattr(config.mixture, kind) for kind in ("think", "direct", "caption", "transcribe")}
        if unknown := config.shares.keys() - {x.task for suite in suites for x in self._shards.samples[suite]}:
            raise ValueError(f"shares: no question in data.suites is of type {sorted(unknown)[0]!r}")
        kept = {suite: thinned(self._shards.samples[suite], config.shares) for suite in suites}
        sources = {suite: Source(samples, 1.0, kinds) for suite, samples in kept.items()}
        for name, given in config.manifests.items():
            manifest = Manifest(given.path)
            say(f"{name}: {len(manifest):,} samples in {given.path}")
            sources[name] = Source(manifest, given.weight, {"as_is": 1.0})
        if not sources:
            raise ValueError("the run has no data; give data.suites or manifests")
        self._pack, self._max_tokens = config.pack, config.max_tokens
        self._patch_id, self._pad_id = model.config.audio_patch_token_id, model.config.pad_token_id
        self.stream = Stream(
            sources, self._example, dialogue.fits, config.batch, config.loop.seed,
            by_tokens=config.by_tokens, max_tokens=config.max_tokens, skip=say if config.skip_unusable else None,
        )  # fmt: skip

    def _example(self, sample: Sample, kind: str, rng: np.random.Generator) -> Example:
        is_world = not sample.messages and str(sample.audio[:1]).startswith("('soundworld:")
        source = self._shards if is_world and sample.domain in self._shards.samples else self._cache
        states = source.states(sample) if source is not None and dialogue.clips(sample) else []
        return dialogue.example(self._tokenizer, sample, kind, states, rng.random() >= self._without)

    def passes(self, examples: list[Example]) -> list[Batch]:
        """Return examples as the batches of one forward pass each."""
        ids = (self._pad_id, self._patch_id)
        if self._pack:
            return [collate_packed([row], *ids) for row in packing.groups(examples, self._max_tokens)]
        return [collate(group, *ids) for group in micro_batches(examples, self._max_tokens)]


def update(learner: Learner, passes: list[Batch], world: World) -> dict[str, float]:
    """Make one update from this rank's passes; return numbers of the global batch.

    The loss is the mean over all learned tokens of the global batch. A rank with fewer passes than another adds empty
    ones, as every pass gathers parameters from all ranks.
    """
    counts = world.sum(torch.tensor([sum(b.num_learned for b in passes), sum(_tokens(b) for b in passes)]))
    rounds = int(world.max(torch.tensor(len(passes))))
    total = torch.zeros((), dtype=torch.float64)
    for number in range(rounds):
        batch = (passes[number] if number < len(passes) else nothing()).to(world.device)
        with learner.autocast():
            scores = learner.module(batch)
        loss = sft_loss(scores.log_probs_BT, batch.learned).loss / counts[0]
        learner.backward(loss)
        total += loss.detach().cpu().double()
    norm = learner.update()
    learned, tokens = counts.tolist()
    return {"loss": float(world.sum(total)), "grad_norm": norm, "tokens": tokens, "learned": learned}


def _tokens(batch: Batch) -> int:
    """Return tokens of a batch without padding, to within the padding before the last learned token of each row."""
    last = torch.arange(batch.ids.shape[1]).expand_as(batch.ids).masked_fill(~batch.learned, -1).amax(1)
    return int((last + 1).sum())


def main(config_path: str, overrides: tuple[str, ...] = (), minutes: float | None = None, dry_run: bool = False) -> int:
    """Run or continue the stage; returns the step reached."""
    config = configs.load(SftConfig, config_path, overrides)
    if dry_run:
        return preview(config)
    world = join(config.compute.device, config.compute.tensor_parallel)
    folder = pathlib.Path(config.run).expanduser()
    tokenizer, model = prepare(config, folder, world)
    check = guard(model)
    data = Data(config, tokenizer, model)
    adapt(model, config.start)
    policy = place(Policy(model), world, config.compute, config.optimiser.bf16)
    learner = Learner(policy, config.optimiser, world, config.loop.steps)

    def step_at(step: int) -> dict[str, float]:
        mine = part(data.stream.at(step), world.data_rank, world.data_size)
        return update(learner, data.passes(mine), world)

    step = loop.run(config.loop, world, {"policy": learner}, step_at, folder, guard=check, minutes=minutes)
    export(policy, model, tokenizer, folder / "model", world)
    world.close()
    return step


def prepare(config: SftConfig, folder: pathlib.Path, world: World) -> tuple[Any, AudioReasoner]:
    """Return (tokenizer, model with its frozen encoder) and write the run folder; the first rank does it first."""
    root, data = pathlib.Path(config.data.folder).expanduser(), config.data
    if world.is_first:
        configs.record(config, folder)
        shards.build(root, data.suites, "train", data.clips, data.workers, report=say)
    if world.is_first:
        tokenizer, model = _begin(config, folder)
    world.wait()
    if not world.is_first:
        tokenizer, model = _begin(config, folder)
    total = sum(p.numel() for p in model.parameters())
    say(f"{total:,} parameters; encoder {features.weights_hash(model.encoder)[:12]} is frozen")
    return tokenizer, model


def _begin(config: SftConfig, folder: pathlib.Path) -> tuple[Any, AudioReasoner]:
    if config.start.model:
        return published(config.start)
    tokenizer = tokenizer_for(config, folder)
    return tokenizer, from_nothing(config.start, tokenizer, config.loop.seed)


def tokenizer_for(config: SftConfig, folder: pathlib.Path) -> Any:
    """Return the run's tokenizer, learned once from the texts of the training clips and kept in the run folder."""
    from transformers import AutoTokenizer

    path = folder / "tokenizer"
    if not path.exists():
        root = pathlib.Path(config.data.folder).expanduser()
        texts = []
        for suite in config.data.suites:
            for clip in shards.read(root, suite, "train", min(config.data.clips, 4000)):
                s = clip.sample
                texts += [s.question, s.reasoning or "", str(s.extra.get("caption", "")), ", ".join(s.choices)]
        train_tokenizer(texts, config.start.vocab_size).save_pretrained(path)
    return AutoTokenizer.from_pretrained(path)


def preview(config: SftConfig) -> int:
    """Print what a run would train, and on what, without touching the disk; returns 0 steps."""
    with torch.device("meta"):
        model = AudioReasoner(presets.preset(config.start.preset, vocab_size=config.start.vocab_size))
    frozen = sum(p.numel() for p in model.encoder.parameters())
    total = sum(p.numel() for p in model.parameters())
    say(f"{config}")
    say(f"{total - frozen:,} parameters to train, {frozen:,} frozen in the encoder")
    for suite in config.data.suites[:1]:
        sample = soundworld.sample(suite, "train", 0)
        for kind in ("think", "direct"):
            if getattr(config.mixture, kind):
                _show(sample, kind)
    for given in config.manifests.values():
        _show(Manifest(given.path)[0], "as_is")
    return 0


def _show(sample: Sample, kind: str) -> None:
    messages, reasoning, answer = dialogue.dialogue(sample, kind)
    asked = prompt.render(messages, think=reasoning is not None)
    say(f"{kind}: {asked}{''.join(s.text for s in prompt.completion(answer, reasoning))}")
