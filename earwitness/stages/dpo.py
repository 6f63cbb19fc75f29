"""Direct preference optimisation on pairs of replies, with the sound in the prompt (report, section 4.3).

    earwitness train dpo --config my.yaml

A manifest's samples hold ``chosen`` and ``rejected``. What the starting model gives to each reply is computed once,
before the first step, and kept in the run folder: no second model is in memory while training.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from earwitness.data import dialogue
from earwitness.data.cache import FeatureCache
from earwitness.data.collate import Batch, collate
from earwitness.data.dialogue import Example
from earwitness.data.manifest import Manifest
from earwitness.data.mixture import Shuffle
from earwitness.data.stream import part
from earwitness.losses import dpo_loss, sequence_log_probs
from earwitness.model.reasoner import AudioReasoner
from earwitness.stages.start import ComputeConfig, StartConfig, adapt, export, guard, place, published, say
from earwitness.train import config as configs
from earwitness.train import loop
from earwitness.train.learner import Learner, OptimiserConfig
from earwitness.train.modules import Policy
from earwitness.train.world import World
from earwitness.train.world import start as join


@dataclass(frozen=True)
class DpoConfig:
    """The whole configuration of the stage."""

    run: str
    """Run folder; the model in the published layout is written to ``model/`` in it."""
    manifest: str
    """Samples with ``chosen`` and ``rejected``."""
    loop: loop.LoopConfig
    start: StartConfig
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(lr=5e-6, muon=False))
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    validation: str = ""
    """Samples whose preference accuracy is measured before and after."""
    beta: float = 0.1
    """Prior: the usual value; the report gives none."""
    label_smoothing: float = 0.0
    batch: int = 32
    """Pairs of an update, over all ranks."""
    max_tokens: int = 32_768
    """Tokens of one forward pass, padding and both replies included."""
    cache: str = "~/.cache/earwitness/features"


class Pair(NamedTuple):
    """Two replies to one prompt."""

    number: int
    """Of the sample in its manifest."""
    chosen: Example
    rejected: Example

    @property
    def length(self) -> int:
        """Tokens of the longer one."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


class Pairs:
    """The pairs of a manifest, by number."""

    def __init__(self, path: str, tokenizer: Any, model: AudioReasoner, cache: str) -> None:
        self._manifest, self._tokenizer = Manifest(path), tokenizer
        self._cache = FeatureCache(cache, model)
        self._ids = (model.config.pad_token_id, model.config.audio_patch_token_id)

    def __len__(self) -> int:
        return len(self._manifest)

    def __getitem__(self, number: int) -> Pair:
        sample = self._manifest[number]
        return Pair(number, *dialogue.preference(self._tokenizer, sample, self._cache.states(sample)))

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        """Return the chosen replies of pairs as rows, then the rejected ones."""
        return collate([p.chosen for p in pairs] + [p.rejected for p in pairs], *self._ids)


def passes(pairs: Sequence[Pair], max_tokens: int) -> list[list[Pair]]:
    """Cut pairs into groups whose rows, padded, have at most ``max_tokens``."""
    groups: list[list[Pair]] = []
    for pair in sorted(pairs, key=lambda p: p.length):
        if 2 * pair.length > max_tokens:
            raise ValueError(
                f"sample {pair.chosen.name}: a pair of {pair.length} tokens each does not fit in max_tokens "
                f"{max_tokens}; cut it or raise max_tokens"
            )
        if not groups or 2 * (len(groups[-1]) + 1) * pair.length > max_tokens:
            groups.append([])
        groups[-1].append(pair)
    return groups


@torch.no_grad()
def log_probs(learner: Learner, pairs: Pairs, max_tokens: int, world: World) -> np.ndarray:
    """Return log pi of (chosen, rejected), (N, 2) float64, for all pairs, on every rank."""
    mine = list(range(world.data_rank, len(pairs), world.data_size))
    groups = passes([pairs[i] for i in mine], max_tokens)
    found: dict[int, list[float]] = {}
    for number in range(int(world.max(torch.tensor(len(groups))))):
        # Every forward pass gathers parameters from all ranks, so a rank that is done repeats one.
        group = groups[number] if number < len(groups) else [pairs[world.data_rank % len(pairs)]]
        scored = _score(learner, pairs.collate(group).to(world.device)).reshape(2, -1)
        found |= {pair.number: scores.tolist() for pair, scores in zip(group, scored.T.double().cpu())}
    for part_of in world.gather(found):
        found |= part_of
    return np.array([found[i] for i in range(len(pairs))])


