"""Losses and advantages of SFT, PPO and DPO as pure tensor functions; numbers of equations are the report's.

Letters: B rows, T tokens, N selected tokens or pairs, H width, V vocabulary. A mask (B, T) is bool or 0/1 and marks
the tokens that count; what stands elsewhere is ignored, even NaN. Position t of every (B, T) tensor belongs to the
token that is predicted there, so callers shift once, when they make the targets.

Nothing here knows of ranks or models. Losses are sums, and counts are given beside them: in a distributed run the
divisor is the count over all ranks and micro-batches, never a local one.
"""

from earwitness.losses.head import TokenScores, token_log_probs
from earwitness.losses.likelihood import DpoLoss, SftLoss, dpo_loss, sequence_log_probs, sft_loss
from earwitness.losses.masked import AGGREGATIONS, aggregate, mean_and_variance, moments, whiten
from earwitness.losses.mismatch import Mismatch, importance_weights, rollout_mismatch
from earwitness.losses.ppo import (
    Advantages,
    PolicyLoss,
    ValueLoss,
    gae,
    policy_loss,
    terminal_rewards,
    value_loss,
)

__all__ = [
    "AGGREGATIONS",
    "Advantages",
    "DpoLoss",
    "Mismatch",
    "PolicyLoss",
    "SftLoss",
    "TokenScores",
    "ValueLoss",
    "aggregate",
    "dpo_loss",
    "gae",
    "importance_weights",
    "mean_and_variance",
    "moments",
    "policy_loss",
    "rollout_mismatch",
    "sequence_log_probs",
    "sft_loss",
    "terminal_rewards",
    "token_log_probs",
    "value_loss",
    "whiten",
]
