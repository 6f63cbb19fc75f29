"""How far the log-probabilities of the rollout engine are from the trainer's for the same tokens and weights.

On-policy PPO assumes that they agree; different kernels, precisions and stale weights make them differ, and that is
logged apart from the ratio of PPO, whose two sides are the trainer's. Letters: B rows, T tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from earwitness.losses.masked import keep


class Mismatch(NamedTuple):
    """Sums and maxima over tokens; over ranks, add the sums and take the largest maxima, then ask for ``metrics``."""

    sums: torch.Tensor
    """(7,) float64: tokens; |dlogp|; rollout - trainer; k3; |dp|; weight; squared weight."""
    maxima: torch.Tensor
    """(2,) float64: |dlogp|; |dp|."""

    def metrics(self) -> dict[str, float]:
        """Return the numbers to log; zeros (and an effective share of 1) where there are no tokens.

        ``kl`` (k1) and ``kl_positive`` (k3) estimate KL(rollout, trainer). ``effective_share`` is the effective sample
        size of the importance weights over the number of tokens: 1 when both agree.
        """
        tokens, logp, kl, kl_positive, prob, weight, squared = self.sums.tolist()
        n = max(tokens, 1.0)
        return {
            "logp_diff_mean": logp / n,
            "logp_diff_max": float(self.maxima[0]),
            "prob_diff_mean": prob / n,
            "prob_diff_max": float(self.maxima[1]),
            "kl": kl / n,
            "kl_positive": kl_positive / n,
            "effective_share": weight * weight / (squared * n) if squared else 1.0,
        }


@torch.no_grad()
def rollout_mismatch(
    rollout_log_probs_BT: torch.Tensor, trainer_log_probs_BT: torch.Tensor, mask_BT: torch.Tensor
) -> Mismatch:
    """Compare the two engines on the sampled tokens of the mask, (B, T) each."""
    rollout_BT = keep(rollout_log_probs_BT, mask_BT, "rollout_log_probs").double()
    trainer_BT = keep(trainer_log_probs_BT, mask_BT, "trainer_log_probs").double()
    log_weight_BT = trainer_BT - rollout_BT
    excess_BT = torch.expm1(log_weight_BT)  # weight - 1, which is 0 outside the mask
    weight_BT = keep(excess_BT + 1, mask_BT)
    prob_BT = (trainer_BT.exp() - rollout_BT.exp()).abs()
    log_BT, kl_positive_BT = log_weight_BT.abs(), excess_BT - log_weight_BT
    sums = [log_BT, -log_weight_BT, kl_positive_BT, prob_BT, weight_BT, weight_BT.square()]
    tokens = mask_BT.bool().sum().double()
    zero = tokens.new_zeros(1)  # a maximum over nothing is 0
    maxima = [torch.cat([x.flatten(), zero]).max() for x in (log_BT, prob_BT)]
    return Mismatch(torch.stack([tokens, *(x.sum() for x in sums)]), torch.stack(maxima))


@torch.no_grad()
def importance_weights(
    rollout_log_probs_BT: torch.Tensor, trainer_log_probs_BT: torch.Tensor, mask_BT: torch.Tensor, cap: float = 2.0
) -> torch.Tensor:
    """Return pi_trainer / pi_rollout per token, cut at ``cap``, 0 outside the mask (truncated importance sampling).

    Off in our recipe; ``policy_loss`` takes them as ``weights_BT`` where the rollout engine's numerics matter.
    """
    if cap <= 0:
        raise ValueError(f"the cap of importance weights is {cap}; give a number > 0")
    rollout_BT = keep(rollout_log_probs_BT, mask_BT, "rollout_log_probs")
    log_weight_BT = keep(trainer_log_probs_BT, mask_BT, "trainer_log_probs") - rollout_BT
    return keep(log_weight_BT.exp().clamp(max=cap), mask_BT)
