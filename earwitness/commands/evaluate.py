"""``earwitness eval``: benchmarks on any engine, resumable, with the authors' score beside a robust one."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any

from earwitness.commands import ask
from earwitness.commands.progress import Progress

if TYPE_CHECKING:
    from earwitness.engines import Engine
    from earwitness.evaluate.runner import Settings
    from earwitness.evaluate.task import Dataset, Task

SUMMARY = "run benchmarks on a model and score them as their authors do, and robustly"
EXAMPLES = """examples:
  earwitness eval --task soundworld --limit 100 --out runs/small
  earwitness eval --task mmau,mmsu --data benchmarks --model stepfun-ai/Step-Audio-R1 --out runs/r1
  earwitness eval --task mmau --data mmau-test-mini.json --model https://host/v1#name --concurrency 16 --out runs/other
  earwitness eval --task mmsu --data mmsu --model Qwen/Qwen2-Audio-7B-Instruct --out runs/qwen

The same command continues a run that was stopped. With several tasks, --data is a folder with one folder a task."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run_arguments(parser)
    parser.add_argument("--judge", metavar="URL#NAME", help="model that judges what rules cannot decide")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="ask every item N times")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="put the choices of every item in another order")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that asks the items of tasks."""
    parser.add_argument("--task", required=True, metavar="ID,ID,...", help="the benchmarks, such as mmau,mmsu")
    parser.add_argument("--data", default=".", metavar="DIR", help="the published files (default: here)")
    parser.add_argument("--model", metavar="NAME|DIR|URL", help="default: the small model of the package")
    parser.add_argument("--out", metavar="RUN", help="folder of the run; it is made, or continued")
    parser.add_argument("--prompt", default="report", help="report (as Step-Audio-R1 was asked) or authors")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N items of each task")
    parser.add_argument("--concurrency", type=int, default=8, metavar="N", help="requests in flight at a URL")
    think = parser.add_mutually_exclusive_group()
    think.add_argument("--think-budget", type=int, metavar="N", help="close the reasoning after N tokens")
    think.add_argument("--no-think", action="store_true", help="answer without reasoning")
    parser.add_argument("--temperature", type=float, help="default: 0 for the small model, else the published 0.7")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="most tokens of a reply (default: as for ask)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or auto (default: the first GPU, else the CPU)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="longest silence of a URL")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--dry-run", action="store_true", help="print counts and the first prompt, then stop")


def run(args: argparse.Namespace) -> int:
    """Run the tasks; returns 1 where an item ended in an error."""
    from earwitness import engines

    if not args.out and not args.dry_run:
        args.parser.error("--out is missing; name the folder that the run is written to")
    settings, loaded = settings_of(args), load_tasks(args)
    if args.dry_run:
        for task, data in loaded:
            show_plan(task, data, settings)
        return 0
    out = pathlib.Path(args.out)
    engine = load_engine(args)
    judge = engines.load(args.judge, timeout_seconds=args.timeout) if args.judge else None
    summaries: dict[str, Any] = {}
    try:
        for task, data in loaded:
            summaries[task.id] = _run_one(task, data, engine, settings, out / task.id, judge)
            _write(out / "summary.json", summaries)
            if not args.json:
                print(describe(task.id, summaries[task.id]))
    finally:
        engine.close()
        if judge is not None:
            judge.close()
    if args.json:
        print(json.dumps(summaries, ensure_ascii=False, indent=1))
    failed = sum(summary["counts"]["error"] for summary in summaries.values())
    if failed:
        print(f"earwitness: {failed:,} items ended in an error; run the same command again to retry", file=sys.stderr)
    return 1 if failed else 0


def load_engine(args: argparse.Namespace) -> Engine:
    """Return the engine of ``--model``: as for ``ask``, or transformers' own for any other model that hears."""
    if args.model is not None and not args.model.startswith(("http://", "https://")):
        from transformers import PretrainedConfig

        from earwitness.model.config import ARCHITECTURES

        try:
            kind = PretrainedConfig.get_config_dict(args.model)[0].get("model_type")
        except (OSError, ValueError):
            kind = None  # ``ask`` says what is missing
        if kind is not None and kind not in ARCHITECTURES:
            from earwitness.engines.transformers import load_transformers

            return load_transformers(args.model, device=args.device, dtype=args.dtype)
    return ask.load_engine(args)


