"""What a run of a task says in figures: scores with intervals and, beside them, every count that could flatter them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from earwitness.evaluate import statistics
from earwitness.evaluate.run_records import Row
from earwitness.evaluate.task import Dataset, Decision, Task, summary
from earwitness.records import Sample


def summarise(
    task: Task, data: Dataset, samples: Sequence[Sample], rows: Sequence[Row], decisions: Sequence[Decision]
) -> dict[str, Any]:
    """Return ``task.summary`` over all rows, how they ended, what blind answering would score, and what it cost.

    Args:
        task: for its published scores.
        data: for its version, hash and problems.
        samples: those that were asked.
        rows: one for each sample, repeat after repeat.
        decisions: one for each row.

    With several repeats the intervals count an item once, however often it was asked.
    """
    repeats = len(rows) // len(samples)
    found = summary(task, data, list(samples) * repeats, decisions)
    found |= {"items": len(samples), "repeats": repeats, "status": dict(Counter(row["status"] for row in rows))}
    if repeats > 1:
        for name in ("official", "robust"):
            found[name] = _over_repeats([getattr(d, name) for d in decisions], len(samples), found[name])
    return found | {"baselines": baselines(samples), "cost": _cost(rows)}


def baselines(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what answering without listening scores on the items with choices whose answer is one of them."""
    asked = [(s.choices, s.choices.index(s.answer)) for s in samples if s.answer and s.answer in s.choices]
    if not asked:
        return {}
    lengths = [[len(choice) for choice in choices] for choices, _ in asked]
    right = [place for _, place in asked]
    return {
        "n": len(asked),
        "chance": sum(1 / len(choices) for choices, _ in asked) / len(asked),
        "best_position": max(statistics.position_baseline([len(c) for c, _ in asked], right)),
        "longest_choice": statistics.longest_baseline(lengths, right),
    }


def _over_repeats(scores: Sequence[bool | float | None], items: int, found: dict[str, Any]) -> dict[str, Any]:
    """Return the score of all repeats with an interval clustered by item, and the score of each repeat."""
    kept = [(float(score), place % items) for place, score in enumerate(scores) if score is not None]
    if not kept:
        return found
    interval = statistics.clustered([score for score, _ in kept], [item for _, item in kept])
    runs = [[float(s) for s in scores[i : i + items] if s is not None] for i in range(0, len(scores), items)]
    means = [sum(run) / len(run) if run else None for run in runs]
    bounds = {"score": interval.value, "low": interval.low, "high": interval.high}
    return {**found, **bounds, "runs": means}


def _cost(rows: Sequence[Row]) -> dict[str, Any]:
    names = ("thinking_tokens", "answer_tokens", "audio_tokens", "audio_seconds", "seconds")
    answered = [row for row in rows if row["status"] != "error"]
    return {name: round(sum(row[name] for row in answered), 3) for name in names}
