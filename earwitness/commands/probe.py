"""``earwitness probe``: the same questions with the sound taken away, changed or left be, and what the answers do."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from earwitness.commands import evaluate
from earwitness.commands.progress import Progress

if TYPE_CHECKING:
    from earwitness.engines import Engine
    from earwitness.evaluate.runner import Settings
    from earwitness.evaluate.task import Dataset, Task

SUMMARY = "find out whether a model listens: its answers with the sound, without it, and with it changed"
EXAMPLES = """examples:
  earwitness probe --task soundworld --data music --limit 200 --out runs/probe
  earwitness probe --task mmau --data mmau-test-mini.json --model https://host/v1#name --out runs/other
  earwitness probe --task soundworld --data crossed --no-chain-tests --out runs/crossed

The same command continues a probe that was stopped."""

_AWAY = {
    "no_audio": "no clip",
    "silence": "silence instead",
    "noise": "noise instead, as loud",
    "other": "another item's clip",
    "transcript": "its transcript instead",
    "caption": "its description instead",
    "mask": "half of it silenced",
}
_CHAIN = {
    "early_0": "no chain", "early_25": "a quarter of it", "early_50": "half of it", "early_75": "three quarters",
    "filler": "dots instead", "corrupted": "a true claim made false",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    evaluate.add_run_arguments(parser)
    parser.add_argument("--no-chain-tests", action="store_true", help="leave the chains as they are; a third faster")


def run(args: argparse.Namespace) -> int:
    """Probe the tasks one after another and print what was found."""
    if not args.out and not args.dry_run:
        args.parser.error("--out is missing; name the folder that the probe is written to")
    settings, loaded = evaluate.settings_of(args), evaluate.load_tasks(args)
    if args.dry_run:
        for task, data in loaded:
            evaluate.show_plan(task, data, settings)
        return 0
    engine = evaluate.load_engine(args)
    found: dict[str, Any] = {}
    try:
        for task, data in loaded:
            folder = pathlib.Path(args.out) / task.id
            found[task.id] = _probe(task, data, engine, settings, folder, not args.no_chain_tests)
            for sentence in remarks(found[task.id]):
                print(f"earwitness: {task.id}: {sentence}", file=sys.stderr)
            if not args.json:
                for name, group in found[task.id]["groups"].items():
                    print(describe(f"{task.id}, {name}", group))
    finally:
        engine.close()
    if args.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    return 0


def _probe(
    task: Task, data: Dataset, engine: Engine, settings: Settings, folder: pathlib.Path, chain_tests: bool
) -> dict[str, Any]:
    from earwitness.evaluate import probe

    bar: list[Progress] = []

    def on_condition(name: str, count: int) -> None:
        for each in bar:
            each.__exit__(None, None, None)
        bar[:] = [Progress(count, f"items, {task.id}, {name}").__enter__()]

    try:
        return probe.probe(
            task, data, engine, settings, folder, chain_tests, on_condition, lambda row: bar[0].advance()
        )
    finally:
        for each in bar:
            each.__exit__(None, None, None)


def remarks(report: dict[str, Any]) -> list[str]:
    """Return what a probe could not ask, in sentences."""
    told = [f"the tests of chains were {report['chain_tests']}"] if "chain_tests" in report else []
    errors = [f"{count:,} items ended in an error under {name!r}" for name, count in report["errors"].items()]
    return told + [f"{said}; they count nowhere, and the same command asks them again" for said in errors]


def describe(name: str, group: dict[str, Any]) -> str:
    """Return the measures of a group as lines for people."""
    real = group["real"]
    lines = [f"{name}: {group['verdict']}", f"  {'as it is':26} {_percent(real)}, chance {100 * group['chance']:.1f} %"]
    for key, said in _AWAY.items():
        if key in group:
            one = group[key]
            kept = "" if one["retention"] is None else f", {100 * one['retention']:.0f} % kept"
            lines.append(f"  {said:26} {_percent(one)}{kept}, p {one['p']:.2g}")
    for key, said in (("sensitivity", "follows an edit"), ("invariance", "same after harmless ones")):
        if key in group:
            lines.append(f"  {said:26} {_percent(group[key], 'value')}")
    for key, said in _CHAIN.items():
        if one := group.get("chains", {}).get(key):
            lines.append(f"  chain: {said:19} {_percent(one)}; same answer {100 * one['same']['value']:.1f} %")
    for asked, one in group.get("conflict", {}).items():
        lines.append(f"  {asked:26} follows the voice {one['voice']}, the words {one['words']}, of {one['n']}")
    if "claims" in group:
        rates = {k: "-" if v is None else f"{v:.2f}" for k, v in group["claims"].items() if not isinstance(v, dict)}
        lines.append(f"  claims of the chains       precision {rates['precision']}, coverage {rates['coverage']}")
    return "\n".join(lines)


def _percent(one: dict[str, Any], key: str = "accuracy") -> str:
    return f"{100 * one[key]:.1f} % ({100 * one['low']:.1f} to {100 * one['high']:.1f}, n {one['n']})"
