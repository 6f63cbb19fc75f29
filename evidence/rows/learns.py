"""Training, contract row 4: PPO with eq. 7 lifts a model from 30-60 %, five times; DPO moves preferences.

PPO starts from a model that was stopped early and has seldom met one kind of question (``configs/tiny-rl-start.yaml``),
and learns that kind from its own replies; it is measured on unseen items. DPO teaches the shipped model, which never
met such questions, to say that it hears where there is a sound and that it does not where there is none.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil
import time
from typing import Any

import training_runs

import earwitness as ew
from earwitness import soundworld
from earwitness.engines.protocol import Engine, Sampling
from earwitness.evaluate import listening, statistics
from earwitness.records import Sample
from earwitness.rewards import format_reward

TRAINS = True
SEEDS = (0, 1, 2, 3, 4)
START, PPO = "configs/tiny-rl-start.yaml", "configs/tiny-rlvr.yaml"
MINUTES = 15.0
_HEARING = ("can_hear", "hear_nothing")


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Train five seeds of PPO (reduced: none) and one run of DPO, and measure each before and after."""
    figures: dict[str, Any] = {"dpo": _dpo(reduced, folder)}
    holds = {"dpo_from_about_half": 0.35 <= figures["dpo"]["before"] <= 0.65, "dpo": figures["dpo"]["after"] >= 0.95}
    if not reduced:
        figures["ppo"] = _ppo(folder)
        before, seeds = figures["ppo"]["before"], figures["ppo"]["seeds"].values()
        holds["ppo_starts_at_30_to_60"] = all(
            0.30 <= before[kind]["accuracy"] <= 0.60 for kind in ("sampled", "greedy")
        )
        for kind, gain in (("sampled", 0.15), ("greedy", 0.08)):
            holds[f"ppo_{kind}"] = all(s[kind]["accuracy"] - before[kind]["accuracy"] >= gain for s in seeds)
        holds["ppo_in_time"] = all(s["minutes"] <= MINUTES for s in seeds)
    return {"figures": figures, "holds": holds}


# PPO


def _ppo(folder: pathlib.Path) -> dict[str, Any]:
    from earwitness.stages import rlvr, sft
    from earwitness.train import config as configs

    config = configs.load(rlvr.RlvrConfig, PPO)
    start = pathlib.Path(config.start.model).expanduser()
    if not start.exists():
        sft.main(START)
    asked = _unseen(config.soundworld, 500)
    result: dict[str, Any] = {"task": list(config.soundworld.tasks), "items": len(asked)}
    result["before"] = _known(folder / "before.json", lambda: _measured(ew.load(str(start)), asked))
    result["seeds"] = {}
    for seed in SEEDS:
        place = folder / f"seed-{seed}"

        def one(seed: int = seed, place: pathlib.Path = place) -> dict[str, Any]:
            shutil.rmtree(place, ignore_errors=True)  # minutes are those of a whole run, so none is continued
            begun = time.time()
            rlvr.main(PPO, (f"run={place}", f"loop.seed={seed}"))
            minutes = (time.time() - begun) / 60
            return {"minutes": round(minutes, 2), **_measured(ew.load(str(place / "model")), asked)}

        result["seeds"][str(seed)] = _known(folder / f"seed-{seed}.json", one)
    return result


def _known(path: pathlib.Path, make: Any) -> dict[str, Any]:
    if not path.exists():
        made = make()
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(made))
        partial.rename(path)
    return json.loads(path.read_text())


def _unseen(world: Any, count: int) -> list[listening.Item]:
    """Return the first test items of the suites and question types that a run learns."""
    found: list[listening.Item] = []
    number = 0
    while len(found) < count:
        for suite in world.suites:
            sample = soundworld.sample(suite, "test", number)
            if (not world.tasks or sample.task in world.tasks) and len(found) < count:
                found.append(listening.Item(sample, soundworld.waveform(sample), None))
        number += 1
    return found


def _measured(engine: Engine, asked: list[listening.Item]) -> dict[str, Any]:
    """Return accuracy and format, apart, of greedy and of sampled replies (temperature 1, one a question)."""
    result = {}
    for kind, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        replies = listening.ask(engine, asked, "think", Sampling(max_new_tokens=320, temperature=temperature))
        right = [listening.is_right(item.sample, reply) for item, reply in zip(asked, replies)]
        value, low, high = statistics.wilson(sum(right), len(right))
        form = sum(map(format_reward, replies)) / len(replies)
        result[kind] = {"accuracy": value, "low": low, "high": high, "format": form}
    return result


# DPO


def _dpo(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    train, held = (256, 100) if reduced else (1000, 500)
    for name, split, count in (("pairs", "train", train), ("held", "test", held)):
        lines = [json.dumps(s.to_json()) + "\n" for s in _preferences(split, count)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    training_runs.config(folder, "dpo", 30 if reduced else 100, lr=2e-4)
    said = training_runs.run(
        folder, "dpo", f"run={folder / 'dpo-hearing'}", f"validation={folder / 'held.jsonl'}", "batch=16"
    )
    shares = [float(share) / 100 for share in re.findall(r"prefers the chosen reply in ([\d.]+)%", said)]
    return {"pairs": train, "held_out": held, "before": shares[0], "after": shares[-1]}


def _preferences(split: str, count: int) -> list[Sample]:
    """Return questions whether there is something to hear, the right answer preferred to the wrong one."""
    found: list[Sample] = []
    number = 0
    while len(found) < count:
        item = soundworld.sample("hearing", split, number)
        number += 1
        if item.task in _HEARING:
            wrong = next(choice for choice in item.choices if choice != item.answer)
            found.append(dataclasses.replace(item, facts=None, chosen=item.answer, rejected=wrong))
    return found
