"""The rewards of the report: text (eq. 6), audio (eq. 7), and the format that eq. 7 asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from earwitness.records import Reply, Sample
from earwitness.rewards.choices import verify_choice, verify_yes_no
from earwitness.rewards.code import CodeLimits, verify_code
from earwitness.rewards.expressions import verify_expression
from earwitness.rewards.numbers import verify_number
from earwitness.rewards.texts import verify_text
from earwitness.rewards.verdict import Verdict

ACCURACY_WEIGHT, FORMAT_WEIGHT = 0.8, 0.2  # report, eq. 7
MIN_REASONING_WORDS = 8  # ours: the report says only "reasoning present"
SCORED = ("complete", "empty_thinking")
"""Statuses of replies that can be right. A loop, a cut reply, a call or none at all earns nothing."""

_CLOSING = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
# A run of letters, or one character of a script that is written without spaces (Han, kana).
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+(?:'\w+)?"
)

_VERIFIERS: dict[str, Callable[[Sample, str], Verdict]] = {
    "choice": verify_choice,
    "number": verify_number,
    "expression": verify_expression,
    "yes_no": verify_yes_no,
    "text": verify_text,
}


@dataclass(frozen=True)
class Reward:
    """A reward and its parts, each in 0..1."""

    total: float
    accuracy: float
    format: float
    """Of a text question it is reported, and does not count."""
    verdict: Verdict


def verify(sample: Sample, answer: str, limits: CodeLimits | None = None) -> Verdict:
    """Whether an answer is right, decided by the verifier of ``sample.answer_type``; never guesses.

    The verifiers (``verify_choice``, ``verify_number``, ``verify_expression``, ``verify_yes_no``, ``verify_text``,
    ``verify_code``) say what counts. ``open`` answers cannot be verified: they are wrong with rule ``open``, and the
    caller asks a judge.

    Args:
        sample: the question with its key.
        answer: what follows the chain; a whole reply with its ``</think>`` is cut there.
        limits: for code.

    Raises:
        ValueError: the sample cannot be verified as it is (no key, a key that is none of the choices), naming it.
    """
    if sample.answer_type == "open":
        return Verdict(False, "open", answer.strip())
    if sample.answer_type == "code":
        return verify_code(sample, answer, limits)
    return _VERIFIERS[sample.answer_type](sample, answer)


def text_reward(reply: Reply, sample: Sample, verdict: Verdict | None = None) -> Reward:
    """Return the reward of a text question, eq. 6: 1 if the answer is right, else 0.

    A truncated, degenerate, foreign or cancelled reply, a tool call and an empty answer get 0 unread. A reply without
    reasoning can be right.

    Args:
        reply: as ``prompt.parse`` returns it.
        sample: the question with its key.
        verdict: a judge's, in place of ``verify``; needed for open answers.
    """
    verdict = _judged(reply, sample, verdict)
    accuracy = float(verdict.right)
    return Reward(accuracy, accuracy, format_reward(reply), verdict)


def audio_reward(
    reply: Reply,
    sample: Sample,
    verdict: Verdict | None = None,
    accuracy_weight: float = ACCURACY_WEIGHT,
    format_weight: float = FORMAT_WEIGHT,
) -> Reward:
    """Return the reward of an audio question, eq. 7: 0.8 accuracy + 0.2 format, so 0, 0.2, 0.8 or 1.

    Accuracy is that of ``text_reward``; format is ``format_reward``. The weights are those of the report; a weight of 0
    takes a part away (the report's fig. 4), and the part is still reported.
    """
    verdict = _judged(reply, sample, verdict)
    accuracy, form = float(verdict.right), format_reward(reply)
    return Reward(accuracy_weight * accuracy + format_weight * form, accuracy, form, verdict)


def format_reward(reply: Reply) -> float:
    """Return 1 if the reply reasons in the format, else 0.

    The format: exactly one closing tag, at least eight different words before it, and something other than space after
    it. Words are runs of letters, case ignored, or single Han and kana characters; numbers and signs are none. A
    truncated or degenerate reply is not in the format, nor is a tool call.
    """
    words = {word.group().casefold() for word in _WORD.finditer(reply.thinking)}
    one_closing_tag = not _CLOSING.search(reply.thinking + "\n" + reply.answer)  # ``parse`` took away the last one
    present = reply.status in SCORED and one_closing_tag and len(words) >= MIN_REASONING_WORDS
    return float(present and bool(reply.answer.strip()))


def _judged(reply: Reply, sample: Sample, verdict: Verdict | None) -> Verdict:
    if reply.status not in SCORED or not reply.answer.strip():
        return Verdict(False, reply.status if reply.status not in SCORED else "no_answer", reply.answer)
    return verify(sample, reply.answer) if verdict is None else verdict
