"""The loop of every stage: steps, metrics, checkpoints, exact resume. It knows no algorithm.

A stage hands over its learners and a function that makes one step. What a step reads (data, prompts, seeds) is a pure
function of the step number, or of a position that the stage puts into ``position``; so a run that was killed goes on
from its last checkpoint bit for bit.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from earwitness.train import checkpoint
from earwitness.train.learner import Learner
from earwitness.train.metrics import SECONDS, Metrics
from earwitness.train.world import World

# What the CPU allocator says, and what oneDNN says where it has no room for its buffers.
_NO_MEMORY = ("allocate memory", "could not create a primitive")


@dataclass(frozen=True)
class LoopConfig:
    """The length of a run and how often it is written down."""

    steps: int
    seed: int = 0
    checkpoint_seconds: float = 120.0
    log_every: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1 or self.log_every < 1:
            raise ValueError(f"loop: steps {self.steps} and log_every {self.log_every} must be at least 1")


class Position(Protocol):
    """A place in the data that is more than the step number."""

    def state(self) -> dict[str, Any]:
        """Return the place as JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a place that ``state`` returned."""


def run(
    config: LoopConfig,
    world: World,
    learners: dict[str, Learner],
    step_at: Callable[[int], dict[str, float]],
    folder: pathlib.Path,
    *,
    position: Position | None = None,
    guard: Callable[[], None] | None = None,
    stop_at: int | None = None,
    minutes: float | None = None,
) -> int:
    """Train until the last step; return the step reached.

    Args:
        config: length and logging.
        world: where the run computes.
        learners: what learns, by name; restored from ``folder`` where it holds a checkpoint.
        step_at: makes step n (from 0), updates included; returns numbers to log, the same on every rank.
        folder: the run folder.
        position: saved and restored with the checkpoints.
        guard: called before every checkpoint; raises if the run is no longer valid (a frozen encoder that changed).
        stop_at: end this leg at this step, with a checkpoint; schedules stay those of ``config.steps``.
        minutes: end this leg after this time, with a checkpoint.

    Raises:
        FloatingPointError: a gradient that is not finite, with the step; the checkpoint before it stays.
        MemoryError: no memory for a step, with the step.
        OSError: a checkpoint that cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed + world.rank)
    found = checkpoint.load(folder, learners, world)
    step, spent = (found["step"], found["seconds"]) if found else (0, 0.0)
    if found and position is not None:
        position.restore(found["position"])
    start = saved_at = time.monotonic()
    saved_step = step
    last = min(config.steps, stop_at or config.steps)

    def save() -> None:
        if guard is not None:
            guard()
        place = {"position": position.state()} if position is not None else {}
        checkpoint.save(
            folder, step, learners, {"seconds": spent + time.monotonic() - start, "ranks": world.size, **place}, world
        )

    metrics = Metrics(folder, world.is_first, config.log_every)
    try:
        while step < last:
            begun = time.monotonic()
            rates = {name: learner.set_rate(step) for name, learner in learners.items()}
            numbers = _step(step_at, step)
            step += 1
            numbers |= {("lr" if len(rates) == 1 else f"lr_{name}"): rate for name, rate in rates.items()}
            metrics.add(step, last, {**numbers, SECONDS: time.monotonic() - begun})
            is_due = time.monotonic() - saved_at > config.checkpoint_seconds
            is_over = minutes is not None and time.monotonic() - start > 60 * minutes
            is_due, is_over = world.broadcast((is_due, is_over))
            if is_due:
                save()
                saved_at, saved_step = time.monotonic(), step
            if is_over:
                break
        if step > saved_step:
            save()
    finally:
        metrics.close()
    return step


def _step(step_at: Callable[[int], dict[str, float]], step: int) -> dict[str, float]:
    try:
        return step_at(step)
    except FloatingPointError as error:
        raise FloatingPointError(f"step {step}: {error}; the run continues from its last checkpoint") from error
    except (RuntimeError, MemoryError) as error:
        is_memory = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if is_memory or any(words in str(error) for words in _NO_MEMORY):
            raise MemoryError(
                f"step {step}: out of memory; lower max_tokens or set compute.activation_checkpointing=true, and "
                "start it again"
            ) from error
        raise
