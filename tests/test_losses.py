"""Losses against frozen vectors of independent implementations, and against what must hold exactly."""

from __future__ import annotations

import math

import loss_cases
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from earwitness import losses

BOTH = [torch.float32, torch.float64]


@pytest.fixture(scope="module")
def errors():
    return loss_cases.errors(*loss_cases.load())


@pytest.mark.parametrize("part", ["gae", "whiten", "policy", "value", "aggregate", "head", "dpo"])
def test_frozen_vectors(errors, part):
    """The reference outputs are verl's and TRL's, see tests/reference."""
    of_part = {k: v for k, v in errors.items() if k.startswith(f"{part}/")}
    assert of_part and {k: v for k, v in of_part.items() if not v <= 1e-6} == {}


def test_frozen_vectors_reach_the_dual_clip():
    x, _ = loss_cases.load()
    ratio = (x["log_probs"] - x["old_log_probs"]).exp()
    assert int(((ratio > 3) & (x["advantages"] < 0) & x["mask"]).sum()) >= 3
    assert loss_cases.GOLDEN.stat().st_size < 200_000


def rollout(rows=6, length=15, seed=0):
    rng = torch.Generator().manual_seed(seed)
    mask = torch.arange(length) < torch.randint(1, length + 1, (rows, 1), generator=rng)
    return rng, mask, torch.randn(rows, length, generator=rng)


# The vocabulary head.


def head_inputs(dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(*s, generator=rng, dtype=dtype) for s in ((2, 9, 12), (53, 12)))
    targets = torch.randint(20, 53, (2, 9), generator=rng)
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def dense_scores(hidden, weight, targets, suppressed=(), temperature=1.0):
    logits = (hidden @ weight.t()) / temperature
    logits[..., list(suppressed)] = -1e30  # finite, so that the entropy of the plain formula is not NaN
    logp = logits.log_softmax(-1)
    return logp.gather(-1, targets[..., None])[..., 0], -(logp.exp() * logp).sum(-1)


