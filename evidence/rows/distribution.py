"""Training, contract row 2: two ranks learn what one learns, and a checkpoint of two loads on one and on three."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import training_runs

from earwitness.train import metrics

TRAINS = True
NUMBERS = {
    "sft": ("loss", "grad_norm"),
    "dpo": ("loss", "grad_norm"),
    "rlvr": ("actor_grad_norm", "critic_loss", "critic_grad_norm"),
}
"""PPO's policy loss is left out: on fresh data it is the mean of whitened advantages, so 0 but for rounding."""
LIMIT = 1e-5


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Compare every stage on one and two ranks over 8 steps (reduced: SFT, 3 steps), then move a checkpoint."""
    training_runs.manifests(folder, 24)
    steps = 3 if reduced else 8
    figures: dict[str, Any] = {"steps": steps, "limit": LIMIT}
    holds = {}
    for stage in ("sft",) if reduced else tuple(NUMBERS):
        # One sample of two a rank, every second without sound: some steps give sound to one rank and text to the other.
        training_runs.config(folder, stage, steps, lr=1e-5)
        words = () if stage == "rlvr" else ("batch=2",)
        one, two = (_rows(folder, stage, ranks, *words) for ranks in (1, 2))
        for name in NUMBERS[stage]:
            worst = max(abs(b[name] - a[name]) / abs(a[name]) for a, b in zip(one, two, strict=True))
            figures[f"{stage}_{name}"] = worst
            holds[f"{stage}_{name}"] = worst <= LIMIT
    for ranks in () if reduced else (1, 3):
        moved = _moved(folder, ranks)
        figures[f"sft_two_ranks_then_{ranks}"] = moved
        holds[f"two_ranks_then_{ranks}"] = moved <= LIMIT
    return {"figures": figures, "holds": holds}


def _rows(folder: pathlib.Path, stage: str, ranks: int, *words: str) -> list[dict[str, Any]]:
    place = folder / f"{stage}-{ranks}"
    shutil.rmtree(place, ignore_errors=True)
    training_runs.run(folder, stage, f"run={place}", *words, ranks=ranks)
    return metrics.read(place)


def _moved(folder: pathlib.Path, ranks: int) -> float:
    """Return the largest relative difference of the loss after a checkpoint of two ranks went to ``ranks``."""
    place = folder / f"sft-2-{ranks}"
    shutil.rmtree(place, ignore_errors=True)
    words = (f"run={place}", "batch=2")
    training_runs.run(folder, "sft", *words, "--minutes=0.0001", ranks=2)
    training_runs.run(folder, "sft", *words, ranks=ranks)
    one, moved = (metrics.read(path) for path in (folder / "sft-1", place))
    return max(abs(b["loss"] - a["loss"]) / a["loss"] for a, b in zip(one[1:], moved[1:], strict=True))
