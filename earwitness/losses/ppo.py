"""Proximal policy optimisation (Schulman et al. 2017) as the report uses it: advantages, policy and value losses.

Equations 3 and 8 only say that the expected reward is maximised, with PPO and without a KL penalty; section 4.3 gives
clip 0.2, discount and GAE lambda 1, and reward on the last token. Value clipping (0.2) is Open-Reasoner-Zero's.

Letters: B rows, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from earwitness.losses.masked import keep

_LOG_RATIO_LIMIT = 20.0
"""Log ratios are cut here, so that one broken token cannot overflow the loss; it has no gradient beyond."""


class Advantages(NamedTuple):
    """Advantages and value targets, (B, T), 0 outside the mask, without gradient."""

    advantages_BT: torch.Tensor
    returns_BT: torch.Tensor


def terminal_rewards(rewards_B: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return (B, T) with the reward of each reply (eq. 2, 6 or 7) on its last token and 0 elsewhere (sec. 4.3).

    A row without tokens keeps no reward: that is how a sample is left out.
    """
    last_B = mask_BT.shape[-1] - 1 - mask_BT.bool().flip(-1).int().argmax(-1)
    placed_BT = torch.zeros(mask_BT.shape, dtype=rewards_B.dtype, device=rewards_B.device)
    return keep(placed_BT.scatter(-1, last_B[:, None], rewards_B[:, None]), mask_BT)


@torch.no_grad()
def gae(
    rewards_BT: torch.Tensor,
    values_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    gamma: float = 1.0,
    lam: float = 1.0,
) -> Advantages:
    """Return generalised advantage estimates (Schulman et al. 2016) and value targets, A + V.

    A_t = d_t + gamma lam A_next, d_t = r_t + gamma V_next - V_t, where "next" is the next token of the mask: tokens
    between (a tool's output, say) are stepped over and cost no discount. After the last token V and A are 0. With
    gamma = lam = 1 (sec. 4.3) the sum is closed: the return is the sum of the rewards still to come, and A = R - V.
    Advantages are not whitened here.

    Args:
        rewards_BT: reward per token; what stands outside the mask is lost.
        values_BT: the critic's value before each token.
        mask_BT: the reply's tokens.
        gamma: discount, 0 to 1.
        lam: 0 (one-step) to 1 (Monte Carlo).
    """
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gae: gamma {gamma} and lam {lam} must be from 0 to 1")
    rewards_BT, values_BT = keep(rewards_BT, mask_BT, "rewards"), keep(values_BT, mask_BT, "values")
    if gamma == lam == 1:
        returns_BT = keep(rewards_BT.flip(-1).cumsum(-1).flip(-1), mask_BT)
        return Advantages(returns_BT - values_BT, returns_BT)
    # Time first, so that each step reads contiguous memory.
    rewards_TB, values_TB, mask_TB = (x.t().contiguous() for x in (rewards_BT, values_BT, mask_BT.bool()))
    advantages_TB = torch.zeros_like(values_TB)
    next_value_B = next_advantage_B = torch.zeros_like(values_TB[0])
    for t in range(len(values_TB) - 1, -1, -1):
        delta_B = rewards_TB[t] + gamma * next_value_B - values_TB[t]
        advantage_B = delta_B + gamma * lam * next_advantage_B
        next_value_B = torch.where(mask_TB[t], values_TB[t], next_value_B)
        next_advantage_B = torch.where(mask_TB[t], advantage_B, next_advantage_B)
        advantages_TB[t] = advantage_B
    advantages_BT = keep(advantages_TB.t(), mask_BT)
    return Advantages(advantages_BT, advantages_BT + values_BT)


@dataclass(frozen=True)
class PolicyLoss:
    """The policy loss and what is logged of it; all sums, to be divided by the tokens of the global batch."""

    loss: torch.Tensor
    """Sum over tokens, a scalar."""
    losses_BT: torch.Tensor
    """Per token, 0 outside the mask; for other ways to ``aggregate``."""
    tokens: torch.Tensor
    clipped: torch.Tensor
    """Tokens where the clipped term decides, which have no gradient."""
    dual_clipped: torch.Tensor
    """Tokens with negative advantage where the dual clip decides."""
    kl: torch.Tensor
    """Sum of log pi_old - log pi: unbiased for KL(old, new), of either sign (k1)."""
    kl_positive: torch.Tensor
    """Sum of ratio - 1 - log ratio: also unbiased, never negative (k3; Schulman 2020)."""

    @property
    def clip_fraction(self) -> torch.Tensor:
        """Share of the tokens of this part that are clipped."""
        return self.clipped / self.tokens.clamp(min=1)

    @property
    def approx_kl(self) -> torch.Tensor:
        """Mean of ``kl`` over the tokens of this part."""
        return self.kl / self.tokens.clamp(min=1)


