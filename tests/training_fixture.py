"""A small model, its manifest and its config on disk, and runs of the training commands over them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import engine_fixture
import yaml

from earwitness import audio
from earwitness.train import metrics


def write(folder: pathlib.Path, samples: int = 24) -> pathlib.Path:
    """Write ``model/``, ``data.jsonl`` with and without sound, and ``sft.yaml``; return the folder."""
    tokenizer = engine_fixture.build_tokenizer()
    model = engine_fixture.build_model(tokenizer)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = []
    for i in range(samples):
        row = {"id": f"s{i}", "question": engine_fixture.question(i) + "?", "answer": engine_fixture.question(i + 90)}
        if i % 2:
            row["reasoning"] = " ".join(engine_fixture.question(i + k) for k in range(1 + i % 5))
        if i % 3 == 0:
            audio.write_wav(folder / f"{i}.wav", engine_fixture.tone(0.2 + 0.1 * i, 200 + 20 * i))
            row["audio"] = [f"{i}.wav"]
        rows.append(row)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "run": str(folder / "run"),
        "start": {"model": str(folder / "model")},
        "compute": {"device": "cpu"},
        "data": {"suites": []},
        "manifests": {"mine": {"path": str(folder / "data.jsonl")}},
        "batch": 4,
        "cache": str(folder / "cache"),
        "loop": {"steps": 6, "log_every": 1},
        "optimiser": {"bf16": False, "muon": False, "warmup_steps": 2},
    }
    (folder / "sft.yaml").write_text(yaml.safe_dump(config))
    return folder


def write_pairs(folder: pathlib.Path) -> None:
    """Write ``pairs.jsonl``, ``held.jsonl``, ``dpo.yaml``: replies about pianos are preferred to those about bells."""
    for name, numbers in (("pairs", range(48)), ("held", range(100, 140))):
        rows = []
        for i in numbers:
            words = engine_fixture.question(i + 500)
            row = {"id": f"{name}{i}", "question": engine_fixture.question(i) + "?"}
            row |= {"chosen": f"<think>{words}</think>piano {words}", "rejected": f"<think>{words}</think>bell {words}"}
            if i % 3 == 0:
                audio.write_wav(folder / f"{name}{i}.wav", engine_fixture.tone(0.2 + 0.01 * i, 200 + 20 * i))
                row["audio"] = [f"{name}{i}.wav"]
            rows.append(json.dumps(row) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(rows))
    config = {
        "run": str(folder / "dpo"),
        "start": {"model": str(folder / "model")},
        "compute": {"device": "cpu"},
        "manifest": str(folder / "pairs.jsonl"),
        "validation": str(folder / "held.jsonl"),
        "batch": 8,
        "cache": str(folder / "cache"),
        "loop": {"steps": 30, "log_every": 1},
        "optimiser": {"bf16": False, "muon": False, "warmup_steps": 2, "lr": 1e-3, "schedule": "constant"},
    }
    (folder / "dpo.yaml").write_text(yaml.safe_dump(config))


def write_questions(folder: pathlib.Path) -> None:
    """Write ``rlvr.yaml``, which asks the questions of ``data.jsonl``."""
    adamw = {"bf16": False, "muon": False, "warmup_steps": 1, "lr": 1e-3, "schedule": "constant"}
    config = {
        "run": str(folder / "rlvr"),
        "start": {"model": str(folder / "model")},
        "compute": {"device": "cpu"},
        "manifests": {"mine": {"path": str(folder / "data.jsonl")}},
        "cache": str(folder / "cache"),
        "loop": {"steps": 4, "log_every": 1},
        "actor": adamw,
        "critic": adamw,
        "rollout": {"prompts": 4, "samples": 4, "max_new_tokens": 12, "log": 5},
        "update": {"critic_updates": 3},
    }
    (folder / "rlvr.yaml").write_text(yaml.safe_dump(config))


def command(folder: pathlib.Path, *overrides: str, stage: str = "sft", ranks: int = 1) -> list[str]:
    """Return the command of a run."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    start = [sys.executable, "-m"] if ranks == 1 else launch
    given = [word for o in overrides for word in ([o] if o.startswith("--") else ["--set", o])]
    return [*start, "earwitness.cli", "train", stage, "--config", str(folder / f"{stage}.yaml"), *given]


def run(folder: pathlib.Path, *overrides: str, stage: str = "sft", ranks: int = 1) -> subprocess.CompletedProcess:
    """Run a stage to its end and return what it said."""
    words = command(folder, *overrides, stage=stage, ranks=ranks)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=240)


def rows(folder: pathlib.Path, run: str = "run") -> list[dict]:
    """Return the metrics of a run."""
    return metrics.read(folder / run)