def settings_of(args: argparse.Namespace) -> Settings:
    """Return how the items are asked; ``ValueError`` where an option is out of range."""
    from earwitness.evaluate.runner import Settings

    is_server = args.model is not None and args.model.startswith(("http://", "https://"))
    if is_server and args.concurrency < 1:
        raise ValueError(f"concurrency is {args.concurrency}; it must be 1 or more")
    return Settings(
        sampling=ask.sampling_of(args),
        prompt=args.prompt,
        think=not args.no_think,
        repeats=getattr(args, "repeats", 1),
        limit=args.limit,
        shuffle=getattr(args, "shuffle", None),
        concurrency=args.concurrency if is_server else 0,
    )


def load_tasks(args: argparse.Namespace) -> list[tuple[Task, Dataset]]:
    """Return the tasks with their data; what is wrong with the data is said on stderr."""
    from earwitness.evaluate import tasks

    names = [name for name in args.task.split(",") if name]
    loaded = []
    for name in dict.fromkeys(names):
        task = tasks.get(name)
        root = pathlib.Path(args.data).expanduser()
        data = task.load(root / name if len(names) > 1 and (root / name).exists() else root)
        for sentence in data.problems:
            print(f"earwitness: {name}: {sentence}", file=sys.stderr)
        loaded.append((task, data))
    if not loaded:
        raise ValueError(f"--task {args.task!r} names no task; give one such as mmau")
    return loaded


def _run_one(
    task: Task, data: Dataset, engine: Engine, settings: Settings, folder: pathlib.Path, asked: Engine | None
) -> dict[str, Any]:
    from earwitness.evaluate import runner
    from earwitness.evaluate.judging import Judge

    judge = Judge(folder / "judge.jsonl", asked) if asked is not None or (folder / "judge.jsonl").exists() else None

    samples = runner.items(data, settings)
    left = runner.waiting(samples, settings, folder)
    total = len(samples) * settings.repeats
    if left < total:
        print(f"{task.id}: {total - left:,} of {total:,} are answered already", file=sys.stderr)
    begun = time.monotonic()
    with Progress(left, "items") as progress:

        def on_row(row: dict[str, Any]) -> None:
            rate = (progress.done + 1) / max(1e-3, time.monotonic() - begun)
            progress.advance(note=f"{rate:.1f} items/s, {task.id}")

        return runner.run_task(task, data, engine, settings, folder, on_row=on_row, judge=judge)


def describe(name: str, summary: dict[str, Any]) -> str:
    """Return a summary as one line for people: both scores with intervals, and every count beside them."""
    parts = [f"{label} {score_text(summary[label])}" for label in ("official", "robust")]
    counts = [f"{what.replace('_', ' ')} {count}" for what, count in summary["counts"].items() if count]
    return f"{name}: {', '.join(parts)}; n {summary['n']}" + (f"; {', '.join(counts)}" if counts else "")


def score_text(found: dict[str, Any]) -> str:
    """Return one score for people: in percent with its interval, or the bare number where it has none."""
    if found["score"] is None:
        return "not scored"
    if "low" not in found:
        return f"{found['score']:.4g}"
    return f"{100 * found['score']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def show_plan(task: Task, data: Dataset, settings: Settings) -> None:
    """Print what would be asked, with the first prompt, without loading a model."""
    from earwitness import prompt
    from earwitness.evaluate import runner

    samples = runner.items(data, settings)
    clips = sum(len(sample.audio) for sample in samples)
    print(f"{task.id}: version {data.version}, {len(data.samples)} items in the data, sha256 {data.sha256}")
    print(f"questions: {len(samples):,} items x {settings.repeats}, {clips:,} clips, {len(data.problems)} problems")
    print(f"sampling: {settings.sampling}")
    if samples:
        print(f"first prompt:\n{prompt.render(task.messages(samples[0], settings.prompt), think=settings.think)}")


def _write(path: pathlib.Path, value: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
