"""A sample -> the token sequences that are learned from: with reasoning, with the empty chain, a description, a turn.

Loss falls on the last reply alone. Earlier assistant turns of a conversation are context: a prompt drops their
reasoning, and learning them would teach answers whose chains are not there. ``learn_earlier`` learns their answers all
the same, without a chain before them. A reply without reasoning follows the prefilled empty chain, as in the report's
section 3.1.
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

States = Sequence[Sequence[Any]]
"""Encoder states (E, D) of every chunk of at most 25 s, for every clip: arrays, or ``cache.Stored``."""


class Example(NamedTuple):
    """A whole conversation as ids, which of them are learned, and the sound in it."""

    name: str
    """The id of its sample."""
    ids: np.ndarray
    """(T,) int32."""
    learned: np.ndarray
    """(T,) bool: tokens with a loss; never the first."""
    states: tuple[Any, ...] = ()
    """Encoder states (E, D) of every chunk, in the order of the placeholders."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.ids)


class _Reply(NamedTuple):
    reasoning: str | None
    answer: str
    calls: tuple[dict[str, Any], ...] = ()
    """Tools that the reply calls, after its answer."""


def fits(sample: Sample, kind: str) -> bool:
    """Return whether a sample can give a dialogue of a kind."""
    is_said = _ends_with_reply(sample)
    is_answered = is_said or sample.answer is not None
    return {
        "think": is_answered and bool(sample.reasoning or (is_said and _said(sample).reasoning)),
        "direct": is_answered,
        "caption": "caption" in sample.extra,
        "transcribe": sample.transcript is not None,
        "as_is": bool(sample.messages) or sample.answer is not None,
    }[kind]


def clips(sample: Sample) -> list[Any]:
    """Return the clips of a sample in the order in which they are heard.

    Raises:
        ValueError: a conversation without sound beside clips that nothing in it points to.
    """
    found = prompt.clips(prompt.sample_messages(sample))
    if sample.audio and not found:
        raise ValueError(f"sample {sample.id} has audio that its messages do not hold; put it into their content")
    return found


def dialogue(sample: Sample, kind: str, with_choices: bool = True) -> tuple[list[dict[str, Any]], str | None, str]:
    """Return (messages that ask, reasoning or None, answer) of one kind of training dialogue.

    Raises:
        ValueError: the sample lacks what this kind needs.
    """
    messages, reply = _dialogue(sample, kind, with_choices)
    return messages, reply.reasoning, reply.answer


def example(
    tokenizer: Any,
    sample: Sample,
    kind: str,
    states: States = (),
    with_choices: bool = True,
    learn_earlier: bool = False,
) -> Example:
    """Return one training dialogue.

    Args:
        tokenizer: of the model.
        sample: a question, or a conversation.
        kind: one of ``KINDS``.
        states: has an entry for each clip of the sample.
        with_choices: whether the question lists its choices.
        learn_earlier: also learn the answers of earlier assistant turns; their reasoning is not in the prompt.

    Raises:
        ValueError: the sample lacks what the kind needs, or ``states`` do not fit its clips; the sample is named.
    """
    messages, reply = _dialogue(sample, kind, with_choices)
    made = _example(tokenizer, sample, messages, reply, states)
    if learn_earlier:
        for turn in _earlier_answers(tokenizer, sample, messages, states, made.ids):
            made.learned[turn] = True
    return made


def preference(tokenizer: Any, sample: Sample, states: States = ()) -> tuple[Example, Example]:
    """Return the (chosen, rejected) dialogues of a sample, with one prompt, for DPO.

    Each reply may hold a chain in ``<think>`` tags; the prompt opens a chain if one of the two has one.

    Raises:
        ValueError: the sample lacks one of the two, or what is chosen is no whole reply.
    """
    if sample.chosen is None or sample.rejected is None:
        raise ValueError(f"sample {sample.id} lacks 'chosen' or 'rejected'; a preference needs both")
    good, bad = _parsed(sample.chosen), _parsed(sample.rejected)
    if not good.answer and not good.calls:
        raise ValueError(f"sample {sample.id}: what is chosen ends without an answer; give it one")
    think = good.reasoning is not None or bad.reasoning is not None
    messages = _asked(sample)
    chosen, rejected = (_example(tokenizer, sample, messages, reply, states, think) for reply in (good, bad))
    return chosen, rejected


def question(tokenizer: Any, sample: Sample, states: States = (), think: bool = True) -> list[int]:
    """Return the ids of the prompt that asks a sample; a reply at the end of its conversation is left out."""
    return _prompt(tokenizer, sample, _asked(sample), states, think)


