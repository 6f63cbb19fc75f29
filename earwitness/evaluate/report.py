"""Runs as one HTML page and one Markdown table: scores with every count beside them, and the items to look at.

A run folder has a folder for each task, with ``run.json``, ``summary.json`` and ``records.jsonl``, which a probe has
under ``real``, beside its ``probe.json``. Several runs stand side by side; two of the same items are compared in pairs.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from earwitness.acoustics import Measurements
from earwitness.evaluate import panels, statistics
from earwitness.evaluate.run_records import RecordFile, Row
from earwitness.evaluate.runner import load_clip
from earwitness.grounding import verify_chain
from earwitness.grounding.report import Told, marked, player, render
from earwitness.records import Sample

PUBLISHED = pathlib.Path(__file__).with_name("published.yaml")
_COUNTS = ("unparsed", "ambiguous", "truncated", "empty", "missing", "error", "left_out", "unjudged", "bad_item")


@dataclass(frozen=True)
class TaskRun:
    """One task of one run."""

    run: str
    """Name of the run: its folder."""
    task: str
    about: Mapping[str, Any]
    """Of ``run.json``: model, data, prompt, sampling."""
    summary: Mapping[str, Any]
    rows: Sequence[Row] = field(repr=False)
    probe: Mapping[str, Any] | None = None

    @property
    def budget(self) -> int | None:
        """The think budget of the run; None where the model thinks as long as it likes."""
        return self.about.get("think_budget")


def read(folder: pathlib.Path) -> list[TaskRun]:
    """Return the finished tasks of a run.

    Raises:
        ValueError: a folder without any.
    """
    found = []
    for path in sorted(folder.glob("*")):
        place = path if (path / "summary.json").exists() else path / "real"  # a probe without a run
        if (place / "summary.json").exists():
            about, summary = (json.loads((place / name).read_text("utf-8")) for name in ("run.json", "summary.json"))
            probe = path / "probe.json"
            seen = json.loads(probe.read_text("utf-8")) if probe.exists() else None
            found.append(TaskRun(folder.name, path.name, about, summary, list(RecordFile(place).rows()), seen))
    if not found:
        raise ValueError(f"{folder} holds no finished task; make one with 'earwitness eval --out {folder}'")
    return found


def compare(first: TaskRun, second: TaskRun, scorer: str = "robust") -> dict[str, Any] | None:
    """Return the paired comparison of two runs of a task on the items that both scored; None where there are none."""
    a, b = _scores(first, scorer), _scores(second, scorer)
    both = [key for key in a if key in b]
    if not both:
        return None
    found = statistics.paired([a[k] for k in both], [b[k] for k in both], clusters=[k[0] for k in both])
    counts = {"only_first": found.only_first, "only_second": found.only_second, "p": found.p}
    least = statistics.detectable_difference(len(both), (found.only_first + found.only_second) / len(both))
    scores = {"first": found.first, "second": found.second, "difference": found.difference}
    return {"n": len(both), **scores, **counts, "detectable": None if least == float("inf") else least}


def _scores(one: TaskRun, scorer: str) -> dict[tuple[str, int, int], float]:
    """Return scores by id, repeat and, where an id stands twice in the data, which of the two it is."""
    found: dict[tuple[str, int, int], float] = {}
    met: Counter[tuple[str, int]] = Counter()
    for row in one.rows:
        key = row["id"], row["repeat"]
        met[key] += 1
        if row.get(scorer) is not None:
            found[*key, met[key]] = float(row[scorer])
    return found


def markdown(runs: Sequence[TaskRun]) -> str:
    """Return the scores as a Markdown table, a line for each task of each run."""
    heads = ["run", "task", "n", "official", "robust", "blind", "thought", *(c.replace("_", " ") for c in _COUNTS)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for one in runs:
        s = one.summary
        cells = [one.run, one.task, str(s["n"]), score(s["official"]), score(s["robust"]), _blind(s), _thought(s)]
        lines.append(f"| {' | '.join([*cells, *(str(s['counts'].get(c, 0)) for c in _COUNTS)])} |")
    for one in runs:
        if rows := probed(one):
            lines += ["", f"{one.run}, {one.task}: does it listen?", "", panels.probe_table(rows).rstrip()]
    return "\n".join(lines) + "\n"


def probed(one: TaskRun) -> list[dict[str, Any]]:
    """Return ``panels.probe_rows`` of a run, official scores from its groups of that name; empty without a probe."""
    if one.probe is None:
        return []
    groups = {name: of for by in one.summary["groups"].values() for name, of in by.items()}
    scores = {"all": one.summary["official"]} | {name: of["official"] for name, of in groups.items()}
    return panels.probe_rows(one.probe, {name: of["score"] for name, of in scores.items()})


def write(
    runs: Sequence[TaskRun], samples: Mapping[str, Sequence[Sample]], out: pathlib.Path, shown: int = 60
) -> pathlib.Path:
    """Write the page ``out`` and the table beside it, ``.md``; return the page's path.

    Args:
        runs: of ``read``, one run after another.
        samples: the items of each task, for the browser; a task that is not there is shown without.
        out: an HTML file.
        shown: items of each task and run in the browser, spread over all; their clips are in the page.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    tables = yaml.safe_load(PUBLISHED.read_text("utf-8"))
    page = render(
        "earwitness.evaluate",
        "report.html.jinja",
        title="Evaluation: " + ", ".join(dict.fromkeys(one.run for one in runs)),
        runs=runs,
        counts=_COUNTS,
        score=score,
        blind=_blind,
        thought=_thought,
        published=[t for t in tables if {one.task for one in runs} & set(t.get("tasks", t["columns"]))],
        comparisons=_comparisons(runs),
        lengths={(one.run, one.task): panels.by_length(one.rows) for one in runs},
        conditions=panels.CONDITIONS,
        percent=panels.percent,
        curves=_curves(runs),
        items={(one.run, one.task): _items(one, samples.get(one.task, ()), shown) for one in runs},
    )
    for path, text in ((out, page), (out.with_suffix(".md"), markdown(runs))):
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    return out