@pytest.mark.parametrize("pieces", [(1, 1), (4, 7), (100, 100), (5, 10)])
@pytest.mark.parametrize("suppressed", [(), tuple(range(10)), (*range(12), 19)], ids=["none", "a piece", "more"])
def test_head_equals_the_dense_formula(pieces, suppressed):
    hidden, weight, targets = head_inputs()
    mask = torch.rand(targets.shape, generator=torch.Generator().manual_seed(3)) < 0.7
    mix = torch.randn(2, *targets.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    got = losses.token_log_probs(
        hidden, weight, targets, mask, suppressed=suppressed, temperature=0.8, entropy=True,
        token_piece=pieces[0], vocab_piece=pieces[1],
    )  # fmt: skip
    want = [v * mask for v in dense_scores(hidden, weight, targets, suppressed, 0.8)]
    for ours, dense, weights in zip(got, want, mix):
        torch.testing.assert_close(ours, dense, rtol=0, atol=1e-12)
        gradients = (
            torch.autograd.grad((v * weights).sum(), (hidden, weight), retain_graph=True) for v in (ours, dense)
        )
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_head_gradcheck():
    hidden, weight, targets = head_inputs()
    few = hidden[:1, :3].detach().requires_grad_()

    def scores(hidden, weight):
        return losses.token_log_probs(
            hidden, weight, targets[:1, :3], suppressed=[0, 5], entropy=True, token_piece=2, vocab_piece=20
        )

    assert torch.autograd.gradcheck(scores, (few, weight), fast_mode=True)


def test_head_probabilities_are_the_samplers():
    """Over the ids that can be sampled the probabilities add up to 1."""
    hidden, weight, _ = head_inputs()
    silent, row = [1, 2, 50], hidden[:1, :1].expand(1, 53, 12)
    mask = torch.ones(1, 53, dtype=torch.bool)
    mask[0, silent] = False
    scores = losses.token_log_probs(row, weight, torch.arange(53)[None], mask, suppressed=torch.tensor(silent))
    assert float(scores.log_probs_BT[mask].detach().exp().sum()) == pytest.approx(1.0, abs=1e-12)
    assert scores.entropy_BT is None


def test_head_survives_large_logits_and_holds_frozen_weights():
    hidden, weight, targets = head_inputs(torch.float32)
    scores = losses.token_log_probs(1e4 * hidden, weight.detach(), targets, entropy=True, vocab_piece=8)
    (scores.log_probs_BT.sum() + scores.entropy_BT.sum()).backward()
    assert all(v.isfinite().all() for v in (*scores, hidden.grad)) and weight.grad is None
    assert float(scores.entropy_BT.detach().min()) >= -1e-6


def test_head_in_bfloat16_and_under_autocast():
    hidden, weight, targets = head_inputs(torch.float32)
    want = losses.token_log_probs(hidden, weight, targets).log_probs_BT
    with torch.autocast("cpu", torch.bfloat16):
        auto = losses.token_log_probs(hidden, weight, targets).log_probs_BT
        auto.sum().backward()
    low = losses.token_log_probs(hidden.bfloat16(), weight.bfloat16(), targets).log_probs_BT
    assert auto.dtype == low.dtype == hidden.grad.dtype == torch.float32
    torch.testing.assert_close(auto, low, rtol=0, atol=0)
    torch.testing.assert_close(auto, want, rtol=0, atol=0.15)


def test_head_without_tokens_has_zero_gradients():
    hidden, weight, targets = head_inputs()
    scores = losses.token_log_probs(hidden, weight, targets, torch.zeros_like(targets))
    scores.log_probs_BT.sum().backward()
    assert not scores.log_probs_BT.any() and not hidden.grad.any() and not weight.grad.any()


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation wrote into one tensor."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, torch.Tensor):
                self.most = max(self.most, value.numel())
        return out


def test_head_never_holds_all_logits():
    """64 tokens and 1,024 ids in pieces of 32 and 128: nothing is larger than hidden states or weights."""
    hidden = torch.randn(1, 64, 8, requires_grad=True)
    weight = torch.randn(1024, 8, requires_grad=True)
    with LargestTensor() as seen:
        scores = losses.token_log_probs(
            hidden, weight, torch.zeros(1, 64, dtype=torch.long), entropy=True, token_piece=32, vocab_piece=128
        )
        (scores.log_probs_BT + scores.entropy_BT).sum().backward()
    assert seen.most <= weight.numel()


def test_head_errors_name_the_cause():
    hidden, weight, targets = head_inputs()
    with pytest.raises(ValueError, match="target id -100 is not in the vocabulary of 53"):
        losses.token_log_probs(hidden, weight, targets.fill_(-100))
    with pytest.raises(ValueError, match="target id 7 is suppressed"):
        losses.token_log_probs(hidden, weight, targets.fill_(7), suppressed=[7])
    with pytest.raises(ValueError, match=r"give \(B, T, H\)"):
        losses.token_log_probs(hidden[:, :-1], weight, targets)
    with pytest.raises(ValueError, match="temperature 0"):
        losses.token_log_probs(hidden, weight, targets, temperature=0)


# Sums and statistics.


@pytest.mark.parametrize("mode", losses.AGGREGATIONS)
def test_parts_add_up_to_the_whole(mode):
    """Uneven parts with the global divisors give the mean of the whole batch; local means do not."""
    _, mask, values = rollout()
    mask[2] = False
    whole = losses.aggregate(values, mask, mode)
    counts = {"num_tokens": mask.sum(), "num_sequences": mask.any(-1).sum()}
    parts = [losses.aggregate(values[rows], mask[rows], mode, **counts) for rows in (slice(0, 1), slice(1, 6))]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-6, atol=1e-7)
    local = sum(losses.aggregate(values[rows], mask[rows], mode) for rows in (slice(0, 1), slice(1, 6))) / 2
    assert abs(local - whole) > 1e-3


@pytest.mark.parametrize("mode", losses.AGGREGATIONS)
def test_nothing_to_aggregate_is_zero(mode):
    assert losses.aggregate(torch.full((2, 3), torch.nan), torch.zeros(2, 3), mode) == 0


def test_what_is_outside_the_mask_never_counts():
    _, mask, values = rollout()
    garbage = torch.where(mask, values, torch.nan).requires_grad_()
    results = [
        losses.aggregate(garbage, mask),
        losses.sft_loss(garbage, mask).loss,
        losses.policy_loss(garbage, garbage.detach() - 0.1, garbage.detach(), mask).loss,
        losses.value_loss(garbage, garbage.detach(), garbage.detach() + 1, mask).loss,
    ]
    gradient = torch.autograd.grad(sum(results), garbage)[0]
    assert all(r.isfinite() for r in results) and gradient.isfinite().all() and not gradient[~mask].any()
    for tensor in (*losses.gae(garbage, garbage, mask, 0.9, 0.9), losses.whiten(garbage.detach(), mask)):
        assert tensor.isfinite().all() and not tensor[~mask].any()


