"""How the shipped model was trained: updates, tokens and minutes of every leg, and that the encoder stayed frozen.

Reads the run folders that the legs left (``~/.cache/earwitness/runs``), so it can be measured only where they were run.
"""

from __future__ import annotations

import pathlib
import statistics
from typing import Any

import torch
from safetensors.torch import load_file

from earwitness.engines import shipped_model
from earwitness.train import metrics

RUNS = "~/.cache/earwitness/runs"
LEGS = ("tiny-pretrain", "tiny-sft", "tiny-sft-2", "tiny-sft-3")
CONTROL = "tiny-direct"


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Add up the legs; the reduced form only reads the shipped weights, as a fresh machine has no runs."""
    del folder
    weights = load_file(shipped_model() / "model-00001-of-00001.safetensors")
    encoder = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    figures: dict[str, Any] = {
        "parameters": sum(value.numel() for value in weights.values()),
        "encoder_parameters": sum(value.numel() for value in encoder.values()),
        "megabytes": sum(value.numel() * value.element_size() for value in weights.values()) / 1e6,
    }
    holds = {"at_most_25_megabytes": figures["megabytes"] <= 25}
    if reduced:
        return {"figures": figures, "holds": holds}
    runs = pathlib.Path(RUNS).expanduser()
    figures["legs"] = {name: leg(runs / name) for name in LEGS}
    started = torch.load(runs / LEGS[0] / "encoder.pt", weights_only=True)
    holds["encoder_is_the_pre-trained_one"] = all(
        torch.equal(encoder[name], value.to(torch.bfloat16)) for name, value in started.items()
    )
    # Means of single steps vary with what else the machine did; their lower quintile is that of a quiet machine.
    figures["quiet_minutes"] = round(sum(found["quiet_minutes"] for found in figures["legs"].values()), 1)
    holds["at_most_100_minutes"] = figures["quiet_minutes"] <= 100
    figures["decoder_tokens"] = sum(figures["legs"][name]["tokens"] for name in LEGS[1:])
    if (runs / CONTROL / "model").exists():
        figures["control"] = leg(runs / CONTROL)
        steps = sum(figures["legs"][name]["updates"] for name in LEGS[1:])
        holds["control_has_as_many_updates"] = figures["control"]["updates"] == steps
        holds["control_has_as_many_tokens"] = figures["control"]["tokens"] >= figures["decoder_tokens"]
    return {"figures": figures, "holds": holds}


def leg(run_folder: pathlib.Path) -> dict[str, Any]:
    """Return updates, tokens and minutes of a finished run, from the steps that it logged."""
    rows = metrics.read(run_folder)
    steps = int(rows[-1]["step"])
    seconds = [row["seconds"] for row in rows]
    return {
        "updates": steps,
        "tokens": round(statistics.mean(row.get("tokens", 0.0) for row in rows) * steps),
        "minutes": round(statistics.mean(seconds) * steps / 60, 1),
        "quiet_minutes": round(statistics.quantiles(seconds, n=5)[0] * steps / 60, 1),
    }