def policy_loss(
    log_probs_BT: torch.Tensor,
    old_log_probs_BT: torch.Tensor,
    advantages_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    clip: float = 0.2,
    clip_high: float | None = None,
    dual_clip: float | None = None,
    weights_BT: torch.Tensor | None = None,
) -> PolicyLoss:
    """Return PPO's clipped loss for the objective of eq. 3 or 8: -min(ratio A, clip(ratio, 1 - e, 1 + e) A).

    On fresh data the ratio is 1: nothing is clipped and the value is minus the sum of advantages (about 0 once they
    are whitened), while the gradient is the policy gradient. Where A < 0 the plain loss grows without bound in the
    ratio; the dual clip (Ye et al. 2020) stops it at -dual_clip A. It is off: the report does not name it.

    Args:
        log_probs_BT: of the sampled tokens under the policy trained, with gradient.
        old_log_probs_BT: under the policy that sampled, computed by the trainer, not by the rollout engine.
        advantages_BT: whitened or not; no gradient flows into them.
        mask_BT: the reply's tokens.
        clip: e below and, unless ``clip_high`` is given, above.
        clip_high: e above (DAPO's "clip higher"); None for symmetric.
        dual_clip: c > 1, or None.
        weights_BT: importance weights from ``importance_weights``, without gradient.
    """
    if not 0 < clip < 1 or (clip_high is not None and clip_high <= 0) or (dual_clip is not None and dual_clip <= 1):
        raise ValueError(f"ppo: clip {clip} must be in (0, 1), clip_high {clip_high} > 0, dual_clip {dual_clip} > 1")
    new_BT, old_BT = keep(log_probs_BT, mask_BT, "log_probs"), keep(old_log_probs_BT, mask_BT, "old_log_probs")
    advantages_BT = keep(advantages_BT, mask_BT, "advantages").detach()
    log_ratio_BT = (new_BT - old_BT.detach()).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
    ratio_BT = log_ratio_BT.exp()
    plain_BT = -advantages_BT * ratio_BT
    cut_BT = -advantages_BT * ratio_BT.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    losses_BT = torch.maximum(plain_BT, cut_BT)
    clipped_BT = cut_BT > plain_BT
    dual_BT = torch.zeros_like(clipped_BT)
    if dual_clip is not None:
        bound_BT = -advantages_BT * dual_clip
        dual_BT = (advantages_BT < 0) & (losses_BT > bound_BT)
        losses_BT = torch.where(advantages_BT < 0, torch.minimum(losses_BT, bound_BT), losses_BT)
    if weights_BT is not None:
        losses_BT = losses_BT * keep(weights_BT, mask_BT, "weights").detach()
    kl_BT = -log_ratio_BT.detach()
    return PolicyLoss(
        loss=losses_BT.sum(),
        losses_BT=losses_BT,
        tokens=mask_BT.bool().sum(),
        clipped=clipped_BT.sum(),
        dual_clipped=dual_BT.sum(),
        kl=kl_BT.sum(),
        kl_positive=(ratio_BT.detach() - 1 + kl_BT).sum(),
    )


class ValueLoss(NamedTuple):
    """The critic's loss; sums, to be divided by the tokens of the global batch."""

    loss: torch.Tensor
    losses_BT: torch.Tensor
    """Per token, 0 outside the mask."""
    tokens: torch.Tensor
    clipped: torch.Tensor
    """Tokens where the clipped error decides."""


def value_loss(
    values_BT: torch.Tensor,
    old_values_BT: torch.Tensor,
    returns_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    clip: float | None = 0.2,
) -> ValueLoss:
    """Return half the squared error of the critic, the larger of the plain and the clipped one: 0.5 max(...).

    The factor 0.5 is part of the loss here, as in verl and TRL. The clipped value may leave the old one by ``clip``
    at most; the value is in units of reward, so 0.2 suits rewards from 0 to 1.

    Args:
        values_BT: the critic's values now, with gradient.
        old_values_BT: its values when the advantages were made.
        returns_BT: ``gae(...).returns_BT``.
        mask_BT: the reply's tokens.
        clip: None for the plain squared error.
    """
    values_BT, old_BT = keep(values_BT, mask_BT, "values"), keep(old_values_BT, mask_BT, "old_values").detach()
    returns_BT = keep(returns_BT, mask_BT, "returns").detach()
    plain_BT = (values_BT - returns_BT).square()
    tokens = mask_BT.bool().sum()
    if clip is None:
        return ValueLoss(0.5 * plain_BT.sum(), 0.5 * plain_BT, tokens, torch.zeros_like(tokens))
    cut_BT = (torch.clamp(values_BT, old_BT - clip, old_BT + clip) - returns_BT).square()
    losses_BT = 0.5 * torch.maximum(plain_BT, cut_BT)
    return ValueLoss(losses_BT.sum(), losses_BT, tokens, (cut_BT > plain_BT).sum())