@pytest.mark.parametrize("unbiased", [False, True])
def test_whitening_over_ranks_equals_whitening_of_all(unbiased):
    _, mask, values = rollout()
    values = values + 100  # a large mean must not spoil the variance
    together = losses.whiten(values, mask, unbiased=unbiased)
    total = sum(losses.moments(values[rows], mask[rows]) for rows in (slice(0, 2), slice(2, 6)))
    stats = losses.mean_and_variance(total, unbiased)
    parts = [losses.whiten(values[rows], mask[rows], *stats) for rows in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(torch.cat(parts), together, rtol=0, atol=1e-6)
    kept = values[mask].double()
    assert float(stats[1]) == pytest.approx(float(kept.var(correction=int(unbiased))), rel=1e-9)
    assert float(together[mask].mean()) == pytest.approx(0, abs=1e-5)


def test_whitening_of_equal_or_single_values_is_zero():
    assert not losses.whiten(torch.full((2, 3), 0.8), torch.ones(2, 3)).any()
    one = torch.zeros(2, 3)
    one[0, 1] = 1
    assert not losses.whiten(torch.full((2, 3), 0.8), one, unbiased=True).any()
    with pytest.raises(ValueError, match="only one of mean and variance"):
        losses.whiten(one, one, mean=0.0)


# PPO.


def test_terminal_reward_is_on_the_last_token_of_the_mask():
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    placed = losses.terminal_rewards(torch.tensor([1.0, 0.8, 0.2, 0.5]), mask)
    want = torch.tensor([[0, 1.0, 0, 0], [0, 0, 0, 0.8], [0, 0, 0, 0], [0, 0, 0, 0.5]])
    assert torch.equal(placed, want)


@pytest.mark.parametrize("dtype", BOTH)
def test_advantage_is_reward_minus_value(dtype):
    """Exactly, with one terminal reward and gamma = lambda = 1; and the recursion agrees with the closed form."""
    rng, mask, values = rollout()
    mask[0, 1:3] = False  # a hole
    scores, values = torch.rand(6, generator=rng).to(dtype), values.to(dtype)
    rewards = losses.terminal_rewards(scores, mask)
    got = losses.gae(rewards, values, mask)
    assert torch.equal(got.advantages_BT[mask], (scores[:, None] - values)[mask])
    assert torch.equal(got.returns_BT[mask], scores[:, None].expand_as(values)[mask])
    almost = losses.gae(rewards, values, mask, gamma=1.0, lam=1 - 1e-12)
    for closed, recursive in zip(got, almost):
        torch.testing.assert_close(closed, recursive, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-10)


def test_gae_steps_over_holes():
    """Tokens outside the mask change nothing: the row without them has the same advantages."""
    rng, _, values = rollout(1, 8)
    rewards, mask = torch.randn(1, 8, generator=rng), torch.tensor([[1, 0, 0, 1, 1, 0, 1, 0]]).bool()
    holes = losses.gae(rewards, values, mask, 0.9, 0.8)
    dense = losses.gae(rewards[mask][None], values[mask][None], torch.ones(1, 4), 0.9, 0.8)
    assert torch.equal(holes.advantages_BT[mask], dense.advantages_BT[0])
    one_step = losses.gae(rewards[mask][None], values[mask][None], torch.ones(1, 4), 0.9, 0.0).advantages_BT[0]
    r, v = rewards[mask], values[mask]
    torch.testing.assert_close(one_step, r + 0.9 * torch.cat([v[1:], v.new_zeros(1)]) - v)
    with pytest.raises(ValueError, match="gamma 1.5"):
        losses.gae(rewards, values, mask, gamma=1.5)


def test_on_fresh_data_nothing_is_clipped_and_the_gradient_is_the_policy_gradient():
    _, mask, values = rollout()
    advantages = losses.whiten(values, mask)
    log_probs = -values.abs().requires_grad_()
    got = losses.policy_loss(log_probs, log_probs.detach(), advantages, mask)
    gradient = torch.autograd.grad(got.loss, log_probs)[0]
    assert got.clip_fraction == 0 and got.approx_kl == 0 and got.kl_positive == 0
    assert abs(float(got.loss.detach() / got.tokens)) < 1e-6
    assert torch.equal(gradient, -advantages) and gradient.norm() > 1


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped", "slope"),
    [
        (1.1, 2.0, -2.2, 0, -2.2),
        (1.5, 2.0, -2.4, 1, 0.0),  # stops at 1.2
        (0.5, 2.0, -1.0, 0, -1.0),  # a worse ratio is never cut for A > 0
        (0.5, -2.0, 1.6, 1, 0.0),  # stops at 0.8
        (5.0, -2.0, 10.0, 0, 10.0),  # unbounded without the dual clip
    ],
)
def test_the_clip_by_hand(ratio, advantage, loss, clipped, slope):
    new = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1)
    got = losses.policy_loss(new, zero, zero + advantage, one)
    assert got.loss.item() == pytest.approx(loss) and int(got.clipped) == clipped
    assert torch.autograd.grad(got.loss, new)[0].item() == pytest.approx(slope)


