"""Self-distillation (report, eq. 4): chains of the model about sounds, and the filters that they must pass.

Every question is asked K times with a prompt that elicits listening and is removed before training. A chain is kept
if it is about the sound and what measurements check of it holds (grounding), hangs together (coherence), ends in the
right answer where there is a key (correctness), and knows that the model hears (self-cognition). ``variant`` leaves
filters out, for the ablation.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from earwitness.acoustics import Measurements
from earwitness.data import self_cognition
from earwitness.data.cache import UnusableAudio
from earwitness.data.cold_start import bare
from earwitness.grounding import Case, Judge, Judgement, LLMJudge, RuleJudge, detect
from earwitness.records import Reply, Sample
from earwitness.stages.answers import Answered, AskConfig, is_right, write_manifest
from earwitness.stages.curate import waveform

VARIANTS = {
    "random": ("complete",),
    "correct": ("complete", "correct"),
    "mentions": ("complete", "mentions", "coherent", "correct", "aware"),
    "verified": ("complete", "grounded", "coherent", "correct", "aware"),
}
"""Filters of each variant, in their order; ``mentions`` is the report's, ``verified`` ours."""
_MOST_UNJUDGED = 0.05
PROMPT = (
    "Listen to the recording before you answer. Reason step by step from what you hear - pitch, loudness, rhythm, "
    "timbre, the order of events - and not from what the words say."
)


@dataclass(frozen=True)
class DistillConfig:
    """How chains are sampled and filtered. The report gives neither K nor the prompt."""

    samples: int = 8
    """K of eq. 4."""
    temperature: float = 1.0
    max_new_tokens: int = 320
    prompt: str = PROMPT
    """Put before the question; never trained on."""
    opening: str = ""
    """Words that begin every chain, for a model too small to follow a prompt."""
    variant: str = "verified"
    judge: str = ""
    """An OpenAI-compatible endpoint; empty judges by rules and measurements."""
    least_verified: int = 1
    """Claims of a chain that measurements bear out."""
    only_refuted: tuple[str, ...] = ("sound",)
    """Domains of which measurements refute claims and can hardly verify one; there nothing refuted is enough."""
    per_question: int = 1
    """Chains learned of one question."""
    most: int = 0
    """Chains of a round, so that variants can be matched; 0 for no limit."""

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"distill: variant {self.variant!r} is none of {', '.join(VARIANTS)}")

    @property
    def ask(self) -> AskConfig:
        """How the questions are asked."""
        return AskConfig(self.samples, self.temperature, self.max_new_tokens, True, self.prompt, self.opening)


@dataclass(frozen=True)
class Judged:
    """A reply and what the filters say of it; None where one could not be judged, or there is no key."""

    sample: Sample
    reply: Reply
    complete: bool
    mentions: bool = False
    grounded: bool | None = None
    coherent: bool | None = None
    correct: bool | None = None
    aware: bool = True
    """It is right about what the model can hear."""
    surrogate: bool = False
    reasons: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)

    def passes(self, name: str) -> bool:
        """Return whether a filter lets it through; what could not be judged does not pass."""
        value = getattr(self, name)
        return value is True or (name == "correct" and value is None)

    def to_json(self) -> dict[str, Any]:
        """Return what a person reads of it."""
        said = {"thinking": self.reply.thinking, "answer": self.reply.answer, "status": self.reply.status}
        names = ("complete", "mentions", "grounded", "coherent", "correct", "aware", "surrogate")
        found = {name: getattr(self, name) for name in names}
        asked = {"id": self.sample.id, "question": self.sample.question, "key": self.sample.answer}
        return {**asked, **said, **found, "reasons": list(self.reasons), "claims": dict(self.claims)}


def judge_replies(found: Iterable[Answered], config: DistillConfig, kept: pathlib.Path) -> Iterator[Judged]:
    """Yield the judgement of every reply, in order; ``kept`` holds an endpoint's judgements."""
    judge: Judge = LLMJudge(config.judge, keep=kept) if config.judge else RuleJudge(least_verified=0)
    pairs = [(sample, reply) for sample, replies in found for reply in replies]
    whole = [(sample, reply) for sample, reply in pairs if reply.status == "complete"]
    judgements = judge.judge(_cases(whole, shared=not config.judge))
    for sample, reply in pairs:
        if reply.status != "complete":
            yield Judged(sample, reply, complete=False, reasons=(reply.status.replace("_", " "),))
        else:
            yield _judged(sample, reply, next(judgements), config)


def _cases(pairs: Sequence[tuple[Sample, Reply]], shared: bool) -> Iterator[Case]:
    """Yield cases; measurements are made once for the replies to a question where they may be shared."""
    last: tuple[str, Measurements | None] = ("", None)
    for number, (sample, reply) in enumerate(pairs):
        if not shared or last[0] != sample.id:
            last = (sample.id, _measured(sample))
        is_query = self_cognition.is_query(sample)
        yield Case(
            f"{sample.id}#{number}", reply.thinking, reply.answer, sample.question, sample.answer,
            _key_met(sample, reply), last[1], about_words=is_query,
        )  # fmt: skip


