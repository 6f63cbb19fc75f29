"""Losses of given texts: supervised fine-tuning and direct preference optimisation.

Letters: B rows, T tokens, N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from earwitness.losses.masked import keep


class SftLoss(NamedTuple):
    """A sum and its tokens: add both over micro-batches and ranks, then divide."""

    loss: torch.Tensor
    """Sum over tokens of minus log-probability, a scalar."""
    tokens: torch.Tensor
    """Tokens in the sum, a long scalar."""


def sft_loss(log_probs_BT: torch.Tensor, mask_BT: torch.Tensor) -> SftLoss:
    """Return the negative of eq. 1 (cold start) or eq. 5 (MGRD), summed over tokens.

    The equations add expectations over data sets of log pi(reasoning, answer | prompt); which data sets, and in which
    shares, is the mixture's doing. Ours is the mean over all target tokens of the global batch, so long replies weigh
    more; dividing by a count of one rank would weigh ranks, not tokens.

    Args:
        log_probs_BT: log-probabilities of the targets, from ``token_log_probs``.
        mask_BT: True at reply tokens (reasoning, answer, end), False at prompt, audio and padding.
    """
    return SftLoss(-keep(log_probs_BT, mask_BT, "log_probs").sum(), mask_BT.bool().sum())


def sequence_log_probs(log_probs_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return log pi of each reply, (B,): the sum over its tokens, not the mean."""
    return keep(log_probs_BT, mask_BT, "log_probs").sum(-1)


@dataclass(frozen=True)
class DpoLoss:
    """The loss of N pairs and what is logged of it."""

    loss: torch.Tensor
    """Sum over pairs, a scalar; divide by the pairs of the global batch."""
    losses_N: torch.Tensor
    chosen_rewards_N: torch.Tensor
    """beta (log pi - log pi_ref) of the chosen replies, detached."""
    rejected_rewards_N: torch.Tensor
    """The same of the rejected ones."""

    @property
    def margins_N(self) -> torch.Tensor:
        """Chosen minus rejected reward of each pair."""
        return self.chosen_rewards_N - self.rejected_rewards_N

    @property
    def accuracies_N(self) -> torch.Tensor:
        """1 where the chosen reply has the higher reward, else 0; a tie counts as wrong."""
        return (self.chosen_rewards_N > self.rejected_rewards_N).float()


def dpo_loss(
    chosen_N: torch.Tensor,
    rejected_N: torch.Tensor,
    reference_chosen_N: torch.Tensor,
    reference_rejected_N: torch.Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> DpoLoss:
    """Return the sigmoid loss of direct preference optimisation (Rafailov et al. 2023, eq. 7).

    The report uses DPO for self-cognition (sec. 4.3) and gives no equation. With smoothing e it is
    -(1 - e) log sigmoid(m) - e log sigmoid(-m), m the margin of implicit rewards (Mitchell 2023): e is the share of
    pairs taken to be labelled the wrong way round.

    Args:
        chosen_N: log pi of the chosen replies, ``sequence_log_probs``.
        rejected_N: log pi of the rejected replies.
        reference_chosen_N: log pi_ref of the chosen replies, without gradient.
        reference_rejected_N: log pi_ref of the rejected replies.
        beta: how strongly the reference holds; > 0.
        label_smoothing: from 0 to below 0.5.

    Raises:
        ValueError: for a beta or smoothing out of range, or shapes that differ.
    """
    if beta <= 0 or not 0 <= label_smoothing < 0.5:
        raise ValueError(f"dpo: beta {beta} must be > 0 and label_smoothing {label_smoothing} in [0, 0.5)")
    if len({x.shape for x in (chosen_N, rejected_N, reference_chosen_N, reference_rejected_N)}) > 1:
        raise ValueError("dpo: the four log-probabilities differ in shape; give one number per pair and model")
    chosen_rewards_N = beta * (chosen_N - reference_chosen_N.detach())
    rejected_rewards_N = beta * (rejected_N - reference_rejected_N.detach())
    margins_N = chosen_rewards_N - rejected_rewards_N
    losses_N = -(1 - label_smoothing) * F.logsigmoid(margins_N) - label_smoothing * F.logsigmoid(-margins_N)
    return DpoLoss(losses_N.sum(), losses_N, chosen_rewards_N.detach(), rejected_rewards_N.detach())