def test_the_dual_clip_bounds_a_large_ratio_with_negative_advantage():
    new = torch.tensor([[math.log(5.0), math.log(5.0)]], requires_grad=True)
    advantages = torch.tensor([[-2.0, 2.0]])
    got = losses.policy_loss(new, torch.zeros(1, 2), advantages, torch.ones(1, 2), dual_clip=3.0)
    assert got.losses_BT.tolist() == [[pytest.approx(6.0), pytest.approx(-2.4)]] and int(got.dual_clipped) == 1
    assert not torch.autograd.grad(got.loss, new)[0].any()
    with pytest.raises(ValueError, match="dual_clip 1.0"):
        losses.policy_loss(new, new, advantages, torch.ones(1, 2), dual_clip=1.0)


def test_a_broken_token_does_not_overflow():
    new = torch.tensor([[0.0]], requires_grad=True)
    got = losses.policy_loss(new, torch.tensor([[-500.0]]), torch.tensor([[-1.0]]), torch.ones(1, 1))
    assert got.loss.isfinite() and torch.autograd.grad(got.loss, new)[0].item() == 0


def test_value_loss_by_hand():
    new, old = torch.tensor([[0.9, 0.1, 0.5]], requires_grad=True), torch.full((1, 3), 0.5)
    returns = torch.tensor([[1.0, 1.0, 0.0]])
    got = losses.value_loss(new, old, returns, torch.ones(1, 3))
    # 0.9 is cut to 0.7, whose error is larger; 0.1 is cut to 0.3, whose error is smaller; 0.5 is not cut.
    assert got.losses_BT.tolist() == [[pytest.approx(0.045), pytest.approx(0.405), pytest.approx(0.125)]]
    assert int(got.clipped) == 1
    plain = losses.value_loss(new, old, returns, torch.ones(1, 3), clip=None)
    assert plain.loss.item() == pytest.approx(0.5 * (0.01 + 0.81 + 0.25))


# Given texts.


def test_sft_is_minus_the_sum_with_its_count():
    log_probs = torch.tensor([[-1.0, -2.0, -4.0]])
    got = losses.sft_loss(log_probs, torch.tensor([[0, 1, 1]]))
    assert got.loss == 6 and got.tokens == 2
    with pytest.raises(ValueError, match="give both the same shape"):
        losses.sft_loss(log_probs, torch.ones(1, 2))


def test_dpo_closed_forms():
    zero = torch.zeros(3)
    assert losses.dpo_loss(zero, zero, zero, zero).loss.item() == pytest.approx(3 * math.log(2))
    chosen = torch.tensor([-1.0, -3.0, -2.0], requires_grad=True)
    rejected = torch.tensor([-2.0, -1.0, -2.0])
    got = losses.dpo_loss(chosen, rejected, zero, zero, beta=0.5)
    assert got.margins_N.tolist() == [0.5, -1.0, 0.0] and got.accuracies_N.tolist() == [1, 0, 0]
    gradient = torch.autograd.grad(got.loss, chosen)[0]
    torch.testing.assert_close(gradient, -0.5 * torch.sigmoid(-got.margins_N))
    # With smoothing e the best margin is log((1 - e) / e) and no longer infinite.
    margin = torch.tensor([math.log(0.8 / 0.2)], dtype=torch.float64, requires_grad=True)
    none = torch.zeros(1, dtype=torch.float64)
    smoothed = losses.dpo_loss(margin, none, none, none, beta=1.0, label_smoothing=0.2)
    assert torch.autograd.grad(smoothed.loss, margin)[0].item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="label_smoothing 0.5"):
        losses.dpo_loss(none, none, none, none, label_smoothing=0.5)


# Rollout against trainer.


def test_mismatch_of_equal_engines_is_nothing():
    _, mask, values = rollout()
    numbers = losses.rollout_mismatch(-values.abs(), -values.abs(), mask).metrics()
    assert numbers.pop("effective_share") == 1 and set(numbers.values()) == {0.0}
    empty = losses.rollout_mismatch(values, values, torch.zeros_like(mask)).metrics()
    assert empty.pop("effective_share") == 1 and set(empty.values()) == {0.0}


def test_mismatch_by_hand():
    rollout_lp, trainer_lp = torch.tensor([[0.5, 0.25, 0.1]]).log(), torch.tensor([[0.25, 0.5, 0.9]]).log()
    mask = torch.tensor([[1, 1, 0]])
    got = losses.rollout_mismatch(rollout_lp, trainer_lp, mask).metrics()
    assert got["prob_diff_mean"] == pytest.approx(0.25) and got["prob_diff_max"] == pytest.approx(0.25)
    assert got["logp_diff_max"] == pytest.approx(math.log(2)) and got["kl"] == pytest.approx(0, abs=1e-7)
    assert got["kl_positive"] == pytest.approx((2 - 1 - math.log(2) + 0.5 - 1 + math.log(2)) / 2)
    assert got["effective_share"] == pytest.approx(2.5**2 / (2 * 4.25))
    weights = losses.importance_weights(rollout_lp, trainer_lp, mask, cap=1.5)
    assert weights.tolist() == [[pytest.approx(0.5), 1.5, 0.0]]
