"""What the rows about training share: SoundWorld manifests, small configs, the training command, a run's last state."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import yaml

from earwitness import soundworld
from earwitness.engines import shipped_model

_ADAMW = {"muon": False, "bf16": False, "warmup_steps": 1, "schedule": "constant"}


def manifests(folder: pathlib.Path, count: int, silent: bool = True) -> None:
    """Write ``data.jsonl`` and ``pairs.jsonl`` of ``count`` music questions; every second one is told and not heard."""
    lines, pairs = [], []
    for number in range(count):
        item = soundworld.sample("music", "train", number)
        heard = soundworld.suite("music").caption(item.facts or {})
        if silent and number % 2:
            item = dataclasses.replace(item, audio=(), question=f"{heard} {item.question}")
        answered = dataclasses.replace(item, facts=None, reasoning=heard)
        other = next(choice for choice in item.choices if choice != item.answer)
        replies = [f"<think>\n{heard}\n</think>\n{answer}" for answer in (item.answer, other)]
        lines.append(json.dumps(answered.to_json()) + "\n")
        asked = dataclasses.replace(item, facts=None, chosen=replies[0], rejected=replies[1])
        pairs.append(json.dumps(asked.to_json()) + "\n")
    (folder / "data.jsonl").write_text("".join(lines))
    (folder / "pairs.jsonl").write_text("".join(pairs))


def config(folder: pathlib.Path, stage: str, steps: int, lr: float) -> None:
    """Write ``STAGE.yaml`` for a short run of ``sft``, ``dpo`` or ``rlvr`` from the shipped model in float32."""
    adamw = {**_ADAMW, "lr": lr}
    common = {
        "run": str(folder / stage),
        "start": {"model": str(shipped_model())},
        "compute": {"device": "cpu"},
        "cache": str(folder / "features"),
        "loop": {"steps": steps, "log_every": 1, "checkpoint_seconds": 0},
    }
    rollout = {"prompts": 4, "samples": 4, "max_new_tokens": 48}
    data = {"manifests": {"mine": {"path": str(folder / "data.jsonl")}}}
    special: dict[str, Any] = {
        "sft": {**data, "optimiser": adamw, "batch": 4, "data": {"suites": []}},
        "dpo": {"manifest": str(folder / "pairs.jsonl"), "optimiser": adamw, "batch": 4},
        "rlvr": {
            **data,
            "actor": adamw,
            "critic": adamw,
            "rollout": rollout,
        },
    }[stage]
    (folder / f"{stage}.yaml").write_text(yaml.safe_dump(common | special))


def start(
    folder: pathlib.Path, stage: str, *overrides: str, ranks: int = 1, program: Sequence[str] = ("-m", "earwitness")
) -> subprocess.Popen[str]:
    """Start a stage as a user does, one thread a rank."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    words = [*program, "train", stage, "--config", str(folder / f"{stage}.yaml")]
    given = [word for o in overrides for word in ([o] if o.startswith("--") else ["--set", o])]
    return subprocess.Popen(
        [sys.executable, *launch, *words, *given],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: pathlib.Path, stage: str, *overrides: str, ranks: int = 1) -> str:
    """Run a stage to its end and return what it said; ``RuntimeError`` with that if it failed."""
    process = start(folder, stage, *overrides, ranks=ranks)
    said = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"{stage} ended with {process.returncode}: {said[-2000:]}")
    return said


def final_state(run_folder: pathlib.Path) -> dict[str, Any]:
    """Return every tensor of a run's last checkpoint, optimisers included, by its place."""
    import torch
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    from earwitness.train import checkpoint

    with tempfile.TemporaryDirectory() as scratch:
        dcp_to_torch_save(str(checkpoint.latest(run_folder)), f"{scratch}/state.pt")
        return _flat(torch.load(f"{scratch}/state.pt", weights_only=False))


def _flat(state: Any, place: str = "") -> dict[str, Any]:
    pairs = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else None
    if pairs is None:
        return {place: state}
    return {name: value for key, part in pairs for name, value in _flat(part, f"{place}/{key}").items()}


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the places at which two states are not the same to the bit."""
    import torch

    def same(x: Any, y: Any) -> bool:
        return torch.equal(x, y) if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) else x == y

    return sorted(a.keys() ^ b.keys()) + [name for name in a.keys() & b.keys() if not same(a[name], b[name])]
