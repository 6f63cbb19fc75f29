"""Modality-grounded reasoning distillation, from cold start to DPO, in one command (report, section 4).

    earwitness train mgrd --config configs/tiny/mgrd.yaml
    earwitness train mgrd --config configs/tiny/mgrd.yaml --smoke

The run folder has a folder for every step:

    cold/      data  sft  rlvr  metrics                     clips without chains, text with them (eq. 1-3)
    round-1/   pool  questions  chains  sft                 what needs the sound, what the model thinks of it (eq. 4, 5)
               curate  rlvr  metrics                        pass@8 in [3, 6], PPO on sound and text (eq. 6-8)
    dpo/       pairs  train  metrics                        preferences about its own hearing (section 6.3)
    model/     the result                 rounds.json       every ``metrics.json``, in order
    report.html                           the same to look at, with chains and their sound; after every ``metrics``

Manifests, replies and verdicts in them are JSON lines. A step is done when its ``done.json`` is there; the same
command goes on with the next one, and inside a stage from its last checkpoint. The steps run in one process. A stage
for several GPUs is run from the ``config.yaml`` in its folder with torchrun; the recipe then finds it finished.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import time
from typing import Any

import yaml

from earwitness.stages.mgrd_config import MgrdConfig
from earwitness.stages.mgrd_start import copy_folder
from earwitness.stages.mgrd_steps import Recipe, Step
from earwitness.stages.start import say
from earwitness.train import config as configs

_SMOKE = ".smoke"


def main(
    config_path: str,
    overrides: tuple[str, ...] = (),
    minutes: float | None = None,
    dry_run: bool = False,
    smoke: bool = False,
) -> int:
    """Run or continue the recipe; returns the number of steps that are done.

    Args:
        config_path: YAML of ``MgrdConfig``.
        overrides: ``a.b=c``.
        minutes: end this leg after so long; a stage that trains stops with a checkpoint.
        dry_run: print the plan and stop.
        smoke: set the values under ``smoke`` in the configuration, in a run folder of its own.
    """
    config = load(config_path, overrides, smoke)
    recipe = Recipe(config)
    if dry_run:
        say(plan(recipe))
        return sum(_is_done(recipe.run / step.name) for step in recipe.steps)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("mgrd runs in one process; run a step's config.yaml with torchrun and then mgrd without it")
    configs.record(config, recipe.run)
    start = time.monotonic()
    for number, step in enumerate(recipe.steps):
        left = None if minutes is None else minutes - (time.monotonic() - start) / 60
        if (left is not None and left <= 0) or not _do(step, recipe.run / step.name, left):
            say(f"{number} of {len(recipe.steps)} steps are done; the same command goes on with {step.name}")
            return number
    copy_folder(recipe.last_model(), recipe.run / "model")
    _write(recipe.run / "rounds.json", rounds(recipe))
    say(f"{recipe.run / 'model'} is the result; {recipe.run / 'report.html'} shows what every round came to")
    return len(recipe.steps)


def load(config_path: str, overrides: tuple[str, ...] = (), smoke: bool = False) -> MgrdConfig:
    """Return the configuration, with what is under ``smoke`` in it set where asked for."""
    config = configs.load(MgrdConfig, config_path, overrides)
    if not smoke:
        return config
    if not config.smoke:
        raise ValueError(f"{config_path} has nothing under smoke; give the values of a run of minutes there")
    small = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in config.smoke.items()]
    named = [f"run={config.run}{_SMOKE}", *small, *overrides]
    return configs.load(MgrdConfig, config_path, tuple(named))


def plan(recipe: Recipe) -> str:
    """Return the steps with how much there is to do, and the estimated time; what is done says how long it took."""
    lines, left = [], 0.0
    for step in recipe.steps:
        folder = recipe.run / step.name
        if _is_done(folder):
            took = json.loads((folder / "done.json").read_text())["seconds"]
            when = f"done in {took / 60:.1f} min"
        else:
            left += step.seconds
            when = f"about {step.seconds / 60:.1f} min"
        lines.append(f"{step.name:<19} {when:<18} {step.plan}")
    return "\n".join([*lines, f"{'left':<19} about {left / 60:.0f} min, in {recipe.run}"])


def rounds(recipe: Recipe) -> list[dict[str, Any]]:
    """Return what every finished step came to: the counts of data steps, the figures of ``metrics`` steps."""
    return [
        {"step": step.name, **json.loads((recipe.run / step.name / "done.json").read_text())}
        for step in recipe.steps
        if _is_done(recipe.run / step.name)
    ]


def _do(step: Step, folder: pathlib.Path, minutes: float | None) -> bool:
    """Do a step unless it is done; return whether it is now."""
    if _is_done(folder):
        return True
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{step.name}: {step.plan}, about {step.seconds / 60:.1f} min")
    start = time.monotonic()
    counts = step.work(folder, minutes)
    if counts is None:
        return False
    seconds = round(time.monotonic() - start, 1)
    _write(folder / "done.json", {"seconds": seconds, "result": counts})
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of a stage that will not be continued
    say(f"{step.name}: done in {seconds / 60:.1f} min; {counts}")
    return True


def _is_done(folder: pathlib.Path) -> bool:
    return (folder / "done.json").exists()


def _write(path: pathlib.Path, value: Any) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    os.replace(partial, path)
