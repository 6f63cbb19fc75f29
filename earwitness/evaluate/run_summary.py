"""What a run of a task says in figures: scores with intervals and, beside them, every count that could flatter them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
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

    With several repeats the intervals count an item once, however often it was asked; and items that are cut from one
    recording, where the data names it, are not taken as independent of each other.
    """
    repeats = len(rows) // len(samples)
    clusters = [sample.source.get("url") or place for place, sample in enumerate(samples)]
    found = summary(task, data, list(samples) * repeats, decisions)
    found |= {"items": len(samples), "repeats": repeats, "status": dict(Counter(row["status"] for row in rows))}
    if repeats > 1 or len(set(clusters)) < len(samples):
        for name in ("official", "robust"):
            found[name] = _clustered([getattr(d, name) for d in decisions], clusters, found[name])
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


def _clustered(
    scores: Sequence[bool | float | None], clusters: Sequence[Hashable], found: dict[str, Any]
) -> dict[str, Any]:
    """Return the score of all repeats with a clustered interval and, of several repeats, the score of each.

    Args:
        scores: repeat after repeat, those of all items in their order.
        clusters: of the items.
        found: the score with the interval of independent items, which is replaced.
    """
    items = len(clusters)
    kept = [(float(score), clusters[place % items]) for place, score in enumerate(scores) if score is not None]
    if not kept:
        return found
    interval = statistics.clustered([score for score, _ in kept], [cluster for _, cluster in kept])
    found = {**found, "score": interval.value, "low": interval.low, "high": interval.high}
    found["clusters"] = len({cluster for _, cluster in kept})
    if len(scores) > items:
        runs = [[float(s) for s in scores[i : i + items] if s is not None] for i in range(0, len(scores), items)]
        found["runs"] = [sum(run) / len(run) if run else None for run in runs]
    return found


def _cost(rows: Sequence[Row]) -> dict[str, Any]:
    names = ("thinking_tokens", "answer_tokens", "audio_tokens", "audio_seconds", "seconds")
    answered = [row for row in rows if row["status"] != "error"]
    return {name: round(sum(row[name] for row in answered), 3) for name in names}
