"""Training, contract row 3: a run killed with SIGKILL at a random step ends bit for bit like one left alone."""

from __future__ import annotations

import json
import pathlib
import random
import shutil
import time
from typing import Any

import training_runs

from earwitness.records import append_line
from earwitness.train import checkpoint, metrics

TRAINS = True
STAGES = ("sft", "rlvr")
STEPS = 8


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Kill and resume each stage twenty times (reduced: once), at moments drawn from fixed seeds."""
    training_runs.manifests(folder, 24)
    figures, holds = {}, {}
    for stage in STAGES:
        kills = _kills(stage, 1 if reduced else 20, folder)
        figures[stage] = {
            "kills": len(kills),
            "steps": STEPS,
            "tensors_compared": kills[0]["tensors"],
            "killed_after_step": [k["step"] for k in kills],
            "killed_during_a_save": sum(k["saving"] for k in kills),
            "steps_done_twice_at_most": max(k["step"] + 1 - k["resumed_from"] for k in kills),
            "different": sum(bool(k["different"]) for k in kills),
        }
        holds[f"{stage}_bit_for_bit"] = not any(k["different"] for k in kills)
        holds[f"{stage}_nothing_older_lost"] = all(k["resumed_from"] >= k["complete"] for k in kills)
    return {"figures": figures, "holds": holds}


def _kills(stage: str, count: int, folder: pathlib.Path) -> list[dict[str, Any]]:
    training_runs.config(folder, stage, STEPS, lr=1e-4)
    done = folder / f"{stage}.jsonl"
    rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
    if len(rows) < count:
        training_runs.run(folder, stage)
        whole = training_runs.final_state(folder / stage)
    for number in range(len(rows), count):
        place = folder / f"{stage}-killed"
        shutil.rmtree(place, ignore_errors=True)
        row = _kill(folder, stage, place, random.Random(f"{stage} {number}"))
        training_runs.run(folder, stage, f"run={place}")
        state = training_runs.final_state(place)
        row |= {"tensors": len(state), "different": training_runs.differing(whole, state)}
        append_line(done, json.dumps(row) + "\n")
        rows.append(row)
    return rows


def _kill(folder: pathlib.Path, stage: str, place: pathlib.Path, rng: random.Random) -> dict[str, Any]:
    """Start a run, kill it at a random moment after a random step; return where that was."""
    wanted, share = rng.randrange(1, STEPS), rng.random()
    process = training_runs.start(folder, stage, f"run={place}")
    seen: list[dict[str, Any]] = []
    while process.poll() is None and len(seen) < wanted:
        seen = metrics.read(place) if (place / "metrics.jsonl").exists() else []
        time.sleep(0.005)
    time.sleep(share * seen[-1]["seconds"])
    process.kill()
    process.communicate()
    complete = checkpoint.latest(place)
    steps = [row["step"] for row in metrics.read(place)]
    return {
        "step": steps[-1],
        "saving": bool(list(place.glob("checkpoints/*.partial"))),
        "complete": steps[-1] - 1,
        "resumed_from": int(complete.name.removeprefix("step-")) if complete else 0,
    }
