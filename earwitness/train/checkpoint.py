"""Checkpoints of a run by PyTorch's DCP: any number of ranks writes them, any other number reads them.

A checkpoint is a folder ``checkpoints/step-N`` that is renamed into place when it is complete, so a reader never sees
half of one and a kill while saving costs nothing older. It holds parameters that learn, optimiser states, random
states, and ``run.json`` with the step and the data position.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from earwitness.train.learner import Learner
from earwitness.train.world import World

_OPTIONS = StateDictOptions(ignore_frozen_params=True)
_KEEP = 2
_PATTERN = "step-{:08d}"


def save(run: pathlib.Path, step: int, learners: dict[str, Learner], position: dict[str, Any], world: World) -> None:
    """Write the checkpoint of a step and remove all but the newest two.

    Args:
        run: the run folder.
        step: steps done.
        learners: what learns, by name.
        position: anything else to continue from, as JSON.
        world: where the run computes.

    Raises:
        OSError: if it cannot be written, in one sentence; older checkpoints stay.
    """
    folder = run / "checkpoints"
    final, partial = folder / _PATTERN.format(step), folder / f"{_PATTERN.format(step)}.partial"
    if world.is_first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    world.wait()
    state: dict[str, Any] = {f"random.{world.rank}": _random_state()}
    for name, learner in learners.items():
        state[f"{name}.model"], state[f"{name}.optimiser"] = get_state_dict(
            learner.module, learner.optimisers, options=_OPTIONS
        )
    try:
        with _quiet():
            dcp.save(state, checkpoint_id=partial, no_dist=world.mesh is None)
        if world.is_first:
            (partial / "run.json").write_text(json.dumps({"step": step, "saved": time.time(), **position}) + "\n")
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
    except (Exception, CheckpointException) as error:  # the second, no Exception, is what failed on any rank
        if world.is_first:
            shutil.rmtree(partial, ignore_errors=True)
        raise OSError(
            f"checkpoint {final} cannot be written ({_cause(error)}); free space and start the run again, it continues "
            f"from {_name(latest(run))}"
        ) from error
    if world.is_first:
        for old in _complete(run)[:-_KEEP]:
            shutil.rmtree(old, ignore_errors=True)
    world.wait()


def load(run: pathlib.Path, learners: dict[str, Learner], world: World) -> dict[str, Any] | None:
    """Restore the newest checkpoint into the learners; return its ``run.json``, or None if there is none.

    Raises:
        ValueError: if the checkpoint is of another model.
    """
    path = world.broadcast(str(latest(run) or ""))
    if not path:
        return None
    known = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
    state: dict[str, Any] = {}
    for name, learner in learners.items():
        model, optimiser = get_state_dict(learner.module, learner.optimisers, options=_OPTIONS)
        state[f"{name}.model"], state[f"{name}.optimiser"] = model, optimiser
    if f"random.{world.rank}.cpu" in known:
        state[f"random.{world.rank}"] = _random_state()
    try:
        with _quiet():
            dcp.load(state, checkpoint_id=path, no_dist=world.mesh is None)
    except (Exception, CheckpointException) as error:
        raise ValueError(
            f"checkpoint {path} does not fit this run ({_cause(error)}); continue it with the config it was begun with"
        ) from error
    for name, learner in learners.items():
        set_state_dict(
            learner.module, learner.optimisers, model_state_dict=state[f"{name}.model"],
            optim_state_dict=state[f"{name}.optimiser"], options=StateDictOptions(strict=False),
        )  # fmt: skip
    if f"random.{world.rank}" in state:
        _set_random_state(state[f"random.{world.rank}"])
    return json.loads((pathlib.Path(path) / "run.json").read_text())


def save_atomically(value: Any, path: pathlib.Path) -> None:
    """``torch.save`` to a temporary name, then rename, so that a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    os.replace(partial, path)


def latest(run: pathlib.Path) -> pathlib.Path | None:
    """Return the newest complete checkpoint of a run."""
    found = _complete(run)
    return found[-1] if found else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warning that one process saves alone, which is what it should do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _complete(run: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in (run / "checkpoints").glob("step-*") if p.suffix != ".partial")


def _name(path: pathlib.Path | None) -> str:
    return path.name if path else "its beginning"


def _random_state() -> dict[str, torch.Tensor]:
    """Return the random states of this rank; data order needs none, being a function of the position."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def _cause(error: BaseException) -> str:
    """Return the innermost reason of an error in one line."""
    failures = getattr(error, "failures", None)
    if failures:
        error = next(iter(failures.values()))[0]
    while error.__cause__ is not None:
        error = error.__cause__
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason).strip().splitlines()[0]
