"""What the answers under a probe's conditions come to (definitions: docs/probe.md, with their sources).

Items are paired: a condition is compared with ``real`` on the items that were asked under both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from earwitness.evaluate import statistics
from earwitness.evaluate.probe.chains import CHAINS, EARLY
from earwitness.evaluate.probe.conditions import AWAY, HARMLESS, PARTLY, TOLD
from earwitness.evaluate.probe.edits import EDITS
from earwitness.evaluate.run_records import Row
from earwitness.records import Sample

Rows = Mapping[str, Mapping[str, Row]]
"""Condition -> id -> record."""

RETAINED = 0.9
"""A text that keeps so much of what a score has above chance answers the questions."""
_SURE = 1e-3  # one accusation too many in a thousand, for each of the two tests
LISTENS, WORDS, GUESSES, DEAF, OPEN = (
    "listens", "answerable from words", "guesses", "does not listen", "undecided",
)  # fmt: skip


def measure(rows: Rows, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return every measure that the conditions asked allow, for one group of items."""
    ids = [sample.id for sample in samples if sample.id in rows["real"]]
    chance = {s.id: 1 / len(s.choices) if s.choices else 0.0 for s in samples}
    found: dict[str, Any] = {"n": len(ids), "chance": _mean([chance[i] for i in ids])}
    found["real"] = _accuracy(rows["real"], ids)
    for name in (*AWAY, *TOLD, *PARTLY):
        if both := _both(rows, name, ids):
            found[name] = _without(rows["real"], rows[name], both, _mean([chance[i] for i in both]))
    found |= _steadiness(rows, ids)
    if any(name in rows for name in CHAINS):
        found["chains"] = _chains(rows, ids)
    if any(s.domain == "crossed" for s in samples):
        found["conflict"] = conflict(rows["real"], samples)
    return found | {"verdict": verdict(found)}


def verdict(found: Mapping[str, Any]) -> str:
    """Return what the figures say of a group: whether the model listens, or why that cannot be told.

    ``guesses``: not above chance. ``answerable from words``: the transcript, read by the same model, keeps 90 % of
    what is above chance, so that nobody needs to listen. Else the sound must matter: with another item's sound, or
    with silence, the score falls; where it surely does not fall by even half of what is above chance, the model
    ``does not listen``.
    """
    real, chance = found["real"], found["chance"]
    if real["low"] <= chance:
        return GUESSES
    if (found.get("transcript") or {}).get("retention", 0) >= RETAINED:
        return WORDS
    taken = [found[name] for name in ("other", "silence") if name in found]
    if not taken:
        return OPEN
    if any(each["p"] < _SURE and each["difference"][0] > 0 for each in taken):
        return LISTENS
    above = real["accuracy"] - chance
    return DEAF if all(each["difference"][2] < above / 2 for each in taken) else OPEN


def conflict(real: Mapping[str, Row], samples: Sequence[Sample]) -> dict[str, Any]:
    """Return, where voice and words say different things, how often the answer follows each, by what was asked."""
    out: dict[str, Any] = {}
    for asked, other in (("voice", "words"), ("words", "voice")):
        follows = {asked: 0, other: 0, "n": 0}
        for sample in samples:
            event = (sample.facts or {}).get("events", [{}])[0]
            if sample.task != asked or sample.id not in real or event.get("voice") == event.get("words"):
                continue
            said = str(real[sample.id].get("answer", "")).strip().lower()
            follows["n"] += 1
            for source in (asked, other):
                follows[source] += said == event[source]
        if follows["n"]:
            out[f"asked for the {asked}"] = follows
    return out


def claim_rates(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return precision (verified of checkable), coverage (checkable of all), checkable a chain, surrogates."""
    verified, refuted, open_ = (sum(c[name] for c in counts) for name in ("verified", "refuted", "uncheckable"))
    checkable = verified + refuted
    return {
        "chains": len(counts),
        "precision": verified / checkable if checkable else None,
        "coverage": checkable / (checkable + open_) if checkable + open_ else None,
        "checkable_per_chain": checkable / len(counts) if counts else None,
        "surrogates": _share([c["surrogate"] for c in counts]) if counts else None,
    }


def _without(real: Mapping[str, Row], other: Mapping[str, Row], ids: Sequence[str], chance: float) -> dict[str, Any]:
    first, second = [_right(real[i]) for i in ids], [_right(other[i]) for i in ids]
    pair = statistics.paired(first, second)
    above = pair.first - chance
    changed = [_said(real[i]) != _said(other[i]) for i in ids]
    return {
        **_accuracy(other, ids),
        "difference": list(pair.difference),
        "p": pair.p,
        "retention": (pair.second - chance) / above if above > 0 else None,
        "dependence": pair.only_first / sum(first) if sum(first) else None,
        "changed": _mean(changed),
        "harm": pair.only_first / len(ids),
        "help": pair.only_second / len(ids),
    }


def _steadiness(rows: Rows, ids: Sequence[str]) -> dict[str, Any]:
    """Return sensitivity to edits, invariance under what is harmless, and their harmonic mean."""
    moved: list[bool] = []
    kept: list[bool] = []
    found: dict[str, Any] = {}
    for name in EDITS:
        if both := _both(rows, name, ids):
            found[name] = _share(right := [_right(rows[name][i]) for i in both])
            moved += right
    for name in HARMLESS:
        if both := _both(rows, name, ids):
            same = [_said(rows["real"][i]) == _said(rows[name][i]) for i in both]
            found[name] = _share(same)
            kept += same
    if moved:
        found["sensitivity"] = _share(moved)
    if kept:
        found["invariance"] = _share(kept)
    if moved and kept:
        a, b = _mean(moved), _mean(kept)
        found["grounding"] = 2 * a * b / (a + b) if a + b else 0.0
    return found


def _chains(rows: Rows, ids: Sequence[str]) -> dict[str, Any]:
    """Return, for every chain condition, accuracy and how often the answer is that after the whole chain."""
    found: dict[str, Any] = {}
    for name in CHAINS:
        if both := _both(rows, name, ids):
            same = [_said(rows["real"][i]) == _said(rows[name][i]) for i in both]
            found[name] = {**_accuracy(rows[name], both), "same": _share(same)}
    curve = [1 - found[name]["same"]["value"] for name in EARLY if name in found]
    if len(curve) == len(EARLY):
        found["early_area"] = _mean(curve)
    return found


def _both(rows: Rows, name: str, ids: Sequence[str]) -> list[str]:
    return [i for i in ids if i in rows[name]] if name in rows else []


def _right(row: Row) -> bool:
    return row.get("robust") is True


def _said(row: Row) -> str:
    return str(row.get("answer") or row.get("output") or "").strip().lower()


def _accuracy(rows: Mapping[str, Row], ids: Sequence[str]) -> dict[str, Any]:
    right = [_right(rows[i]) for i in ids]
    interval = statistics.wilson(sum(right), len(right))
    return {"n": len(ids), "accuracy": interval.value, "low": interval.low, "high": interval.high}


def _share(values: Sequence[bool]) -> dict[str, Any]:
    interval = statistics.wilson(sum(values), len(values))
    return {"n": len(values), "value": interval.value, "low": interval.low, "high": interval.high}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
