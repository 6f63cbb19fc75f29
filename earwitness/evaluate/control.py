"""The experiment "the model listens, and thinking helps": all conditions on the same items, resumable, summarised.

The control is a model of the same shape, trained on direct answers only, with the same updates and at least the same
tokens (``configs/tiny-direct.yaml``).
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from earwitness.engines.protocol import Engine, Sampling
from earwitness.evaluate import listening, statistics
from earwitness.evaluate.listening import Item
from earwitness.evaluate.shortcuts import chance
from earwitness.records import Reply

_SAMPLING = Sampling(max_new_tokens=320)


def run_suite(engine: Engine, control: Engine | None, suite: str, count: int, folder: pathlib.Path) -> dict[str, Any]:
    """Ask ``count`` test items of a suite under every condition; answers already in ``folder`` are reused."""
    asked = listening.items(suite, "test", count)
    thought: list[Reply] = []
    rows: dict[str, list[dict[str, Any]]] = {}
    for condition in ("think", "direct", "filler", "swapped"):
        used = [i for i in asked if condition != "swapped" or i.other is not None]
        rows[condition] = _cached(engine, used, condition, thought, folder / f"{suite}-{condition}-{count}.json")
        if condition == "think":
            thought = [Reply(r["thinking"], r["answer"], r["status"], r["thinking_tokens"]) for r in rows["think"]]
    if control is not None:
        rows["control"] = _cached(control, asked, "direct", [], folder / f"{suite}-control-{count}.json")
    held = listening.items(suite, "heldout", count)
    rows["heldout"] = _cached(engine, held, "think", [], folder / f"{suite}-heldout-{count}.json")
    return {"items": rows, "chance": chance([i.sample for i in asked])}


def _cached(
    engine: Engine, asked: Sequence[Item], condition: str, thought: Sequence[Reply], path: pathlib.Path
) -> list[dict[str, Any]]:
    if path.exists():
        return json.loads(path.read_text())
    rows = []
    for item, reply in zip(asked, listening.ask(engine, asked, condition, _SAMPLING, thought)):
        s = item.sample
        row = {"id": s.id, "task": s.task, "steps": int(s.tags[0].split(":")[1]), "truth": s.answer}
        row |= {"answer": reply.answer, "thinking": reply.thinking, "status": reply.status}
        row |= {"thinking_tokens": reply.thinking_tokens, "right": listening.is_right(s, reply)}
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(rows))
    os.replace(partial, path)
    return rows


def accuracy(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return n, accuracy and its 95 % Wilson interval, rounded to 4 places."""
    right = sum(r["right"] for r in rows)
    value, low, high = statistics.wilson(right, len(rows))
    return {"n": len(rows), "accuracy": round(value, 4), "low": round(low, 4), "high": round(high, 4)}


def by_key(rows: Sequence[dict[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """Return ``accuracy`` for every value of a field."""
    return {str(v): accuracy([r for r in rows if r[key] == v]) for v in sorted({r[key] for r in rows})}


def compare(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the paired comparison of two conditions on the same items."""
    assert [r["id"] for r in first] == [r["id"] for r in second]
    result = statistics.paired([r["right"] for r in first], [r["right"] for r in second])
    return {
        "first": round(result.first, 4),
        "second": round(result.second, 4),
        "difference": [round(x, 4) for x in result.difference],
        "only_first": result.only_first,
        "only_second": result.only_second,
        "p": result.p,
    }
