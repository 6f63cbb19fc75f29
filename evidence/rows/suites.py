"""Contract row: the shipped model on all SoundWorld suites, evaluated and probed; killed on the way, it ends the same.

``earwitness probe`` asks every item as it is, which is the evaluation, and then under its conditions. The suites are
probed by two processes of one thread each: the small model gains little from a second thread. In full, the table of the
results is also written to the README, between the lines ``<!-- suites -->`` and ``<!-- /suites -->``.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import panels, report
from earwitness.evaluate.run_records import RecordFile
from earwitness.evaluate.tasks.soundworld import ITEMS, SUITES

MINUTES = 30.0
AT_ONCE = 2
README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
_TABLE = re.compile(r"(<!-- suites -->\n).*?(<!-- /suites -->)", re.S)
_TIMINGS = ("seconds", "first_token_seconds")
_POLL_SECONDS = 0.1


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Probe 1,000 items of each suite; and 20, whole and killed on the way (reduced: 10 of one, without chains)."""
    suites = SUITES[:1] if reduced else SUITES
    few, options = (10, ["--no-chain-tests"]) if reduced else (20, [])
    _probe(folder / "few", suites, few, options)
    records = _records(folder / "few")
    left = _killed(folder / "killed", suites, few, options, at=records // 2)
    same = _told(folder / "few", suites) == _told(folder / "killed", suites)
    figures: dict[str, Any] = {"few": few, "records": records, "killed_at": left}
    holds = {"killed": left < records, "ends_the_same": same}
    if not reduced:
        figures["items"] = ITEMS
        figures["minutes"] = round(_probe(folder / "whole", suites, ITEMS, []) / 60, 2)
        figures["table"] = [row for suite in suites for row in report.probed(report.read(folder / "whole" / suite)[0])]
        holds["within_30_minutes"] = figures["minutes"] <= MINUTES
        holds["table_in_readme"] = _write_table(panels.probe_table(figures["table"]))
    return {"figures": figures, "holds": holds}


def _start(out: pathlib.Path, suite: str, items: int, options: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "earwitness", "probe", "--task", "soundworld", "--data", suite]
    return subprocess.Popen(
        [*command, "--limit", str(items), "--out", str(out / suite), *options],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _probe(
    out: pathlib.Path, suites: Sequence[str], items: int, options: Sequence[str], kill_at: int | None = None
) -> float:
    """Probe all suites, or let that go on; return the seconds of all attempts together.

    At ``kill_at`` records everything is killed.
    """
    spent = out / "seconds"
    seconds = float(spent.read_text()) if spent.exists() else 0.0
    out.mkdir(parents=True, exist_ok=True)
    waiting, running, last = list(suites), [], time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(_start(out, waiting.pop(0), items, options))
            time.sleep(_POLL_SECONDS)
            seconds, last = seconds + time.monotonic() - last, time.monotonic()
            _keep(spent, seconds)
            if kill_at is not None and _records(out) >= kill_at:
                break
            ended = [process for process in running if process.poll() is not None]
            running = [process for process in running if process not in ended]
            if any(process.returncode for process in ended):
                raise RuntimeError("earwitness probe failed; see what it said above")
    finally:
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return seconds


def _killed(out: pathlib.Path, suites: Sequence[str], items: int, options: Sequence[str], at: int) -> int:
    """Probe anew, with a kill at so many records, and then to the end; return the records that the kill left."""
    shutil.rmtree(out, ignore_errors=True)
    _probe(out, suites, items, options, kill_at=at)
    left = _records(out)
    _probe(out, suites, items, options)
    return left


def _keep(path: pathlib.Path, seconds: float) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(str(seconds))
    os.replace(partial, path)


def _records(out: pathlib.Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/soundworld/*/records.jsonl"))


def _told(out: pathlib.Path, suites: Sequence[str]) -> dict[str, Any]:
    """Return all that the probes found, without its timings."""
    found: dict[str, Any] = {}
    for suite in suites:
        root = out / suite / "soundworld"
        found[suite] = json.loads((root / "probe.json").read_text(encoding="utf-8"))
        for place in sorted(path for path in root.iterdir() if path.is_dir()):
            rows = RecordFile(place).rows()
            told = [{k: v for k, v in row.items() if k not in _TIMINGS} for row in rows]
            found[f"{suite}, {place.name}"] = told
    return found


def _write_table(table: str) -> bool:
    """Put the table into the README; return whether it has a place there."""
    text = README.read_text(encoding="utf-8")
    new, count = _TABLE.subn(lambda match: f"{match[1]}\n{table}\n{match[2]}", text)
    if count:
        partial = README.with_suffix(".partial")
        partial.write_text(new, encoding="utf-8")
        os.replace(partial, README)
    return bool(count)
