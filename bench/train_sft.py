"""Useful tokens per second of supervised fine-tuning, ours against TRL's ``SFTTrainer`` at its best, in one run.

    python bench/train_sft.py --reference PYTHON      # PYTHON has trl; without it this interpreter
    python bench/train_sft.py --rounds 1 --steps 12   # a quick look; nothing is written

Both sides train the decoder of the ``tiny`` preset (256 wide, 4 layers, 8,192 ids, random weights, float32, AdamW,
gradient clipping) on the same token sequences: questions, chains and answers with log-normal lengths of 20 to 800
tokens, a loss on the reply only. An update has 8 sequences (packed rows: as many tokens). Ours is the stage itself,
``earwitness train sft`` over a manifest, reading and tokenising included; TRL gets ids, and its preparation is timed
apart. Each run is a process of its own with the same number of threads; the sides take turns for several rounds and
the ratio is that of the medians.

A useful token carries loss, counted in the same way on both sides; prompts and padding are work, not use.

TRL is run with length grouping, padding-free, and packing by each of its strategies, all without gradient
checkpointing and in passes of several sizes. Before training, a variant's log-probabilities of its first batch are
compared with those of each sequence computed alone: a variant in which sequences see each other is named and does not
count. Writes ``bench/results/train_sft.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

RESULTS = pathlib.Path(__file__).parent / "results" / "train_sft.json"
ROOT = pathlib.Path(__file__).parents[1]
VOCAB, BATCH, STEPS, ROW = 8192, 8, 48, 1024
# transformers groups by length within 50 batches, and only where the data has four times as many.
SAMPLES = 4 * 50 * BATCH
OURS = {"ours, padded": {}, "ours, packed": {"pack": True, "max_tokens": ROW}}
GROUPED, FREE = {"train_sampling_strategy": "group_by_length"}, {"padding_free": True}
TRL: dict[str, dict[str, Any]] = {
    "trl, length grouping": GROUPED,
    "trl, length grouping, 2 passes": {**GROUPED, "gradient_accumulation_steps": 2},
    "trl, padding-free": FREE,
    "trl, padding-free, 2 passes": {**FREE, "gradient_accumulation_steps": 2},
    "trl, packing bfd": {"packing": True, "packing_strategy": "bfd"},
    "trl, packing bfd_split": {"packing": True, "packing_strategy": "bfd_split"},
    "trl, packing wrapped": {"packing": True, "packing_strategy": "wrapped"},
}
LEAK = 1e-3


def write(folder: pathlib.Path) -> dict[str, Any]:
    """Write the manifest, its ids and the model in both layouts; return what describes the data."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from earwitness.data import dialogue
    from earwitness.model import AudioReasoner, presets
    from earwitness.model.tokenizer import train_tokenizer
    from earwitness.records import Sample

    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(3000)])
    tokenizer = train_tokenizer([" ".join(words)] * 2, VOCAB)
    torch.manual_seed(0)
    model = AudioReasoner(presets.preset("tiny", tokenizer))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    fields = {k: v for k, v in model.config.text_config.to_dict().items() if k not in ("model_type", "architectures")}
    plain = Qwen2ForCausalLM(Qwen2Config(**{**fields, "tie_word_embeddings": False}))
    plain.model.load_state_dict(model.model.state_dict())
    plain.lm_head.load_state_dict(model.lm_head.state_dict())
    plain.save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    examples: list[Any] = []
    with open(folder / "data.jsonl", "w") as manifest, open(folder / "ids.jsonl", "w") as ids:
        while len(examples) < SAMPLES:
            asked, thought, said = (int(rng.lognormal(np.log(m), s)) for m, s in ((50, 0.8), (80, 1.0), (12, 0.6)))
            texts = [" ".join(rng.choice(words, max(1, n))) for n in (asked, thought, said)]
            row: dict[str, Any] = dict(zip(("question", "reasoning", "answer"), texts)) | {"id": str(len(examples))}
            made = dialogue.example(tokenizer, Sample(**row), "as_is")
            if not 20 <= made.length <= 800:
                continue
            examples.append(made)
            manifest.write(json.dumps(row) + "\n")
            labels = np.where(made.learned, made.ids, -100)
            ids.write(json.dumps({"input_ids": made.ids.tolist(), "labels": labels.tolist()}) + "\n")
    lengths = [e.length for e in examples]
    return {
        "samples": SAMPLES,
        "sequence_tokens": {"median": statistics.median(lengths), "mean": statistics.mean(lengths)},
        "share_of_useful_tokens": sum(int(e.learned.sum()) for e in examples) / sum(lengths),
        "parameters": plain.num_parameters(),
    }


