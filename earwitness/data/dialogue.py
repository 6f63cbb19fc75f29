"""A sample -> the token sequences that are learned from: with reasoning, with the empty chain, a description, a turn.

Loss falls on the last reply alone. Earlier assistant turns of a conversation are context: a prompt drops their
reasoning, and learning them would teach answers whose chains are not there. A reply without reasoning follows the
prefilled empty chain, as in the report's section 3.1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from earwitness import prompt
from earwitness.model.adaptor import audio_tokens
from earwitness.records import Sample

KINDS = ("think", "direct", "caption", "transcribe", "as_is")
"""``as_is`` is what the sample itself says: its conversation, or its question with the reasoning that it has."""

States = Sequence[Sequence[np.ndarray]]
"""Encoder states (E, D) of every chunk of at most 25 s, for every clip."""


class Example(NamedTuple):
    """A whole conversation as ids, which of them are learned, and the sound in it."""

    name: str
    """The id of its sample."""
    ids: np.ndarray
    """(T,) int32."""
    learned: np.ndarray
    """(T,) bool: tokens with a loss; never the first."""
    states: tuple[np.ndarray, ...] = ()
    """Encoder states (E, D) of every chunk, in the order of the placeholders."""


def fits(sample: Sample, kind: str) -> bool:
    """Return whether a sample can give a dialogue of a kind."""
    return {
        "think": bool(sample.reasoning) and sample.answer is not None,
        "direct": sample.answer is not None,
        "caption": "caption" in sample.extra,
        "transcribe": sample.transcript is not None,
        "as_is": bool(sample.messages) or sample.answer is not None,
    }[kind]


def clips(sample: Sample) -> list[Any]:
    """Return the clips of a sample in the order in which they are heard."""
    return prompt.clips(prompt.sample_messages(sample))


def dialogue(sample: Sample, kind: str, with_choices: bool = True) -> tuple[list[dict[str, Any]], str | None, str]:
    """Return (messages that ask, reasoning or None, answer) of one kind of training dialogue.

    Raises:
        ValueError: the sample lacks what this kind needs.
    """
    if kind not in KINDS:
        raise ValueError(f"dialogue kind {kind!r} is unknown; choose from {', '.join(KINDS)}")
    if not fits(sample, kind):
        raise ValueError(f"sample {sample.id} has nothing to {kind.replace('_', ' ')}; give it what that needs")
    if kind in ("caption", "transcribe"):
        answer = sample.extra["caption"] if kind == "caption" else str(sample.transcript)
        return [prompt.user_message(prompt.TASKS[kind], sample.audio)], None, answer
    asked = sample if with_choices else dataclasses.replace(sample, choices=())
    messages = prompt.sample_messages(asked)
    if messages[-1]["role"] == "assistant":
        said = prompt.parse(str(messages.pop()["content"]), think=None)
        return messages, said.thinking or None, said.answer
    if sample.answer is None:
        raise ValueError(f"sample {sample.id} ends with a question and has no answer; give it one")
    is_thought = kind == "think" or (kind == "as_is" and bool(sample.reasoning))
    return messages, sample.reasoning if is_thought else None, sample.answer


def example(tokenizer: Any, sample: Sample, kind: str, states: States = (), with_choices: bool = True) -> Example:
    """Return one training dialogue; ``states`` has an entry for each of its clips."""
    messages, reasoning, answer = dialogue(sample, kind, with_choices)
    return _example(tokenizer, sample.id, messages, reasoning, answer, states)


def preference(tokenizer: Any, sample: Sample, states: States = ()) -> tuple[Example, Example]:
    """Return the (chosen, rejected) dialogues of a sample, with one prompt, for DPO.

    Each reply may hold a chain in ``<think>`` tags; the prompt opens a chain if one of the two has one.

    Raises:
        ValueError: the sample lacks one of the two.
    """
    if sample.chosen is None or sample.rejected is None:
        raise ValueError(f"sample {sample.id} lacks 'chosen' or 'rejected'; a preference needs both")
    replies = [prompt.parse(text, think=None) for text in (sample.chosen, sample.rejected)]
    think = any(reply.thinking for reply in replies)
    messages = prompt.sample_messages(sample)
    chosen, rejected = (
        _example(tokenizer, sample.id, messages, reply.thinking or None, reply.answer, states, think)
        for reply in replies
    )
    return chosen, rejected


def question(tokenizer: Any, sample: Sample, states: States = (), think: bool = True) -> list[int]:
    """Return the ids of the prompt that asks a sample."""
    counts = [[audio_tokens(len(chunk)) for chunk in clip] for clip in states]
    return prompt.encode(tokenizer, prompt.segments(prompt.sample_messages(sample), think, audio_counts=counts))


def _example(
    tokenizer: Any,
    name: str,
    messages: list[dict[str, Any]],
    reasoning: str | None,
    answer: str,
    states: States,
    think: bool | None = None,
) -> Example:
    counts = [[audio_tokens(len(chunk)) for chunk in clip] for clip in states]
    think = reasoning is not None if think is None else think
    asked = prompt.encode(tokenizer, prompt.segments(messages, think, audio_counts=counts))
    reply = prompt.completion(answer, reasoning)
    if think and reasoning is None:  # a chain that was opened and holds nothing
        reply = [prompt.Segment(prompt.CLOSE_CHAIN, True), *reply]
    said = prompt.encode(tokenizer, reply)
    learned = np.zeros(len(asked) + len(said), dtype=bool)
    learned[len(asked) :] = True
    chunks = tuple(chunk for clip in states for chunk in clip)
    return Example(name, np.array(asked + said, dtype=np.int32), learned, chunks)
