"""Sums and statistics over the tokens of a mask. Letters: B rows, T tokens."""

from __future__ import annotations

import torch

AGGREGATIONS = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean")
"""How a loss per token becomes one number; ``token-mean`` is ours."""


def keep(values_BT: torch.Tensor, mask_BT: torch.Tensor, name: str = "values") -> torch.Tensor:
    """Return the values with zeros outside the mask; gradients there are zero too, also where a value is NaN."""
    if values_BT.shape != mask_BT.shape:
        raise ValueError(
            f"{name} has shape {tuple(values_BT.shape)} and the mask {tuple(mask_BT.shape)}; give both the same shape"
        )
    return values_BT.masked_fill(~mask_BT.bool(), 0.0)


def aggregate(
    values_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    mode: str = "token-mean",
    num_tokens: torch.Tensor | float | None = None,
    num_sequences: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Return one number for a loss per token: this part's share of the mean over the global batch.

    The shares of all ranks and micro-batches add up to the global mean, so a rank whose gradients will be averaged
    over W ranks multiplies by W.

    Args:
        values_BT: a value per token, float.
        mask_BT: the tokens that count.
        mode: ``token-mean`` divides the sum over tokens by ``num_tokens``; ``seq-mean-token-sum`` divides it by
            ``num_sequences``; ``seq-mean-token-mean`` adds the means of the rows and divides by ``num_sequences``.
        num_tokens: tokens of the global batch; None counts those of ``mask_BT``.
        num_sequences: rows of the global batch that have a token; None counts those of ``mask_BT``.

    Raises:
        ValueError: for an unknown mode.
    """
    if mode not in AGGREGATIONS:
        raise ValueError(f"the aggregation {mode!r} is unknown; choose one of {', '.join(AGGREGATIONS)}")
    values_BT, counts_B = keep(values_BT, mask_BT), mask_BT.bool().sum(-1)
    if mode == "token-mean":
        divisor = counts_B.sum() if num_tokens is None else num_tokens
        return values_BT.sum() / torch.as_tensor(divisor).clamp(min=1)
    sums_B = values_BT.sum(-1)
    if mode == "seq-mean-token-mean":
        sums_B = sums_B / counts_B.clamp(min=1)
    divisor = (counts_B > 0).sum() if num_sequences is None else num_sequences
    return sums_B.sum() / torch.as_tensor(divisor).clamp(min=1)


def moments(values_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return count, sum and sum of squares of the masked values, (3,) float64; add them over ranks before use."""
    kept = keep(values_BT.detach(), mask_BT).double()  # float64: the variance is a difference of two such sums
    return torch.stack([mask_BT.bool().sum().double(), kept.sum(), kept.square().sum()])


def mean_and_variance(moments_3: torch.Tensor, unbiased: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance, float64, from (summed) ``moments``.

    The variance is biased (divided by n) by default, as in Open-Reasoner-Zero; ``unbiased`` divides by n - 1, as verl
    and TRL do. Without tokens both are 0; one token alone has variance 0 under both rules.
    """
    count, total, squares = moments_3.unbind()
    mean = total / count.clamp(min=1)
    centred = (squares - count * mean.square()).clamp(min=0)
    return mean, centred / (count - 1 if unbiased else count).clamp(min=1)


def whiten(
    values_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    mean: torch.Tensor | float | None = None,
    variance: torch.Tensor | float | None = None,
    unbiased: bool = False,
    shift_mean: bool = True,
    epsilon: float = 1e-8,
) -> torch.Tensor:
    """Return (values - mean) / sqrt(variance + epsilon), (B, T) in the dtype of the values, 0 outside the mask.

    Give ``mean`` and ``variance`` of the global batch in a distributed run (``moments``, summed, then
    ``mean_and_variance``); without them those of ``mask_BT`` are used.

    Args:
        values_BT: advantages, float.
        mask_BT: the tokens that count.
        mean: of the global batch, given together with ``variance``.
        variance: of the global batch.
        unbiased: the rule for a variance computed here, see ``mean_and_variance``.
        shift_mean: False adds the mean again, so that only the scale changes.
        epsilon: added to the variance; with equal values everywhere the result is 0, not noise.

    Raises:
        ValueError: if only one of mean and variance is given.
    """
    if (mean is None) != (variance is None):
        raise ValueError("whitening got only one of mean and variance; give both or neither")
    if mean is None or variance is None:
        mean, variance = mean_and_variance(moments(values_BT, mask_BT), unbiased)
    mean, variance = torch.as_tensor(mean).to(values_BT), torch.as_tensor(variance).to(values_BT)
    white_BT = (values_BT - mean) * torch.rsqrt(variance + epsilon)
    return keep(white_BT if shift_mean else white_BT + mean, mask_BT)
