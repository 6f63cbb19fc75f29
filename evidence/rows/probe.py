"""Contract row: the probe tells who listens, who reads and who guesses, and accuses hardly anybody wrongly.

Three engines of known behaviour go through the whole probe: ``probe_mocks.Listener`` measures every clip that it is
played. Two hundred of those would take days, so the rate of false accusations is of simulated models: one pass of the
probe notes what each condition plays or tells, and each simulated model answers from that, with a skill of its own.
"""

from __future__ import annotations

import pathlib
import random
import tempfile
from collections.abc import Sequence
from typing import Any

import probe_mocks as mocks

from earwitness.evaluate import probe, statistics, tasks
from earwitness.evaluate.probe import measures
from earwitness.evaluate.run_records import RecordFile
from earwitness.evaluate.runner import Settings
from earwitness.evaluate.task import Dataset
from earwitness.records import Sample

TASK = tasks.get("soundworld")
ACOUSTIC = ("music", "sound", "speech", "crossed")
SURE = 1e-6


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Probe the three engines on 300 items a suite (reduced: 60 of music and of spoken_math) and 200 simulated ones."""
    count, trained = (60, 60) if reduced else (300, 400)
    figures: dict[str, Any] = {}
    holds: dict[str, bool] = {}
    for suite in ("music",) if reduced else ACOUSTIC:
        found = _three(suite, count, trained, folder)
        figures[suite] = found
        verdicts = {name: found[name]["verdict"] for name in ("listener", "reader", "guesser")}
        holds[f"{suite}_listener"] = verdicts["listener"] == measures.LISTENS and found["listener"]["p"] < SURE
        holds[f"{suite}_apart"] = found["p_listener_reader"] < SURE and verdicts["reader"] != measures.LISTENS
        holds[f"{suite}_guesser"] = verdicts["guesser"] == measures.GUESSES
    for suite in ("spoken_math",) if reduced else mocks.SPOKEN:
        samples = mocks.acoustic(suite, "test", count)
        reader = mocks.Reader(TASK, samples, mocks.Table(TASK, samples))
        group = _probed(reader, samples, folder / suite)
        figures[suite] = {"reader": _brief(group)}
        holds[suite] = group["verdict"] == measures.WORDS and group["transcript"]["retention"] >= measures.RETAINED
    figures["simulated"] = _simulated(reduced, folder)
    holds["false_accusations"] = figures["simulated"]["listeners"]["accused"]["value"] <= 0.01
    holds["spoken_accused"] = figures["simulated"]["spoken_accused"] == 0
    return {"figures": figures, "holds": holds}


def _three(suite: str, count: int, trained: int, folder: pathlib.Path) -> dict[str, Any]:
    samples = mocks.acoustic(suite, "test", count)
    engines = (
        mocks.Listener(TASK, samples, mocks.Ear(suite, trained)),
        mocks.Reader(TASK, samples, mocks.Table(TASK, samples)),
        mocks.Mock(TASK, samples),
    )
    found: dict[str, Any] = {}
    for engine in engines:
        found[engine.name] = _brief(_probed(engine, samples, folder / f"{suite}-{engine.name}"))
    # Where words and voice differ, who reads is right about the words; who is right about the voice listens.
    asked = {s.id for s in samples if suite != "crossed" or s.task == "voice"}
    right: list[list[bool]] = [
        [row["robust"] is True for row in RecordFile(folder / f"{suite}-{name}" / "real").rows() if row["id"] in asked]
        for name in ("listener", "reader")
    ]
    pair = statistics.paired(right[0], right[1])
    return {**found, "n_compared": len(asked), "right": [pair.first, pair.second], "p_listener_reader": pair.p}


def _probed(engine: mocks.Mock, samples: Sequence[Sample], folder: pathlib.Path) -> dict[str, Any]:
    data = Dataset(tuple(samples), "1", "0" * 64)
    note = (lambda name, n: setattr(engine, "condition", name)) if isinstance(engine, mocks.Recorder) else None
    report = probe.probe(TASK, data, engine, Settings(), folder, think_tests=False, on_condition=note)
    group: dict[str, Any] = report["groups"][samples[0].domain]
    return group


def _brief(group: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a probe that its verdict rests on."""
    taken = [group[name] for name in ("other", "silence") if name in group]
    brief = {"n": group["n"], "chance": group["chance"], "accuracy": group["real"]["accuracy"]}
    brief |= {"p": min(each["p"] if each["difference"][0] > 0 else 1.0 for each in taken)}
    brief |= {f"{name}_retention": group[name]["retention"] for name in ("transcript", "silence") if name in group}
    brief |= {name: group[name]["value"] for name in ("sensitivity", "invariance") if name in group}
    brief |= {"conflict": group["conflict"]} if "conflict" in group else {}
    return {**brief, "verdict": group["verdict"]}


# -- simulated models --------------------------------------------------------------------------------------------------


def _simulated(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Return how often simulated models are accused, of those that listen and of those that remember the answers."""
    suites = ("music", "spoken_math") if reduced else (*ACOUSTIC, *mocks.SPOKEN)
    models, count = (8, 60) if reduced else (200, 150)
    played = {}
    for suite in suites:
        samples = mocks.acoustic(suite, "test", count)
        recorder = mocks.Recorder(TASK, samples, mocks.Table(TASK, samples))
        with tempfile.TemporaryDirectory() as place:  # what it noted is kept nowhere, so it begins anew
            _probed(recorder, samples, pathlib.Path(place))
        played[suite] = samples, recorder.noted
    said: dict[str, list[tuple[str, str]]] = {"listeners": [], "deaf": []}
    for kind, verdicts in said.items():
        for seed in range(models):
            rng, suite = random.Random(f"{kind}{seed}"), suites[seed % len(suites)]
            skill, memory = (
                (rng.uniform(0.3, 1), rng.uniform(0, 0.3)) if kind == "listeners" else (0, rng.uniform(0.3, 1))
            )
            verdicts.append((suite, _verdict(*played[suite], skill, memory, seed)))
    figures: dict[str, Any] = {"n": models, "items": count}
    for kind, verdicts in said.items():
        names = sorted({verdict for _, verdict in verdicts})
        figures[kind] = {"verdicts": {name: sum(v == name for _, v in verdicts) for name in names}}
        for name, wrong in (("accused", measures.DEAF), ("cleared", measures.LISTENS)):
            value, low, high = statistics.wilson(sum(v == wrong for _, v in verdicts), models)
            figures[kind][name] = {"value": value, "low": low, "high": high}
    listeners = said["listeners"]
    figures["spoken_accused"] = sum(v == measures.DEAF for suite, v in listeners if suite in mocks.SPOKEN)
    return figures


def _verdict(
    samples: Sequence[Sample], noted: dict[str, dict[str, Sample | None]], skill: float, memory: float, seed: int
) -> str:
    """Return the probe's verdict on a model that hears an item with ``skill``, and else remembers it or guesses."""
    rows: dict[str, dict[str, Any]] = {name: {} for name in noted}
    for sample in samples:
        rng = random.Random(f"{seed}/{sample.id}")
        hears, remembers = rng.random() < skill, rng.random() < memory
        for name, of in noted.items():
            if sample.id not in of:
                continue
            there = of[sample.id]
            said = mocks.answer(sample, there) if hears and there is not None else None
            said = said or (sample.answer if remembers else rng.choice(sample.choices))
            key = mocks.answer(sample, there) if name in probe.EDITS and there is not None else sample.answer
            rows[name][sample.id] = {"robust": said == key, "answer": said}
    return str(measures.measure(rows, samples)["verdict"])