def train_ours(folder: pathlib.Path, options: dict[str, Any], steps: int) -> dict[str, Any]:
    """Run the stage; return tokens, seconds and updates."""
    import yaml

    from earwitness.stages import sft
    from earwitness.train import metrics

    config = {
        "run": str(folder / "run"),
        "start": {"model": str(folder / "model")},
        "compute": {"device": "cpu"},
        "data": {"suites": []},
        "manifests": {"mine": {"path": str(folder / "data.jsonl")}},
        "batch": BATCH,
        "cache": str(folder / "cache"),
        "loop": {"steps": steps, "log_every": 1, "checkpoint_seconds": 3600.0},
        "optimiser": {"bf16": False, "muon": False, "lr": 1e-4},
        **options,
    }
    with tempfile.TemporaryDirectory(dir=folder) as run:
        path = pathlib.Path(run) / "sft.yaml"
        path.write_text(yaml.safe_dump({**config, "run": run}))
        sft.main(str(path))
        rows = metrics.read(pathlib.Path(run))
    sums = {key: sum(row[key] for row in rows) for key in ("learned", "tokens", "seconds")}
    return {"useful": sums["learned"], "tokens": sums["tokens"], "seconds": sums["seconds"], "updates": len(rows)}


def train_trl(folder: pathlib.Path, options: dict[str, Any], steps: int) -> dict[str, Any]:
    """Run TRL's trainer; return tokens, seconds, updates, seconds of preparation and how far sequences leak."""
    import datasets
    import torch
    from transformers import AutoTokenizer, Qwen2ForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.begun = time.perf_counter()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds = time.perf_counter() - self.begun

    class Counted(SFTTrainer):
        useful = tokens = 0

        def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
            real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
            self.useful += int((inputs["labels"][:, 1:] != -100).sum())
            self.tokens += int(real.sum())
            return super().training_step(model, inputs, *args, **kwargs)

    torch.manual_seed(0)
    rows = [json.loads(line) for line in (folder / "ids.jsonl").read_text().splitlines()]
    passes = options.get("gradient_accumulation_steps", 1)
    if options.get("packing"):  # rows of an update that hold as many tokens as BATCH sequences
        mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
        passes = round(BATCH * mean / ROW)
        options = {**options, "gradient_accumulation_steps": passes, "per_device_train_batch_size": 1}
    given = {
        "output_dir": str(folder / "trl"),
        "max_steps": steps,
        "max_length": ROW if options.get("packing") else None,
        "per_device_train_batch_size": BATCH // passes,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 1e-4,
        "weight_decay": 0.05,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 10,
        **options,
    }
    model = Qwen2ForCausalLM.from_pretrained(folder / "plain", dtype=torch.float32, attn_implementation="sdpa")
    tokenizer, clock, begun = AutoTokenizer.from_pretrained(folder / "plain"), Clock(), time.perf_counter()
    trainer = Counted(model, SFTConfig(**given), None, datasets.Dataset.from_list(rows), processing_class=tokenizer)
    prepared = time.perf_counter() - begun
    trainer.add_callback(clock)
    leak = sequences_leak(trainer, rows[0]["input_ids"][:3])
    trainer.train()
    return {
        "useful": trainer.useful,
        "tokens": trainer.tokens,
        "seconds": clock.seconds,
        "updates": trainer.state.global_step,
        "preparation_seconds": prepared,
        "leak": leak,
    }


