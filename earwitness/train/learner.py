"""A module that learns: its optimisers, its schedule, its gradients. A run has one, or two (actor and critic).

Matrices inside the network are updated by Muon (PyTorch's) where the config says so, everything else (embeddings,
head, convolutions, norms, biases) by AdamW; both see one learning rate, as Muon's update is scaled to AdamW's RMS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from earwitness.train.sharding import whole
from earwitness.train.world import World

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class OptimiserConfig:
    """How one module is updated."""

    lr: float = 1e-3
    """Peak learning rate."""
    schedule: str = "cosine"
    """After the warm-up: ``cosine`` falls to ``final_lr_ratio``, ``constant`` stays."""
    warmup_steps: int = 50
    final_lr_ratio: float = 0.05
    """Learning rate at the last step of ``cosine``, as a share of the peak."""
    weight_decay: float = 0.05
    beta2: float = 0.98
    grad_clip: float = 1.0
    muon: bool = True
    """Use Muon for matrices; False leaves everything to AdamW."""
    bf16: bool = True
    """Matrix products in bfloat16; parameters, optimiser state and sums stay in float32."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0 or self.lr <= 0 or self.grad_clip <= 0:
            raise ValueError(
                f"optimiser: lr {self.lr} and grad_clip {self.grad_clip} must be > 0, warmup_steps "
                f"{self.warmup_steps} at least 0"
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimiser: schedule {self.schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")


def learning_rate(config: OptimiserConfig, step: int, steps: int) -> float:
    """Return the rate at a step of a run of ``steps``: linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    floor = config.final_lr_ratio
    return config.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def make_optimisers(config: OptimiserConfig, module: nn.Module) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a module; embeddings and heads are told from inner matrices by their names."""
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    outer = ("embed", "head", "lora_")
    matrices = [p for n, p in named if config.muon and p.ndim == 2 and not any(o in n for o in outer)]
    inner = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in inner]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimisers: list[torch.optim.Optimizer] = []
    if groups:
        optimisers.append(torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True))
    if matrices:
        optimisers.append(
            torch.optim.Muon(matrices, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimisers


class Learner:
    """A module on its way: ``backward`` adds gradients, ``update`` uses them once."""

    def __init__(self, module: nn.Module, config: OptimiserConfig, world: World, steps: int) -> None:
        """Wrap a module that is already sharded.

        Args:
            module: takes part in training with those of its parameters that need gradients.
            config: of its updates.
            world: where the run computes.
            steps: length of the whole run, for the schedule.

        Raises:
            ValueError: if nothing needs a gradient.
        """
        self.module, self.config, self.world, self.steps = module, config, world, steps
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("no parameter of the module needs a gradient; unfreeze the part that should learn")
        self.optimisers = make_optimisers(config, module)

    def autocast(self) -> AbstractContextManager:
        """Return the context in which forward passes run."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.bf16)

    def set_rate(self, step: int) -> float:
        """Set the learning rate of a step and return it."""
        rate = learning_rate(self.config, step, self.steps)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        return rate

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of this rank's share of the global mean loss.

        Shares add up over ranks and micro-batches: a sum over tokens divided by the tokens of the whole global batch.
        Sharded gradients are averaged over the ranks, so the share is multiplied by their number first. They are
        reduced in every micro-batch: to reduce once an update, every rank would keep whole gradients until then.
        """
        (loss * self.world.data_size).backward()

    def update(self) -> float:
        """Clip the gradient, make one step of the optimisers, forget the gradient; return the norm before clipping.

        Raises:
            FloatingPointError: if the gradient is not finite; nothing was updated.
        """
        norm = self._norm()
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient is {norm}; lower the learning rate (now {self.config.lr})")
        factor = self.config.grad_clip / (norm + 1e-6)
        if factor < 1:
            for gradient in self._gradients():
                gradient.mul_(factor)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return norm

    def _gradients(self) -> Iterator[torch.Tensor]:
        return (p.grad for p in self.parameters if p.grad is not None)

    def _norm(self) -> float:
        """Return the norm over all ranks; parameters on different meshes cannot be stacked, so each mesh by itself."""
        by_mesh: dict[object, list[torch.Tensor]] = {}
        for gradient in self._gradients():
            key = (gradient.device_mesh, gradient.placements) if isinstance(gradient, DTensor) else None
            by_mesh.setdefault(key, []).append(gradient)
        norms = [whole(torch.nn.utils.get_total_norm(gradients)) for gradients in by_mesh.values()]
        return float(torch.stack([norm.float() for norm in norms]).norm()) if norms else 0.0
