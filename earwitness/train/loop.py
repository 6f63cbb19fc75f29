"""A small single-process training loop: Muon and AdamW, warm-up and cosine decay, checkpoints, exact resume.

Matrices inside the network are updated by Muon (PyTorch's), everything else (embeddings, head, convolutions, norms,
biases) by AdamW; both see one learning rate, because Muon's update is scaled to AdamW's RMS.

The batch is a pure function of the step, so the data position is the step number. ``state.pt`` holds parameters,
optimiser, random state and step; it is replaced atomically, and a run continues from it bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class LoopConfig:
    """The length and the optimiser of a run."""

    steps: int
    lr: float = 1e-3
    """Peak learning rate."""
    warmup_steps: int = 50
    final_lr_ratio: float = 0.05
    """Learning rate at the last step, as a share of the peak."""
    weight_decay: float = 0.05
    beta2: float = 0.98
    grad_clip: float = 1.0
    seed: int = 0
    muon: bool = True
    """Use Muon for matrices; False leaves everything to AdamW."""
    bf16: bool = True
    """Matrix products in bfloat16 (autocast); parameters stay in float32."""
    checkpoint_seconds: float = 120.0
    log_every: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup_steps < 0 or self.lr <= 0:
            raise ValueError(f"loop: steps {self.steps}, warmup_steps {self.warmup_steps} and lr {self.lr} must be > 0")


def learning_rate(config: LoopConfig, step: int) -> float:
    """Return the rate at a step: linear warm-up, then cosine down to ``final_lr_ratio``."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    floor = config.final_lr_ratio
    return config.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def make_optimisers(config: LoopConfig, module: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a run; embeddings and heads are told from inner matrices by their names."""
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    outer = ("embed", "head")
    matrices = [p for n, p in named if config.muon and p.ndim == 2 and not any(o in n for o in outer)]
    inner = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in inner]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)
    ]
    if matrices:
        muon = torch.optim.Muon(
            matrices, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        optimisers.append(muon)
    return optimisers


def save_atomically(value: Any, path: pathlib.Path) -> None:
    """``torch.save`` to a temporary name, then rename, so that a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    os.replace(partial, path)


def run(
    config: LoopConfig,
    module: torch.nn.Module,
    loss_at: Callable[[int], tuple[torch.Tensor, dict[str, float]]],
    folder: pathlib.Path,
    stop_at: int | None = None,
    minutes: float | None = None,
) -> int:
    """Train the parameters of ``module`` that need gradients; return the step reached.

    ``loss_at(step)`` returns the loss and the numbers to log. Continues from ``folder/state.pt`` where there is one.
    Stops early at ``stop_at`` steps or after ``minutes`` of this leg, with a checkpoint; the schedule stays that of
    ``config.steps``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimisers = make_optimisers(config, module)
    torch.manual_seed(config.seed)
    step, spent = 0, 0.0
    state_path = folder / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        module.load_state_dict(state["module"])
        for optimiser, saved_state in zip(optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved_state)
        torch.set_rng_state(state["rng"])
        step, spent = state["step"], state["seconds"]
    start, saved, window = time.time(), time.time(), []

    def save() -> None:
        state = {
            "module": module.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "rng": torch.get_rng_state(),
            "step": step,
            "seconds": spent + time.time() - start,
        }
        save_atomically(state, state_path)

    last = min(config.steps, stop_at or config.steps)
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as log:
        while step < last:
            begun = time.time()
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(config, step)
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
                loss, numbers = loss_at(step)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower loop.lr (now {config.lr})")
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, config.grad_clip)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            step += 1
            window.append({"loss": loss.item(), "grad_norm": float(norm), **numbers, "seconds": time.time() - begun})
            if step % config.log_every == 0 or step == last:
                means = {k: round(sum(w.get(k, 0.0) for w in window) / len(window), 5) for k in window[-1]}
                log.write(json.dumps({"step": step, "lr": round(learning_rate(config, step), 8), **means}) + "\n")
                log.flush()
                left = means["seconds"] * (last - step) / 60
                shown = ", ".join(f"{k} {v:.4g}" for k, v in means.items())
                print(f"step {step} of {last}: {shown}; {left:.1f} min left", file=sys.stderr, flush=True)
                window = []
            if time.time() - saved > config.checkpoint_seconds:
                save()
                saved = time.time()
            if minutes and time.time() - start > 60 * minutes:
                break
        save()
    return step