def sequences_leak(trainer: Any, opening: list[int]) -> float:
    """Return how far log-probabilities of a batch are from those of its sequences alone, at most; each opens alike."""
    import torch

    def score(inputs: dict[str, Any]) -> torch.Tensor:
        with torch.no_grad():
            return trainer.model(**inputs, use_cache=False, fused_lm_head=True).log_probs

    worst, batch = 0.0, next(iter(trainer.get_train_dataloader()))
    for ids, labels, found in zip(batch["input_ids"], batch["labels"], score(dict(batch))):
        starts = [0] + [i for i in range(1, len(ids)) if ids[i : i + len(opening)].tolist() == opening]
        for start, stop in zip(starts, [*starts[1:], len(ids)]):
            alone = score({"input_ids": ids[None, start:stop], "labels": labels[None, start:stop]})[0]
            together = found[start : stop - 1]
            worst = max([worst, *(alone - together).abs().tolist()])
    return worst


def work(name: str, folder: pathlib.Path, steps: int, threads: int) -> None:
    """Do one run in this process and print what it gave as the last line."""
    import torch

    torch.set_num_threads(threads)
    found = (train_ours if name in OURS else train_trl)(folder, (OURS | TRL)[name], steps)
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    found["peak_megabytes"] = next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
    found["useful_tokens_per_second"] = found["useful"] / found["seconds"]
    print(json.dumps(found))


def spawn(name: str, folder: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a run gave, or the last line of its error."""
    python = sys.executable if name in OURS else options.reference
    words = [python, __file__, "--work", name, "--folder", folder, "--steps", options.steps]
    env = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*map(str, words), "--threads", str(options.threads)], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians of every variant and the ratio of the best of each side; leaking and failed ones do not count."""
    report: dict[str, Any] = {}
    for name, found in runs.items():
        failed = [run["failed"] for run in found if "failed" in run]
        if failed:
            report[name] = {"failed": failed[0], "counts": False}
            continue
        report[name] = {key: statistics.median(run[key] for run in found) for key in found[0]}
        report[name]["seconds_of_each_round"] = [run["seconds"] for run in found]
        report[name]["counts"] = report[name].get("leak", 0.0) < LEAK
    rates = {name: row["useful_tokens_per_second"] for name, row in report.items() if row["counts"]}
    best = [max((n for n in side if n in rates), key=lambda n: rates[n], default=None) for side in (OURS, TRL)]
    ratio = rates[best[0]] / rates[best[1]] if best[0] and best[1] else None
    return {"ratio": ratio, "best_of_ours": best[0], "best_of_trl": best[1], "runs": report}


def show(report: dict[str, Any]) -> None:
    """Print a line for each variant and the ratio."""
    print(f"{'variant':34}{'useful/s':>9}{'tokens/s':>9}{'peak MB':>8}{'leak':>9}")
    for name, row in report["runs"].items():
        if "failed" in row:
            print(f"{name:34}failed: {row['failed']}")
            continue
        rates = f"{row['useful_tokens_per_second']:9.0f}{row['tokens'] / row['seconds']:9.0f}"
        print(f"{name:34}{rates}{row['peak_megabytes']:8.0f}{row.get('leak', 0.0):9.1e}")
    if report["ratio"]:
        print(f"{report['best_of_ours']} / {report['best_of_trl']}: {report['ratio']:.2f}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default=sys.executable, help="interpreter that has trl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="updates of a run; fewer for a quick look")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=(*OURS, *TRL), default=(*OURS, *TRL), help="for a quick look")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        work(options.work, options.folder, options.steps, options.threads)
        return 0
    if subprocess.run([options.reference, "-c", "import trl"], capture_output=True, check=False).returncode:
        print(f"{options.reference} has no trl: nothing is measured; give an interpreter that has it as --reference")
        return 0
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    with tempfile.TemporaryDirectory() as root:
        data = write(pathlib.Path(root))
        for number in range(options.rounds):
            for name, found in runs.items():
                found.append(spawn(name, pathlib.Path(root), options))
                print(f"{number + 1} {name:34}", json.dumps(found[-1]), file=sys.stderr, flush=True)
    machine = {"threads": options.threads, "machine": platform.processor() or platform.machine()}
    report = {**summarise(runs), "rounds": options.rounds, "steps": options.steps, "data": data, **machine}
    show(report)
    if options.steps == STEPS and len(runs) == len(OURS) + len(TRL):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
