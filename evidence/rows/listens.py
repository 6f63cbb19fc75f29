"""Contract row 2: the model listens, thinking helps, filler does not; and the swapped-sound half of row 3."""

from __future__ import annotations

import pathlib
from typing import Any

import earwitness as ew
from earwitness.evaluate import control

SUITES = ("music", "sound", "speech")
FLOORS = {"music": 0.85, "sound": 0.85, "speech": 0.80}
CONTROL = "~/.cache/earwitness/runs/tiny-direct"


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Ask 1,000 items a suite (40 reduced, without the control) and check every threshold of the row."""
    engine = ew.load()
    other = None if reduced else ew.load(str(_control_model()))
    results = {s: control.run_suite(engine, other, s, 40 if reduced else 1000, folder) for s in SUITES}
    pooled = {c: [r for s in SUITES for r in results[s]["items"][c]] for c in results["music"]["items"]}
    figures: dict[str, Any] = {s: _suite_figures(results[s]) for s in SUITES}
    figures["all"] = {c: control.accuracy(rows) for c, rows in pooled.items()}
    figures["by_steps"] = {c: control.by_key(rows, "steps") for c, rows in pooled.items()}
    figures["think_against_direct"] = control.compare(pooled["think"], pooled["direct"])
    figures["filler_against_direct"] = control.compare(pooled["filler"], pooled["direct"])
    holds = {s: figures[s]["think"]["accuracy"] >= (0.5 if reduced else FLOORS[s]) for s in SUITES}
    holds |= {f"{s}_swapped": figures[s]["kept_original"] <= figures[s]["chance"] + 0.03 for s in SUITES}
    if other is not None:
        figures["think_against_control"] = control.compare(pooled["think"], pooled["control"])
        figures["filler_against_control"] = control.compare(pooled["filler"], pooled["control"])
        better = max(("direct", "control"), key=lambda c: figures["all"][c]["accuracy"])
        gain = figures[f"think_against_{better}"]
        holds["thinking_gains_8_points"] = gain["difference"][0] >= 0.08 and gain["p"] < 0.01
        holds["filler_does_not"] = figures[f"filler_against_{better}"]["difference"][1] <= 0
    return {"figures": figures, "holds": holds}


def _suite_figures(result: dict[str, Any]) -> dict[str, Any]:
    items = result["items"]
    figures: dict[str, Any] = {c: control.accuracy(rows) for c, rows in items.items()}
    figures["chance"] = round(result["chance"], 4)
    # "right" under swapped sound means that the model kept the answer of the sound it did not hear.
    figures["kept_original"] = figures["swapped"]["accuracy"]
    figures["think_by_task"] = control.by_key(items["think"], "task")
    if "control" in items:
        figures["control_by_task"] = control.by_key(items["control"], "task")
    return figures


def _control_model() -> pathlib.Path:
    """Return the control's model folder, trained first (about 50 minutes on two cores, resumable) where missing."""
    folder = pathlib.Path(CONTROL).expanduser() / "model"
    if not folder.exists():
        from earwitness.stages import sft

        sft.main("configs/tiny-direct.yaml")
    return folder
