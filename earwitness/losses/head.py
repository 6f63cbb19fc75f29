"""Log-probabilities and entropies of tokens from hidden states, without ever holding all logits.

At 10,240 tokens and 158,720 ids float32 logits take 6.5 GB, and their gradient as much again. Here logits exist for
a piece of the tokens times a piece of the vocabulary only; the backward pass computes them a second time.

Letters: B rows, T tokens, N selected tokens, H width, V vocabulary, n and v pieces of N and V.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

TOKEN_PIECE = 1024
VOCAB_PIECE = 16384
"""1024 x 16384 float32 logits are 64 MiB; about three such pieces live at once."""


class TokenScores(NamedTuple):
    """What ``token_log_probs`` returns, both (B, T) float32 (float64 if the inputs are), 0 outside the mask."""

    log_probs_BT: torch.Tensor
    entropy_BT: torch.Tensor | None
    """In nats; None unless asked for."""


def token_log_probs(
    hidden_BTH: torch.Tensor,
    weight_VH: torch.Tensor,
    targets_BT: torch.Tensor,
    mask_BT: torch.Tensor | None = None,
    *,
    suppressed: Sequence[int] | torch.Tensor = (),
    temperature: float = 1.0,
    entropy: bool = False,
    token_piece: int = TOKEN_PIECE,
    vocab_piece: int = VOCAB_PIECE,
) -> TokenScores:
    """Return log pi(target | hidden) of each token: the log pi of eq. 1 and 5 and both sides of PPO's ratio (eq. 3, 8).

    Gradients reach ``hidden_BTH`` and ``weight_VH``, exactly, through log-probabilities and entropies; second
    derivatives are not defined. Products take the dtype of the inputs (of autocast, where it is on); logits, sums and
    accumulated gradients are float32. On a GPU the products of 16-bit inputs are written in float32; on a CPU they
    are rounded to 16 bits first, as a linear layer's are. The weight must be whole: with sharding, call this where
    the head is gathered.

    Args:
        hidden_BTH: last hidden states, those that predict ``targets_BT`` (the caller shifts).
        weight_VH: the vocabulary head.
        targets_BT: token ids, long; any value outside the mask.
        mask_BT: the tokens wanted; only these are computed. None means all.
        suppressed: ids the sampler never chooses, ids or a long tensor of them; they have probability 0 here too, so
            that the normalisation is the sampler's.
        temperature: logits are divided by it, as in sampling; > 0.
        entropy: also return the entropy of each distribution (after suppression and temperature).
        token_piece: tokens at a time.
        vocab_piece: ids at a time.

    Raises:
        ValueError: for shapes that disagree, or a wanted target that is suppressed or not in the vocabulary.
    """
    if hidden_BTH.shape[:-1] != targets_BT.shape or hidden_BTH.shape[-1] != weight_VH.shape[-1]:
        raise ValueError(
            f"hidden {tuple(hidden_BTH.shape)}, targets {tuple(targets_BT.shape)} and head {tuple(weight_VH.shape)} "
            "disagree; give (B, T, H), (B, T) and (V, H)"
        )
    if temperature <= 0 or token_piece < 1 or vocab_piece < 1:
        raise ValueError(
            f"temperature {temperature}, token_piece {token_piece} and vocab_piece {vocab_piece} must be > 0"
        )
    chosen_BT = torch.ones_like(targets_BT, dtype=torch.bool) if mask_BT is None else mask_BT.bool()
    targets_N = targets_BT[chosen_BT]
    silent_V = _silent(suppressed, weight_VH)
    _check_targets(targets_N, silent_V, len(weight_VH))
    kind = hidden_BTH.device.type
    is_auto = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if is_auto else torch.promote_types(hidden_BTH.dtype, weight_VH.dtype)
    plan = _Plan(token_piece, vocab_piece, dtype, 1.0 / temperature, silent_V, entropy)
    log_probs_N, entropy_N = _Scores.apply(hidden_BTH[chosen_BT], weight_VH, targets_N, plan)

    def spread(values_N: torch.Tensor) -> torch.Tensor:
        empty_BT = torch.zeros(targets_BT.shape, dtype=values_N.dtype, device=values_N.device)
        return empty_BT.masked_scatter(chosen_BT, values_N)

    return TokenScores(spread(log_probs_N), spread(entropy_N) if entropy else None)


class _Plan(NamedTuple):
    """How a call is cut and computed."""

    token_piece: int
    vocab_piece: int
    dtype: torch.dtype
    """Of the products."""
    scale: float
    """1 / temperature."""
    silent_V: torch.Tensor | None
    entropy: bool

    def pieces(self, total: int, size: int) -> Iterator[slice]:
        """Yield slices of at most ``size`` that cover ``total``."""
        return (slice(i, min(i + size, total)) for i in range(0, total, size))

    def logits(self, hidden_nH: torch.Tensor, weight_vH: torch.Tensor, vocab: slice) -> torch.Tensor:
        """Return the logits of a piece, (n, v), suppressed ids at minus infinity."""
        logits_nv = _product(hidden_nH.to(self.dtype), weight_vH.t())
        if self.scale != 1.0:
            logits_nv.mul_(self.scale)
        if self.silent_V is not None:
            logits_nv.masked_fill_(self.silent_V[vocab], -torch.inf)
        return logits_nv

    def without_silent(self, values_nv: torch.Tensor, vocab: slice) -> torch.Tensor:
        """Put 0 in place of the minus infinity of suppressed ids, whose product with probability 0 would be NaN."""
        return values_nv if self.silent_V is None else values_nv.masked_fill_(self.silent_V[vocab], 0.0)


class _Scores(torch.autograd.Function):
    """Log-probabilities (N,) and entropies (N,) of targets; a running log-sum-exp forward, recomputation backward."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NH: torch.Tensor, weight_VH: torch.Tensor, targets_N: torch.Tensor, plan: _Plan
    ) -> tuple[torch.Tensor, torch.Tensor]:
        zeros_N = hidden_NH.new_zeros(len(hidden_NH), dtype=_sum_dtype(plan.dtype))
        # The lowest finite number, not minus infinity: a piece may be suppressed as a whole, and inf - inf is NaN.
        top_N = torch.full_like(zeros_N, torch.finfo(zeros_N.dtype).min)
        mass_N, spread_N, score_N = zeros_N.clone(), zeros_N.clone(), zeros_N.clone()
        for vocab in plan.pieces(len(weight_VH), plan.vocab_piece):
            weight_vH = weight_VH[vocab].to(plan.dtype)
            for rows in plan.pieces(len(hidden_NH), plan.token_piece):
                logits_nv = plan.logits(hidden_NH[rows], weight_vH, vocab)
                inside_n, index_n = _inside(targets_N[rows], vocab)
                score_n = logits_nv.gather(1, index_n[:, None])[:, 0]
                score_N[rows] = torch.where(inside_n, score_n, score_N[rows])
                old_n = top_N[rows].clone()
                new_n = torch.maximum(old_n, logits_nv.max(-1).values)
                shrink_n = torch.exp(old_n - new_n)
                logits_nv.sub_(new_n[:, None])
                weights_nv = logits_nv.exp()
                if plan.entropy:
                    # spread is the sum of weight times (logit - top), moved along whenever top moves.
                    plan.without_silent(logits_nv, vocab)
                    moved_n = shrink_n * (spread_N[rows] + (old_n - new_n) * mass_N[rows])
                    spread_N[rows] = moved_n + logits_nv.mul_(weights_nv).sum(-1)
                mass_N[rows] = shrink_n * mass_N[rows] + weights_nv.sum(-1)
                top_N[rows] = new_n
        total_N = top_N + mass_N.log()
        entropy_N = mass_N.log() - spread_N / mass_N if plan.entropy else torch.zeros_like(total_N)
        ctx.save_for_backward(hidden_NH, weight_VH, targets_N, total_N, entropy_N)
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        if not plan.entropy:
            ctx.mark_non_differentiable(entropy_N)
        return score_N - top_N - mass_N.log(), entropy_N

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_log_probs_N: torch.Tensor | None, grad_entropy_N: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        hidden_NH, weight_VH, targets_N, total_N, entropy_N = ctx.saved_tensors
        plan: _Plan = ctx.plan
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_NH = torch.zeros_like(hidden_NH, dtype=total_N.dtype) if wants_hidden else None
        grad_VH = torch.empty_like(weight_VH) if wants_weight else None
        # Pieces of the vocabulary outside, so that the sum of a weight's gradient needs float32 for one piece only.
        for vocab in plan.pieces(len(weight_VH), plan.vocab_piece):
            weight_vH = weight_VH[vocab].to(plan.dtype)
            sum_vH = torch.zeros_like(weight_vH, dtype=total_N.dtype) if wants_weight else None
            for rows in plan.pieces(len(hidden_NH), plan.token_piece):
                log_nv = plan.logits(hidden_NH[rows], weight_vH, vocab).sub_(total_N[rows, None])
                grad_nv = _grad_logits(
                    plan, log_nv, vocab, targets_N[rows], entropy_N[rows],
                    None if grad_log_probs_N is None else grad_log_probs_N[rows],
                    None if grad_entropy_N is None else grad_entropy_N[rows],
                ).to(plan.dtype)  # fmt: skip
                if grad_NH is not None:
                    grad_NH[rows] += _product(grad_nv, weight_vH)
                if sum_vH is not None:
                    sum_vH += _product(grad_nv.t(), hidden_NH[rows].to(plan.dtype))
            if grad_VH is not None:
                grad_VH[vocab] = sum_vH.to(grad_VH.dtype)  # type: ignore[union-attr]
        return None if grad_NH is None else grad_NH.to(hidden_NH.dtype), grad_VH, None, None


