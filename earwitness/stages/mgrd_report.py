"""The recipe's report: one HTML file with the figures of every round, what its filters removed, and chains to read."""

from __future__ import annotations

import io
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from earwitness.acoustics import Measurements
from earwitness.grounding import verify_chain
from earwitness.grounding.report import Told, marked, player, render
from earwitness.records import Sample
from earwitness.stages.curate import waveform

SHOWN = 10
"""Questions whose chains stand side by side."""
_COLUMNS = {
    "grounded chains": ("chains", "grounded"),
    "surrogate chains": ("chains", "surrogate"),
    "claims that hold": ("claims", "precision"),
    "claims that can be checked": ("claims", "coverage"),
    "right, thinking": ("accuracy", "think", "average"),
    "right, direct": ("accuracy", "direct", "average"),
}
_PANELS = (
    ("right", ("right, thinking", "right, direct")),
    ("chains", ("grounded chains", "surrogate chains")),
    ("claims", ("claims that hold", "claims that can be checked")),
)


def write(run: pathlib.Path, asked: Iterable[Sample]) -> pathlib.Path:
    """Write ``report.html`` from what the run folder holds so far, and return its path.

    Args:
        run: of the recipe; has at least one ``metrics`` step that is done.
        asked: the samples that these steps asked.
    """
    steps = {path.parent.parent.name: path for path in sorted(run.glob("*/metrics/metrics.json"), key=_order)}
    found = {name: json.loads(path.read_text()) for name, path in steps.items()}
    rows = [{"name": name, **_figures(numbers)} for name, numbers in found.items()]
    page = render(
        "earwitness.stages",
        "mgrd_report.html.jinja",
        title=f"MGRD: {run.name}",
        columns=list(_COLUMNS),
        rows=rows,
        picture=_picture(rows),
        suites=_suites(found),
        filters=_filters(run),
        questions=_side_by_side(steps, {sample.id: sample for sample in asked}),
    )
    partial = run / "report.partial"
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, run / "report.html")
    return run / "report.html"


def _order(path: pathlib.Path) -> tuple[int, int]:
    """Return the place of a ``metrics`` step: cold start, rounds by number, DPO."""
    name = path.parent.parent.name
    number = name.removeprefix("round-")
    return (0, 0) if name == "cold" else (1, int(number)) if number.isdigit() else (2, 0)


def _figures(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a step, and the mean length of its chains."""
    row: dict[str, Any] = {"length": numbers["chains"]["thinking_tokens"]}
    for name, keys in _COLUMNS.items():
        value: Any = numbers
        for key in keys:
            value = value[key]
        row[name] = value
    return row


def _suites(found: dict[str, dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return (suite, its accuracies by step) of every suite."""
    told = [numbers["accuracy"] for numbers in found.values()]
    names = sorted({name for accuracy in told for name in accuracy["think"]} - {"average"})
    none = {"right": 0, "of": 0}
    return [(name, [{mode: a[mode].get(name, none) for mode in a} for a in told]) for name in names]


def _filters(run: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (step, counts) of the steps that choose: questions, chains, curated questions, pairs."""
    names = ("questions", "chains", "curate", "pairs")
    paths = [path for path in run.glob("*/*/done.json") if path.parent.name in names]
    paths.sort(key=lambda path: (_order(path), names.index(path.parent.name)))
    return [(str(path.parent.relative_to(run)), json.loads(path.read_text())["result"]) for path in paths]


def _side_by_side(steps: dict[str, pathlib.Path], samples: dict[str, Sample]) -> list[dict[str, Any]]:
    """Return questions with their sound and what was thought of it at the first step and at the last."""
    first, last = next(iter(steps)), list(steps)[-1]
    judged = {name: _judged(steps[name].with_name("judged.jsonl")) for name in dict.fromkeys((first, last))}
    both = [key for key in judged[first] if key in judged[last] and key in samples]
    stride = max(1, len(both) // SHOWN)  # spread over the suites, which take turns
    out = []
    for key in both[::stride][:SHOWN]:
        sample = samples[key]
        wave = waveform(sample.audio[0], sample)
        measured = Measurements(wave)
        told = [_told(name, rows[key], measured) for name, rows in judged.items()]
        out.append({"sample": sample, "player": player(wave), "told": told})
    return out


def _judged(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row for row in rows}


def _told(name: str, row: dict[str, Any], measured: Measurements) -> Told:
    right = {True: "right", False: "wrong"}.get(row["correct"], "")
    remarks = [right, "surrogate" if row["surrogate"] else "", *row["reasons"]]
    chain = marked(row["thinking"], verify_chain(row["thinking"], measured))
    return Told(name, chain, row["answer"], "; ".join(filter(None, remarks)))


def _picture(rows: Sequence[dict[str, Any]]) -> Markup:
    """Return the columns over the steps as an SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(_PANELS) + 1, figsize=(14, 3))
    names = [row["name"] for row in rows]
    for axis, (title, columns) in zip(axes, (*_PANELS, ("tokens of a chain", ("length",)))):
        for column in columns:
            points = [(name, row[column]) for name, row in zip(names, rows) if row[column] is not None]
            axis.plot(*(zip(*points) if points else ((), ())), marker="o", label=column)
        axis.set_title(title, fontsize=10)
        axis.set_ylim(0, 1 if title != "tokens of a chain" else None)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    out = io.StringIO()
    figure.savefig(out, format="svg")
    pyplot.close(figure)
    return Markup(out.getvalue()[out.getvalue().index("<svg") :])  # noqa: S704 - drawn here
