"""``earwitness score``: predictions that exist already, scored as the authors score them and robustly."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from earwitness.commands.evaluate import score_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from earwitness.evaluate.task import Dataset, Decision, Prediction, Task

SUMMARY = "score predictions made elsewhere, or a finished run again; generates nothing"
EXAMPLES = """examples:
  earwitness score predictions.json --task mmau
  earwitness score responses.jsonl --task mmsu --json
  earwitness score runs/r1/mmau --task mmau --data mmau-test-mini.json

A file holds predictions in the benchmark's own format, beside their items; a folder is one task of a run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("file", metavar="FILE|RUN", help="predictions, or the folder of a task in a run")
    parser.add_argument("--task", required=True, metavar="ID", help="the benchmark, such as mmau")
    parser.add_argument("--data", default=".", metavar="DIR", help="with a run: the published files (default: here)")
    parser.add_argument("--judge", metavar="URL#NAME", help="model that judges what rules cannot decide")
    parser.add_argument("--export", metavar="FILE", help="with a run: write what the benchmark's authors take")
    parser.add_argument("--json", action="store_true", help="print one JSON object with every item")


def run(args: argparse.Namespace) -> int:
    """Print the summary, or everything as JSON; returns 0 whatever the score."""
    from earwitness import engines
    from earwitness.evaluate import tasks
    from earwitness.evaluate.judging import Judge
    from earwitness.evaluate.task import decide, summary

    task, path = tasks.get(args.task), pathlib.Path(args.file).expanduser()
    if path.is_dir():
        data, predictions = _of_run(task, path, pathlib.Path(args.data).expanduser())
    else:
        data, predictions = task.predictions(path)
    if not predictions:
        raise ValueError(f"{path} holds no records; run earwitness eval with --out first")
    if args.export:
        _export(task, data, path, predictions, args.export)
    judge = Judge(_kept(path), engines.load(args.judge) if args.judge else None)
    predictions = judge.judge(task, predictions)
    decisions = decide(task, predictions)
    found = summary(task, data, [p.sample for p in predictions], decisions)
    found |= {"judge": judge.name} if judge.name else {}
    if args.json:
        items = [_item(p, d) for p, d in zip(predictions, decisions)]
        print(json.dumps({"task": task.id, "summary": found, "items": items}))
    else:
        _print(task.id, found)
    return 0


def _export(task: Task, data: Dataset, folder: pathlib.Path, predictions: Sequence[Prediction], to: str) -> None:
    from earwitness.evaluate import files

    if not task.submission[0]:
        raise ValueError(f"{task.id} takes no submissions in a format that is known here; leave --export out")
    is_plain = folder.is_dir() and _about(folder)["shuffle"] is None
    if not is_plain or len(predictions) > len(data.samples):
        raise ValueError(f"{folder} cannot be exported; give a run with one repeat and the choices in their order")
    files.export(data, predictions, task.submission, pathlib.Path(to))
    print(f"earwitness: {len(predictions):,} items written to {to}", file=sys.stderr)


def _about(folder: pathlib.Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return found


def _kept(path: pathlib.Path) -> pathlib.Path:
    """Return where a judge's replies are kept: in the run, or beside the file."""
    return path / "judge.jsonl" if path.is_dir() else path.with_name(f"{path.name}.judge.jsonl")


def _of_run(task: Task, folder: pathlib.Path, root: pathlib.Path) -> tuple[Dataset, list[Prediction]]:
    """Return the data that a run was made from, and its replies, repeat after repeat."""
    from earwitness.evaluate import runner
    from earwitness.evaluate.run_records import RecordFile

    if not (folder / "run.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no run.json; give the folder of a task in a run, such as RUN/{task.id}"
        )
    about = _about(folder)
    data = task.load(root)
    for name, here in (("task", task.id), ("sha256", data.sha256)):
        if about[name] != here:
            raise ValueError(f"{folder} is a run with {name} {about[name]}, not {here}; give its --task and --data")
    samples = runner.items(data, runner.Settings(shuffle=about["shuffle"]))
    rows = sorted(RecordFile(folder).rows(), key=lambda row: (row["repeat"], row["item"]))
    return data, [runner.prediction(samples[row["item"]], row) for row in rows]


def _item(prediction: Prediction, decision: Decision) -> dict[str, Any]:
    given = prediction.sample.source.get("id")  # as it is published, which may be a number
    name = prediction.sample.id if given is None else given
    return {"id": name, "official": decision.official, "robust": decision.robust, "rule": decision.rule}


def _print(name: str, found: dict[str, Any]) -> None:
    for sentence in found["problems"]:
        print(f"earwitness: {name}: {sentence}", file=sys.stderr)
    counts = ", ".join(f"{what.replace('_', ' ')} {count}" for what, count in found["counts"].items() if count)
    print(f"{name}: {found['n']} items" + (f"; {counts}" if counts else ""))
    for label in ("official", "robust"):
        print(f"  {label:9} {_line(found[label])}")
    for grouping, groups in found["groups"].items():
        for group, of in groups.items():
            line = f"official {_line(of['official'])}, robust {_line(of['robust'])}"
            print(f"  {grouping.replace('_', ' ')}, {group}: {line}")


def _line(found: dict[str, Any]) -> str:
    return score_text(found) + ("" if found["score"] is None else f", n {found['n']}")