def _measured(sample: Sample) -> Measurements | None:
    """Return what can be measured of a sample's clip; None for several clips, which claims cannot be told apart by."""
    if len(sample.audio) != 1:
        return None
    try:
        return Measurements(waveform(sample.audio[0], sample))
    except (UnusableAudio, ValueError):
        return None


def _key_met(sample: Sample, reply: Reply) -> bool | None:
    return None if sample.answer is None or sample.answer_type == "open" else is_right(sample, reply)


def _judged(sample: Sample, reply: Reply, judgement: Judgement, config: DistillConfig) -> Judged:
    report = detect(reply.thinking)
    errs, is_query = self_cognition.errs(sample, reply), self_cognition.is_query(sample)
    needed = 0 if is_query or sample.domain in config.only_refuted else config.least_verified
    grounded, reasons = judgement.grounded, list(judgement.reasons)
    mentions = report.count("acoustic") > 0 and not report.is_surrogate
    if grounded and not mentions and not is_query:
        grounded = False
        reasons.append("it mentions nothing of the sound")
    elif grounded and judgement.counts and judgement.counts["verified"] < needed:
        grounded = False
        reasons.append(f"{judgement.counts['verified']} claims are verified, {needed} needed")
    if errs:
        reasons.append("it is wrong about what it can hear")
    return Judged(
        sample=sample,
        reply=reply,
        complete=True,
        mentions=mentions,
        grounded=grounded,
        coherent=judgement.coherent,
        correct=_key_met(sample, reply),
        aware=not errs,
        surrogate=report.is_surrogate,
        reasons=tuple(reasons),
        claims=judgement.counts,
    )


def distill(found: Iterable[Answered], config: DistillConfig, folder: pathlib.Path, seed: int) -> dict[str, Any]:
    """Write ``judged.jsonl``, every reply with its verdicts, and ``chains.jsonl``, what is learned; return the counts.

    Raises:
        ValueError: nothing is left to learn.
        OSError: the endpoint left too much unjudged; what it judged is kept for the next start.
    """
    judged = list(judge_replies(found, config, folder / "judgements.jsonl"))
    partial = folder / "judged.partial"
    with open(partial, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(j.to_json(), ensure_ascii=False) + "\n" for j in judged)
    os.replace(partial, folder / "judged.jsonl")
    whole = [j for j in judged if j.complete]
    missing = sum(j.grounded is None or j.coherent is None for j in whole)
    if config.judge and missing > _MOST_UNJUDGED * len(whole):
        raise OSError(f"{config.judge} did not judge {missing} of {len(whole)} chains; start again when it answers")
    passed, counts = sieve(judged, config.variant)
    chains = choose(passed, config.per_question, config.most, seed)
    if not chains:
        raise ValueError(
            f"none of {len(judged)} chains passed the filters; read {folder / 'judged.jsonl'} and change "
            "distill.prompt, distill.variant or cold.seeds"
        )
    counts["chains"] = write_manifest(folder / "chains.jsonl", map(_learned, chains, range(len(chains))))
    counts["questions"] = len({j.sample.id for j in chains})
    return counts


def sieve(judged: Sequence[Judged], variant: str) -> tuple[list[Judged], dict[str, Any]]:
    """Return what passes the filters of a variant, and how many each of them removed, in their order."""
    counts: dict[str, Any] = {"sampled": len(judged)}
    for name in VARIANTS[variant]:
        passed = [j for j in judged if j.passes(name)]
        counts[f"not {name}"] = len(judged) - len(passed)
        counts["unjudged"] = counts.get("unjudged", 0) + sum(
            getattr(j, name) is None and not j.passes(name) for j in judged
        )
        judged = passed
    return list(judged), {**counts, "passed": len(judged)}


def choose(passed: Sequence[Judged], per_question: int, most: int, seed: int) -> list[Judged]:
    """Return at most so many different chains of each question and in all, drawn at random, in their order."""
    order = np.random.default_rng(seed).permutation(len(passed))
    taken: collections.Counter[str] = collections.Counter()
    seen: set[tuple[str, str]] = set()
    kept = []
    for i in order.tolist():
        name, chain = passed[i].sample.id, passed[i].reply.thinking
        if taken[name] < per_question and (name, chain) not in seen:
            taken[name] += 1
            seen.add((name, chain))
            kept.append(i)
    return [passed[i] for i in sorted(kept[: most or None])]


def _learned(judged: Judged, number: int) -> Sample:
    """Return the training sample of a chain: the plain question, without what elicited it."""
    sample, reply = judged.sample, judged.reply
    extra = {"key": sample.answer, "claims": dict(judged.claims)}
    plain = dataclasses.replace(bare(sample), id=f"{sample.id}-{number}", acceptable=(), extra=extra)
    return dataclasses.replace(plain, reasoning=reply.thinking, answer=reply.answer)
