"""What a model is measured by after each part of the recipe: whether its reasoning is about the sound, and helps."""

from __future__ import annotations

import collections
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from earwitness.data import self_cognition
from earwitness.records import Sample
from earwitness.stages.answers import Answered, AskConfig, Respondent, answered, is_right
from earwitness.stages.distill import DistillConfig, Judged, judge_replies

MODES = ("think", "direct")


def measure(
    respondent: Respondent,
    samples: Sequence[Sample],
    config: DistillConfig,
    max_new_tokens: int,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Ask samples once with a chain and once without, greedily and unelicited; write and return ``metrics.json``.

    ``judged.jsonl`` has every chain about a sound with its verdicts, ``replies-*.jsonl`` every reply.
    """
    found: dict[str, list[Answered]] = {}
    for mode in MODES:
        how = AskConfig(1, temperature=0.0, max_new_tokens=max_new_tokens, think=mode == "think")
        found[mode] = list(answered(respondent, samples, how, folder / f"replies-{mode}.jsonl"))
    asked = [pair for pair in found["think"] if pair[0].audio and not self_cognition.is_query(pair[0])]
    judged = list(judge_replies(asked, config, folder / "judgements.jsonl"))
    with open(folder / "judged.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(j.to_json(), ensure_ascii=False) + "\n" for j in judged)
    numbers = {
        "accuracy": {mode: accuracies(found[mode]) for mode in MODES},
        "chains": chain_numbers(judged),
        "claims": claim_numbers(judged),
        "self_cognition": {mode: hearing_numbers(found[mode]) for mode in MODES},
    }
    partial = folder / "metrics.partial"
    partial.write_text(json.dumps(numbers, indent=2) + "\n")
    os.replace(partial, folder / "metrics.json")
    return numbers


def accuracies(found: Iterable[Answered]) -> dict[str, Any]:
    """Return right answers and questions with a key by domain, and ``average``, unweighted over domains with sound."""
    right: collections.Counter[str] = collections.Counter()
    asked: collections.Counter[str] = collections.Counter()
    with_sound = set()
    for sample, replies in found:
        if replies and sample.answer is not None and sample.answer_type != "open":
            asked[sample.domain] += 1
            right[sample.domain] += is_right(sample, replies[0])
            with_sound |= {sample.domain} if sample.audio else set()
    out: dict[str, Any] = {name: {"right": right[name], "of": asked[name]} for name in sorted(asked)}
    out["average"] = _mean(right[name] / asked[name] for name in with_sound)
    return out


def chain_numbers(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return shares of the chains about sounds, and their mean length."""
    named: dict[str, list[Any]] = {
        "grounded": [j.grounded is True for j in judged],
        "surrogate": [j.surrogate for j in judged],
        "mentions": [j.mentions for j in judged],
        "coherent": [j.coherent is True for j in judged],
        "empty": [j.reply.status == "empty_thinking" for j in judged],
        "unfinished": [not j.complete and j.reply.status != "empty_thinking" for j in judged],
        "thinking_tokens": [j.reply.thinking_tokens for j in judged],
        "answer_tokens": [j.reply.answer_tokens for j in judged],
    }
    return {"count": len(judged), **{name: _mean(values) for name, values in named.items()}}


def claim_numbers(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return outcomes of all claims, precision (verified of checkable), coverage (checkable of all), checkable a chain.

    A ratio without anything below is None.
    """
    names = ("verified", "refuted", "uncheckable")
    counts = {name: sum(int(j.claims.get(name) or 0) for j in judged) for name in names}
    checkable, chains = counts["verified"] + counts["refuted"], sum(j.complete for j in judged)
    return {
        **counts,
        "precision": counts["verified"] / checkable if checkable else None,
        "coverage": checkable / sum(counts.values()) if sum(counts.values()) else None,
        "checkable_per_chain": checkable / chains if chains else None,
    }


def hearing_numbers(found: Iterable[Answered]) -> dict[str, Any]:
    """Return errors of self-cognition where there is sound and where there is none, of so many queries."""
    out = {"sound": {"errors": 0, "of": 0}, "nothing": {"errors": 0, "of": 0}}
    for sample, replies in found:
        if replies and self_cognition.is_query(sample):
            here = out["sound" if sample.extra["condition"] == "sound" else "nothing"]
            here["of"] += 1
            here["errors"] += self_cognition.errs(sample, replies[0]) or not is_right(sample, replies[0])
    return out


def _mean(values: Iterable[Any]) -> float | None:
    kept = list(values)
    return sum(kept) / len(kept) if kept else None