def score(found: Mapping[str, Any]) -> str:
    """Return a score as people read it: percent with its interval, or a plain number."""
    if found["score"] is None:
        return "not scored"
    if "low" not in found:
        return f"{found['score']:.4g}"
    return f"{100 * found['score']:.1f} ({100 * found['low']:.1f}-{100 * found['high']:.1f})"


def _blind(summary: Mapping[str, Any]) -> str:
    """Return what answering without listening scores at best."""
    base = summary.get("baselines") or {}
    return f"{100 * max(base[k] for k in ('chance', 'best_position', 'longest_choice')):.1f}" if base else "-"


def _thought(summary: Mapping[str, Any]) -> str:
    return f"{summary['cost']['thinking_tokens'] / max(1, summary['n']):.0f} tokens"


def _comparisons(runs: Sequence[TaskRun]) -> list[dict[str, Any]]:
    """Return the comparison of the first run with every other one, task by task."""
    first = {one.task: one for one in runs if one.run == runs[0].run}
    found = []
    for one in runs:
        if one.run != runs[0].run and one.task in first and (result := compare(first[one.task], one)):
            found.append({"task": one.task, "runs": (runs[0].run, one.run), **result})
    return found


def _curves(runs: Sequence[TaskRun]) -> list[dict[str, Any]]:
    """Return, for every task that was run with several think budgets, its scores by budget."""
    out = []
    for task in dict.fromkeys(one.task for one in runs):
        of = [one for one in runs if one.task == task]
        if len({one.budget for one in of}) > 1:
            of.sort(key=lambda one: float("inf") if one.budget is None else one.budget)
            out.append({"task": task, "points": of})
    return out


def _items(one: TaskRun, samples: Sequence[Sample], shown: int) -> list[dict[str, Any]]:
    """Return items spread over the run, each with its clip and what was said of it, the claims marked."""
    place = {row["id"]: row for row in reversed(one.rows)}
    known = [sample for sample in samples[: len(one.rows)] if sample.id in place]
    stride = max(1, -(-len(known) // shown))
    out = []
    for sample in known[::stride]:
        row = place[sample.id]
        waves = [load_clip(clip) for clip in sample.audio]
        thought = row.get("thinking") or ""
        verdicts = verify_chain(thought, Measurements(waves[0])) if thought and len(waves) == 1 else []
        remark = ", ".join(f"{name} {row.get(name)}" for name in ("official", "robust", "rule", "status"))
        told = Told(one.run, marked(thought, verdicts), row.get("output") or row.get("error") or "", remark)
        out.append({"sample": sample, "players": [player(wave) for wave in waves], "told": told, "row": row})
    return out
