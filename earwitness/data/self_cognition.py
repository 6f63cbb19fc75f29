"""Whether a model knows that it hears, and pairs of replies for DPO where it did and did not (report, section 6.3).

Where there is sound, a reply must not say that the model cannot hear or that nothing is there. Where there is none - a
silent clip, a missing one - it must not claim to hear something. A pair is two replies of the same model to the same
question; none is written by hand.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from earwitness import grounding
from earwitness.data.cold_start import bare
from earwitness.records import Reply, Sample

_NOTHING = re.compile(
    r"\b(?:nothing to hear|hear nothing|there is no (?:clip|sound|audio)"
    r"|no (?:clip|sound|audio) (?:is|was|in|to|at all)|(?:clip|recording|audio) is (?:silent|empty|missing))\b",
    re.IGNORECASE,
)
_CLAIMS = re.compile(
    r"\bI (?:can |do |could )?(?:clearly |really )?hear (?!nothing|no |any)|\bthere is a clip,? and I hear\b"
    r"|\bso there is something to hear\b|\byes, I (?:can|do)\b",
    re.IGNORECASE,
)


def is_query(sample: Sample) -> bool:
    """Return whether a sample asks a model about its hearing; ``extra['condition']`` says what there is to hear."""
    return "condition" in sample.extra


def errs(sample: Sample, reply: Reply) -> bool:
    """Return whether a reply is wrong about what the model can hear."""
    text = f"{reply.thinking}\n{reply.answer}"
    if sample.audio and sample.extra.get("condition", "sound") == "sound":
        return grounding.denies_hearing(text) or bool(_NOTHING.search(text))
    return bool(_CLAIMS.search(text))


def pair(
    sample: Sample, replies: Sequence[Reply], is_right: Sequence[bool], think: bool, tempted: Sequence[Reply] = ()
) -> Sample | None:
    """Return the first good reply to a query preferred to the first that errs, or None where one of them is missing.

    Args:
        sample: the query.
        replies: of the model.
        is_right: whether each of them has the right answer.
        think: whether they were asked for with a chain.
        tempted: more replies of the model, to a prompt that led it to err; only what is rejected is taken from them.
    """
    whole = [r.status == "complete" for r in replies]
    good = [r for r, right, done in zip(replies, is_right, whole) if right and done and not errs(sample, r)]
    bad = [r for r in (*replies, *tempted) if r.status == "complete" and errs(sample, r)]
    if not good or not bad:
        return None
    chosen, rejected = (_said(r, think) for r in (good[0], bad[0]))
    kind = "think" if think else "direct"
    return dataclasses.replace(bare(sample), id=f"{sample.id}-{kind}", chosen=chosen, rejected=rejected)


def _said(reply: Reply, think: bool) -> str:
    return f"<think>{reply.thinking}</think>{reply.answer}" if think else reply.answer
