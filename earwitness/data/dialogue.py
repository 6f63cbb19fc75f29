"""A sample -> the token sequences that SFT learns from: with reasoning, with the empty chain, or a description.

Loss falls on the reply alone. A reply without reasoning follows the prefilled empty chain, as in the report's
section 3.1.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from earwitness import prompt
from earwitness.records import Sample

KINDS = ("think", "direct", "caption", "transcribe")


class Sequence(NamedTuple):
    """Ids of a whole conversation and the position where the reply, and with it the loss, begins."""

    ids: np.ndarray
    """(T,) int32."""
    reply_start: int


def dialogue(sample: Sample, kind: str, with_choices: bool) -> tuple[list[dict[str, Any]], str | None, str]:
    """Return (messages, reasoning or None, answer) of one kind of training dialogue.

    Raises:
        ValueError: the sample lacks what this kind needs.
    """
    if kind in ("caption", "transcribe"):
        answer = sample.extra.get("caption") if kind == "caption" else sample.transcript
        if answer is None:
            raise ValueError(f"sample {sample.id} has nothing to {kind}")
        return [prompt.user_message(prompt.TASKS[kind], sample.audio)], None, answer
    if kind == "think" and not sample.reasoning:
        raise ValueError(f"sample {sample.id} has no reasoning; use kind 'direct'")
    if sample.answer is None:
        raise ValueError(f"sample {sample.id} has no answer")
    asked = sample if with_choices else dataclasses.replace(sample, choices=())
    return prompt.sample_messages(asked), sample.reasoning if kind == "think" else None, sample.answer


def sequence(tokenizer: Any, sample: Sample, kind: str, audio_counts: list[list[int]], with_choices: bool) -> Sequence:
    """Return the ids of one training dialogue; ``audio_counts`` are the audio tokens of each clip's chunks."""
    messages, reasoning, answer = dialogue(sample, kind, with_choices)
    asked = prompt.segments(messages, think=reasoning is not None, audio_counts=audio_counts)
    question = prompt.encode(tokenizer, asked)
    reply = prompt.encode(tokenizer, prompt.completion(answer, reasoning))
    return Sequence(np.array(question + reply, dtype=np.int32), len(question))
