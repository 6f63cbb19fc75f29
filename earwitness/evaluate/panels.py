"""Parts of a report that are computed from records: accuracy by the length of the chain, and the table of a probe."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from earwitness.evaluate import statistics
from earwitness.evaluate.run_records import Row

CONDITIONS = {
    "no_audio": "no clip",
    "silence": "silence",
    "noise": "noise",
    "other": "another clip",
    "transcript": "transcript",
    "caption": "caption",
    "mask": "half silenced",
}
"""What a probe asks instead of the clip -> how tables call it."""
_BINS = 4


def by_length(rows: Sequence[Row]) -> dict[str, Any]:
    """Return accuracy (robust) by the tokens of the chain, in quarters of the replies, and the slope within items.

    Across items a long chain may only say that the question is hard, so the slope compares repeats of the same item:
    the change of accuracy for 100 more tokens, with its 95 % interval clustered by item; it is missing without repeats.
    Empty where no reply that was scored has a chain.
    """
    pairs = [(row["item"], float(row["thinking_tokens"]), float(row["robust"])) for row in rows if _counts(row)]
    if not any(tokens for _, tokens, _ in pairs):
        return {}
    pairs.sort(key=lambda pair: pair[1])
    edges = [round(len(pairs) * k / _BINS) for k in range(_BINS + 1)]
    bins = [pairs[a:b] for a, b in zip(edges, edges[1:]) if b > a]
    found = [{"tokens": (of[0][1], of[-1][1]), **_accuracy([right for *_, right in of])} for of in bins]
    return {"bins": found, "slope": _slope(pairs)}


def _counts(row: Row) -> bool:
    return isinstance(row.get("robust"), bool) and "thinking_tokens" in row


def _accuracy(right: Sequence[float]) -> dict[str, Any]:
    interval = statistics.wilson(round(sum(right)), len(right))
    return {"n": len(right), "score": interval.value, "low": interval.low, "high": interval.high}


def _slope(pairs: Sequence[tuple[int, float, float]]) -> statistics.Interval | None:
    """Return the least-squares slope of right on tokens / 100 with a mean of its own for every item."""
    items: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for item, tokens, right in pairs:
        items[item].append((tokens / 100, right))
    centred = []
    for of in items.values():
        x, y = (sum(values) / len(of) for values in zip(*of))
        centred.append([(a - x, b - y) for a, b in of])
    spread = sum(x * x for of in centred for x, _ in of)
    varied = [of for of in centred if any(x for x, _ in of)]
    if spread == 0 or len(varied) < 2:
        return None
    slope = sum(x * y for of in varied for x, y in of) / spread
    errors = (sum(x * (y - slope * x) for x, y in of) for of in varied)
    half = statistics.t_quantile(len(varied) - 1) * math.sqrt(sum(error**2 for error in errors)) / spread
    return statistics.Interval(slope, slope - half, slope + half)


def probe_rows(probe: Mapping[str, Any], official: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return a row for each group of a probe: accuracies in 0..1, None where a condition was not asked.

    Args:
        probe: of ``probe.json``.
        official: group -> official score of its items as they are, where known.
    """
    found = []
    for name, group in probe["groups"].items():
        row = {"items": name, "n": group["n"], "official": (official or {}).get(name), "robust": group["real"]}
        row |= {"chance": group["chance"], **{key: group.get(key, {}).get("accuracy") for key in CONDITIONS}}
        row |= {key: group.get(key, {}).get("value") for key in ("sensitivity", "invariance")}
        found.append(row | {"verdict": group["verdict"]})
    return found


def probe_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of ``probe_rows`` as a Markdown table, in percent; conditions that no row has are left out."""
    asked = [key for key in CONDITIONS if any(row[key] is not None for row in rows)]
    heads = ["items", "n", "official", "robust", "chance", *(CONDITIONS[key] for key in asked)]
    heads += ["follows edits", "steady", "verdict"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        real = row["robust"]
        robust = f"{percent(real['accuracy'])} ({percent(real['low'])}-{percent(real['high'])})"
        cells = [row["items"], str(row["n"]), percent(row["official"]), robust, percent(row["chance"])]
        cells += [percent(row[key]) for key in (*asked, "sensitivity", "invariance")]
        lines.append(f"| {' | '.join([*cells, row['verdict']])} |")
    return "\n".join(lines) + "\n"


def percent(value: float | None) -> str:
    """Return a share in percent with one decimal; a dash for None."""
    return "-" if value is None else f"{100 * value:.1f}"
