r"""Rewards (eq. 6 and 7) and the answer verifiers behind them, which evaluation uses too. Pure functions, no torch.

``verify(sample, answer)`` looks for the answer in this order and never guesses: after the last ``</think>``; in
``<answer>``; in ``\boxed{}``; after the last "answer is"; then in the whole text. ``Verdict.rule`` says which
rule fired.
"""

from earwitness.rewards.choices import verify_choice, verify_yes_no
from earwitness.rewards.code import CodeLimits, verify_code
from earwitness.rewards.expressions import same_expression, verify_expression
from earwitness.rewards.numbers import verify_number
from earwitness.rewards.scores import (
    ACCURACY_WEIGHT,
    FORMAT_WEIGHT,
    MIN_REASONING_WORDS,
    Reward,
    audio_reward,
    format_reward,
    text_reward,
    verify,
)
from earwitness.rewards.texts import normalised, verify_text
from earwitness.rewards.verdict import Verdict

__all__ = [
    "ACCURACY_WEIGHT",
    "FORMAT_WEIGHT",
    "MIN_REASONING_WORDS",
    "CodeLimits",
    "Reward",
    "Verdict",
    "audio_reward",
    "format_reward",
    "normalised",
    "same_expression",
    "text_reward",
    "verify",
    "verify_choice",
    "verify_code",
    "verify_expression",
    "verify_number",
    "verify_text",
    "verify_yes_no",
]
