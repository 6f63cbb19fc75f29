"""What a training run needs before it is begun: the memory of every rank, and whether it fits a card.

Everything follows from shapes (``train.plan_memory``); ``train.plan_time`` estimates how long a step takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from earwitness.model.config import EarwitnessConfig
from earwitness.train import plan_memory as memory
from earwitness.train.plan_memory import FLOAT32, Part, Split

STAGES = ("sft", "dpo", "rlvr")
ENGINE_ROWS = 128
"""Replies that ``LocalEngine`` samples at once, its default."""
CARDS_A_NODE = 8
_SHORTEST = 1024  # tokens; shorter rows hold no reasoning over a clip


@dataclass(frozen=True)
class Card:
    """A card, from its maker's data sheet (SXM variants, dense products); rates are in units a second."""

    memory_bytes: float
    """Nominal, 1 GB = 1e9 bytes. A card has some more, which is left to CUDA, NCCL and fragmentation."""
    bf16_flops: float
    float32_flops: float
    memory_bandwidth: float
    link: float
    """Bytes to the other cards of a node, one direction of NVLink."""
    network: float
    """Bytes to other nodes through a card's own adapter: 200 Gbit/s (a100) or 400 Gbit/s."""


CARDS = {
    "a100": Card(80e9, 312e12, 19.5e12, 2.04e12, 300e9, 25e9),
    "h100": Card(80e9, 989e12, 67e12, 3.35e12, 450e9, 50e9),
    "h200": Card(141e9, 989e12, 67e12, 4.8e12, 450e9, 50e9),
}