def _grad_logits(
    plan: _Plan,
    log_nv: torch.Tensor,
    vocab: slice,
    targets_n: torch.Tensor,
    entropy_n: torch.Tensor,
    grad_log_probs_n: torch.Tensor | None,
    grad_entropy_n: torch.Tensor | None,
) -> torch.Tensor:
    """Return d loss / d (hidden @ weight) of a piece from its log-probabilities, which are overwritten.

    With p the probabilities: d log p_target / d logit_j = [j = target] - p_j, and d entropy / d logit_j =
    -p_j (log p_j + entropy).
    """
    probs_nv = log_nv.exp() if grad_entropy_n is not None else log_nv.exp_()
    grad_nv = None
    if grad_entropy_n is not None:
        plan.without_silent(log_nv, vocab)
        grad_nv = log_nv.add_(entropy_n[:, None]).mul_(probs_nv).mul_(-grad_entropy_n[:, None])
    if grad_log_probs_n is not None:
        probs_nv.mul_(-grad_log_probs_n[:, None])
        inside_n, index_n = _inside(targets_n, vocab)
        probs_nv.scatter_add_(1, index_n[:, None], (grad_log_probs_n * inside_n)[:, None])
        grad_nv = probs_nv if grad_nv is None else grad_nv.add_(probs_nv)
    if grad_nv is None:
        return torch.zeros_like(probs_nv)
    return grad_nv if plan.scale == 1.0 else grad_nv.mul_(plan.scale)


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left @ right, written in float32 where the device can; the factors have one dtype."""
    with torch.autocast(left.device.type, enabled=False):  # the dtype was chosen already
        if left.dtype in (torch.bfloat16, torch.float16):
            return torch.mm(left, right, out_dtype=torch.float32) if left.is_cuda else (left @ right).float()
        return left @ right


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _inside(targets_n: torch.Tensor, vocab: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which targets lie in a piece of the vocabulary, and their index in it (any index for the others)."""
    inside_n = (targets_n >= vocab.start) & (targets_n < vocab.stop)
    return inside_n, (targets_n - vocab.start).clamp(0, vocab.stop - vocab.start - 1)


def _silent(suppressed: Sequence[int] | torch.Tensor, weight_VH: torch.Tensor) -> torch.Tensor | None:
    """Return (V,) bool, True at suppressed ids, or None if there are none; ids past the vocabulary are ignored."""
    ids = torch.as_tensor(suppressed, dtype=torch.long, device=weight_VH.device)
    if not len(ids):
        return None
    silent_V = torch.zeros(len(weight_VH), dtype=torch.bool, device=weight_VH.device)
    silent_V[ids[ids < len(weight_VH)]] = True
    return silent_V


def _check_targets(targets_N: torch.Tensor, silent_V: torch.Tensor | None, num_ids: int) -> None:
    if not len(targets_N):
        return
    low, high = int(targets_N.min()), int(targets_N.max())
    if low < 0 or high >= num_ids:
        raise ValueError(
            f"target id {low if low < 0 else high} is not in the vocabulary of {num_ids}; take such positions out of "
            "the mask"
        )
    if silent_V is not None and bool(silent_V[targets_N].any()):
        first = int(targets_N[silent_V[targets_N]][0])
        raise ValueError(f"target id {first} is suppressed and has probability 0; take its position out of the mask")