def _dialogue(sample: Sample, kind: str, with_choices: bool) -> tuple[list[dict[str, Any]], _Reply]:
    if kind not in KINDS:
        raise ValueError(f"dialogue kind {kind!r} is unknown; choose from {', '.join(KINDS)}")
    if not fits(sample, kind):
        raise ValueError(f"sample {sample.id} has nothing to {kind.replace('_', ' ')}; give it what that needs")
    if kind in ("caption", "transcribe"):
        answer = sample.extra["caption"] if kind == "caption" else str(sample.transcript)
        return [prompt.user_message(prompt.TASKS[kind], clips(sample))], _Reply(None, answer)
    messages = _asked(sample if with_choices else dataclasses.replace(sample, choices=()))
    if _ends_with_reply(sample):
        reply = _said(sample)
    elif sample.answer is not None:
        reply = _Reply(sample.reasoning or None, sample.answer)
    else:
        raise ValueError(f"sample {sample.id} ends with a question and has no answer; give it one")
    return messages, reply._replace(reasoning=None) if kind == "direct" else reply


def _ends_with_reply(sample: Sample) -> bool:
    return bool(sample.messages) and sample.messages[-1].get("role") == "assistant"


def _asked(sample: Sample) -> list[dict[str, Any]]:
    messages = prompt.sample_messages(sample)
    return messages[:-1] if _ends_with_reply(sample) else messages


def _said(sample: Sample) -> _Reply:
    """Return the reply that ends a conversation; its chain is in it, or in the sample's ``reasoning``."""
    message = sample.messages[-1]
    if prompt.count_clips([message]):
        raise ValueError(f"sample {sample.id}: its last turn holds audio, and only text is learned; take it out")
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in content)
    reply = _parsed(content)
    calls = tuple(message.get("tool_calls") or reply.calls)
    if not reply.answer and not calls:
        raise ValueError(f"sample {sample.id}: its last turn ends without an answer; give it one")
    return _Reply(reply.reasoning or sample.reasoning or None, reply.answer, calls)


def _parsed(text: str) -> _Reply:
    reply = prompt.parse(text, think=None)
    return _Reply(reply.thinking or None, reply.answer, reply.tool_calls)


def _prompt(tokenizer: Any, sample: Sample, messages: list[Any], states: States, think: bool | None) -> list[int]:
    counts = [[audio_tokens(len(chunk)) for chunk in clip] for clip in states]
    try:
        return prompt.encode(tokenizer, prompt.segments(messages, think, sample.tools or None, audio_counts=counts))
    except ValueError as error:
        raise ValueError(f"sample {sample.id}: {error}") from error


def _example(
    tokenizer: Any,
    sample: Sample,
    messages: list[dict[str, Any]],
    reply: _Reply,
    states: States,
    think: bool | None = None,
) -> Example:
    think = reply.reasoning is not None if think is None else think
    asked = _prompt(tokenizer, sample, messages, states, think)
    *said, end = prompt.completion(reply.answer, reply.reasoning)
    if think and reply.reasoning is None:  # a chain that was opened and holds nothing
        said = [prompt.Segment(prompt.CLOSE_CHAIN, True), *said]
    answered = prompt.encode(tokenizer, [*said, *_call_segments(reply.calls), end])
    learned = np.zeros(len(asked) + len(answered), dtype=bool)
    learned[len(asked) :] = True
    chunks = tuple(chunk for clip in states for chunk in clip)
    return Example(sample.id, np.array(asked + answered, dtype=np.int32), learned, chunks)


def _call_segments(calls: Sequence[dict[str, Any]]) -> list[prompt.Segment]:
    """Return calls as an open turn of the assistant has them."""
    if not calls:
        return []
    turn = {"role": "assistant", "content": "", "tool_calls": list(calls)}
    first, *rest = prompt.segments([turn], continue_final=True)
    return [first._replace(text=first.text.removeprefix(f"{prompt.BOT}assistant\n")), *rest]


def _earlier_answers(
    tokenizer: Any, sample: Sample, messages: list[Any], states: States, ids: np.ndarray
) -> list[slice]:
    """Return where the answers of earlier assistant turns stand in the ids, each with its end of turn."""
    opening = len(prompt.encode(tokenizer, [prompt.Segment(f"{prompt.BOT}assistant\n", True)]))

    def before(count: int) -> list[int]:  # the ids of the first turns and of an assistant's turn that opens
        heard = states[: prompt.count_clips(messages[:count])]
        return _prompt(tokenizer, sample, messages[:count], heard, None)

    spans = []
    for number, message in enumerate(messages):
        if message.get("role") == "assistant":
            start, whole = before(number), before(number + 1)[:-opening]
            if start != ids[: len(start)].tolist() or whole != ids[: len(whole)].tolist():
                raise ValueError(f"sample {sample.id}: turn {number + 1} begins with white space; take it away")
            spans.append(slice(len(start), len(whole)))
    return spans