@dataclass(frozen=True)
class Job:
    """A run to plan; values are called what the stages' configurations call them."""

    stage: str
    """One of ``STAGES``."""
    split: Split
    sequence: int
    """Tokens of every row, prompt and reply: the longest ones, so that the plan is an upper bound."""
    max_tokens: int
    """Of one forward pass."""
    batch: int
    """Of a step over all ranks: dialogues (sft), pairs (dpo), prompts (rlvr)."""
    samples: int = 1
    """For rlvr: replies of a prompt."""
    actor_updates: int = 1
    """For rlvr: updates into which a rank's replies are cut."""
    critic_updates: int = 1
    """The same for the critic."""
    activation_checkpointing: bool = True
    muon: bool = False
    local_rollouts: bool = True
    """For rlvr: the engine is on the same cards, with a whole float32 model on each, as the stage has it."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage {self.stage!r} is unknown; choose one of {', '.join(STAGES)}")
        if min(self.sequence, self.max_tokens, self.batch) < 1:
            raise ValueError("sequence, max_tokens and batch must be at least 1; leave them out for their defaults")
        if self.unit > self.max_tokens:
            raise ValueError(
                f"{self.sequence} tokens {'of each of two replies ' if self.stage == 'dpo' else ''}do not fit in "
                f"{self.max_tokens_key} {self.max_tokens}; raise it or shorten --sequence"
            )

    @property
    def unit(self) -> int:
        """Tokens of what is never cut: a row, or the two of a pair."""
        return self.sequence * (2 if self.stage == "dpo" else 1)

    @property
    def max_tokens_key(self) -> str:
        """What the stage's configuration calls ``max_tokens``."""
        return "update.max_tokens" if self.stage == "rlvr" else "max_tokens"

    @property
    def rows(self) -> int:
        """Dialogues, pairs or replies of a step on a rank; replies of one prompt are on one rank."""
        return -(-self.batch // self.split.data) * self.samples

    @property
    def together(self) -> int:
        """How many of them fit in a pass."""
        return self.max_tokens // self.unit

    def updates(self, module: str) -> int:
        """Return the updates of a step, of ``policy``, ``actor`` or ``critic``."""
        return {"actor": self.actor_updates, "critic": self.critic_updates}.get(module, 1)

    def passes(self, updates: int) -> tuple[int, int]:
        """Return (passes of an update on a rank, tokens of one), where a rank's rows are cut into ``updates``."""
        rows = -(-self.rows // updates)
        return -(-rows // self.together), min(rows, self.together) * self.unit

    @property
    def has_engine(self) -> bool:
        """Whether a rollout engine shares the cards."""
        return self.stage == "rlvr" and self.local_rollouts


@dataclass(frozen=True)
class Model:
    """What a plan needs of a model."""

    config: EarwitnessConfig
    modules: Mapping[str, Sequence[Part]]
    """What is trained and cut, in the order of placing it: ``policy``, or ``critic`` and ``actor``."""
    whole: Sequence[Part]
    """The model with its encoder: what an engine holds."""

    def check(self, job: Job) -> None:
        """Raise ``ValueError`` for a job that the model or the trainer cannot take."""
        text, ranks = self.config.text_config, job.split.tensor_parallel
        heads = memory.key_heads(self.config)
        if heads % ranks:
            raise ValueError(
                f"{heads} key-value heads cannot be split over compute.tensor_parallel {ranks}; choose a divisor"
            )
        if job.sequence > text.max_position_embeddings:
            raise ValueError(
                f"the model reads {text.max_position_embeddings} tokens and --sequence is {job.sequence}; shorten it"
            )
        if ranks > 1 and any(".lora_" in part.name for parts in self.modules.values() for part in parts):
            raise ValueError("the trainer cannot cut low-rank adapters over tensor ranks; leave one of the two out")


def rank_memory(model: Model, job: Job, card: Card) -> dict[str, np.ndarray]:
    """Return bytes by kind, (data,) int64 for every data rank, with ``total`` the most at one time.

    Weights and optimiser states stay, and so do an engine's weights. Gradients, activations and gathered blocks belong
    to updates, the cache to sampling; the larger of the two counts. Actor and critic learn one after the other, so of
    these only the one that needs more counts. DPO has one module: its reference is a file of numbers.
    """
    split = job.split
    size: dict[str, Any] = {
        "weights": sum(memory.weights(parts, split) for parts in model.modules.values()),
        "optimiser states": sum(memory.optimiser_states(parts, split, job.muon) for parts in model.modules.values()),
    }
    needs = [_update(model, job, name) for name in model.modules]
    needs.sort(key=_most)
    size.update(needs[-1])
    size |= {"rollout engine": _engine(model, job), "KV cache": _cache(model, job, card) if job.has_engine else 0}
    out = {name: np.broadcast_to(np.asarray(value, dtype=np.int64), split.data) for name, value in size.items()}
    updating = out["gradients"] + out["activations"] + out["gathered blocks"]
    staying = out["weights"] + out["optimiser states"] + out["rollout engine"]
    return out | {"total": staying + np.maximum(updating, out["KV cache"])}


def _most(sizes: dict[str, Any]) -> int:
    """Return the bytes of all kinds together, on the rank that needs most."""
    return sum(int(np.max(size)) for size in sizes.values())


def _update(model: Model, job: Job, name: str) -> dict[str, Any]:
    """Return what an update of one module adds, by kind."""
    parts, (_, tokens) = model.modules[name], job.passes(job.updates(name))
    checkpointing, has_head = job.activation_checkpointing, name != "critic"
    return {
        "gradients": memory.gradients(parts, job.split),
        "activations": memory.activations(model.config, job.split, tokens, checkpointing, has_head),
        "gathered blocks": memory.gathered(parts, job.split),
    }


def _engine(model: Model, job: Job) -> int:
    return FLOAT32 * memory.total(model.whole) if job.has_engine else 0


def engine_rows(model: Model, job: Job, card: Card) -> int:
    """Return how many replies a rank's local engine samples at once.

    The rank's share, at most ``ENGINE_ROWS``, and what fits in half of the memory that is free when the engine is
    made, which is before anything else is placed (``stages.rlvr``); one row always.
    """
    row = job.sequence * memory.cache_bytes_per_token(model.config)
    free = int(card.memory_bytes) - _engine(model, job)
    return max(1, min(job.rows, ENGINE_ROWS, free // 2 // row))


def _cache(model: Model, job: Job, card: Card) -> int:
    return engine_rows(model, job, card) * job.sequence * memory.cache_bytes_per_token(model.config)


def outside_steps(model: Model, job: Job) -> dict[str, int]:
    """Return the most bytes at moments before the first step and after the last one.

    ``host`` is the memory of a node in which each of its processes loads a whole float32 model (and for rlvr copies
    it). The others are of a card, where the run is sharded: ``start``, when the last module is placed, of which one
    layer or the root is whole in float32 at a time (``stages.start.place``); ``export``, when the first rank holds one
    whole weight after another (``stages.start.export``).
    """
    processes = min(job.split.gpus, CARDS_A_NODE)
    host = {"host": processes * FLOAT32 * memory.total(model.whole) * (2 if job.stage == "rlvr" else 1)}
    if not job.split.is_sharded:
        return host
    placed, start = _engine(model, job), 0
    for parts in model.modules.values():
        placed += int(memory.weights(parts, job.split)[0])
        layer, root = (memory.total(p for p in parts if p.layer == place) for place in (0, None))
        start = max(start, placed + FLOAT32 * max(layer, root))
    states = sum(int(memory.optimiser_states(parts, job.split, job.muon)[0]) for parts in model.modules.values())
    *_, policy = model.modules.values()
    return {**host, "start": start, "export": placed + states + FLOAT32 * max(memory.total([p]) for p in policy)}


def advice(model: Model, job: Job, card: Card) -> list[str]:
    """Return options, as typed, with which every rank's steps fit the card; empty if none of ours do."""
    chosen: dict[str, tuple[str, dict[str, Any]]] = {}
    changed = job
    while not fits(model, changed, card):
        found = _smaller(model, changed)
        if found is None:
            return []
        chosen[" ".join(found[1])] = found
        changed = replace(changed, **found[1])
    for name in list(chosen):  # the last changes may have made the first ones needless
        rest = {key: value for other, (_, fields) in chosen.items() if other != name for key, value in fields.items()}
        if _is_possible(model, job, rest) and fits(model, replace(job, **rest), card):
            del chosen[name]
    return [option for option, _ in chosen.values()]


def fits(model: Model, job: Job, card: Card) -> bool:
    """Return whether the steps of every rank fit the card."""
    return int(rank_memory(model, job, card)["total"].max()) <= card.memory_bytes


def _smaller(model: Model, job: Job) -> tuple[str, dict[str, Any]] | None:
    """Return the option that saves memory at the least cost, and what it changes; None if all are taken."""
    if not job.activation_checkpointing:
        return "--set compute.activation_checkpointing=true", {"activation_checkpointing": True}
    if job.together > 1:
        return f"--set {job.max_tokens_key}={job.unit}", {"max_tokens": job.unit}
    ranks = 2 * job.split.tensor_parallel
    if ranks <= CARDS_A_NODE and job.split.gpus % ranks == 0:
        change = {"split": Split(job.split.gpus, ranks)}
        if _is_possible(model, job, change):
            return f"--set compute.tensor_parallel={ranks}", change
    if job.sequence >= 2 * _SHORTEST:
        return f"--sequence {job.sequence // 2}", {"sequence": job.sequence // 2}
    return ("--rollouts elsewhere", {"local_rollouts": False}) if job.has_engine else None


def _is_possible(model: Model, job: Job, change: dict[str, Any]) -> bool:
    try:
        model.check(replace(job, **change))
    except ValueError:
        return False
    return True