def _score(learner: Learner, batch: Batch) -> torch.Tensor:
    with learner.autocast():
        scores = learner.module(batch)
    return sequence_log_probs(scores.log_probs_BT, batch.learned)


def update(
    learner: Learner, pairs: Pairs, mine: list[Pair], reference: np.ndarray, config: DpoConfig, world: World
) -> dict[str, float]:
    """Make one update from this rank's pairs; return numbers of the global batch."""
    groups = passes(mine, config.max_tokens)
    rounds = int(world.max(torch.tensor(len(groups))))
    sums = torch.zeros(5, dtype=torch.float64)
    for number in range(rounds):
        group = groups[number] if number < len(groups) else []
        batch = pairs.collate(group or mine[:1] or [pairs[0]]).to(world.device)
        chosen_N, rejected_N = _score(learner, batch).chunk(2)
        given = torch.tensor(reference[[p.number for p in group]], dtype=torch.float32, device=world.device)
        if not group:
            learner.backward(0.0 * (chosen_N + rejected_N).sum())
            continue
        out = dpo_loss(chosen_N, rejected_N, given[:, 0], given[:, 1], config.beta, config.label_smoothing)
        learner.backward(out.loss / config.batch)
        with torch.no_grad():
            prefers = (chosen_N > rejected_N).float().sum()
            parts = (out.loss, out.accuracies_N.sum(), out.margins_N.sum(), prefers, batch.learned.sum())
            sums += torch.stack([x.detach().double().cpu() for x in parts])
    norm = learner.update()
    loss, accuracy, margin, prefers, tokens = (world.sum(sums) / config.batch).tolist()
    names = {"loss": loss, "accuracy": accuracy, "margin": margin, "prefers_chosen": prefers, "grad_norm": norm}
    return {**names, "tokens": tokens * config.batch}


def main(config_path: str, overrides: tuple[str, ...] = (), minutes: float | None = None, dry_run: bool = False) -> int:
    """Run or continue the stage; returns the step reached."""
    config = configs.load(DpoConfig, config_path, overrides)
    if not config.start.model:
        raise ValueError("dpo starts from a trained model; give its folder as start.model")
    if dry_run:
        say(f"{config}\n{len(Manifest(config.manifest)):,} pairs in {config.manifest}")
        return 0
    world = join(config.compute.device, config.compute.tensor_parallel)
    folder = pathlib.Path(config.run).expanduser()
    if world.is_first:
        configs.record(config, folder)
    tokenizer, model = published(config.start)
    check = guard(model)
    pairs = Pairs(config.manifest, tokenizer, model, config.cache)
    held = Pairs(config.validation, tokenizer, model, config.cache) if config.validation else None
    adapt(model, config.start)
    policy = place(Policy(model), world, config.compute, config.optimiser.bf16)
    learner = Learner(policy, config.optimiser, world, config.loop.steps)
    reference = _reference(learner, pairs, held, folder, config, world)
    order = Shuffle(len(pairs), config.loop.seed)

    def step_at(step: int) -> dict[str, float]:
        numbers = [order.at(n)[1] for n in range(step * config.batch, (step + 1) * config.batch)]
        whole = sorted((pairs[i] for i in part(numbers, world.data_rank, world.data_size)), key=lambda p: p.length)
        return update(learner, pairs, whole, reference, config, world)

    step = loop.run(config.loop, world, {"policy": learner}, step_at, folder, guard=check, minutes=minutes)
    export(policy, model, tokenizer, folder / "model", world)
    if held is not None:
        after = prefers(log_probs(learner, held, config.max_tokens, world))
        say(f"validation: prefers the chosen reply in {after:.1%}")
    world.close()
    return step


def prefers(scores_N2: np.ndarray) -> float:
    """Return the share of pairs whose chosen reply is the likelier one."""
    return float((scores_N2[:, 0] > scores_N2[:, 1]).mean())


def _reference(
    learner: Learner, pairs: Pairs, held: Pairs | None, folder: pathlib.Path, config: DpoConfig, world: World
) -> np.ndarray:
    """Return the log-probabilities of the starting model, computed where the run begins, read where it goes on."""
    path = folder / "reference.npy"
    if not world.broadcast(path.exists()):
        scores = log_probs(learner, pairs, config.max_tokens, world)
        if held is not None:
            before = prefers(log_probs(learner, held, config.max_tokens, world))
            say(f"validation: prefers the chosen reply in {before:.1%}")
        if world.is_first:
            partial = path.with_suffix(".partial")
            with open(partial, "wb") as file:
                np.save(file, scores)
            partial.rename(path)
        world.wait()
    return np.load(path)
