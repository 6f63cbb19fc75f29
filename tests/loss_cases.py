"""The quantities that ``reference/make_losses.py`` takes from verl and TRL, from our losses and under the same names.

``python tests/loss_cases.py`` prints the largest error of each against the frozen vectors.
"""

from __future__ import annotations

import pathlib

import numpy as np
import torch

from earwitness import losses

GOLDEN = pathlib.Path(__file__).parent / "golden" / "losses.npz"
DISCOUNTS = {"closed": (1.0, 1.0), "recursive": (0.99, 0.95)}
GLOBAL = {"num_tokens": 321, "num_sequences": 20, "ranks": 2}
TEMPERATURES = {"plain": 1.0, "hot": 0.7}
BETA, SMOOTHING = 0.1, 0.2
QWEN2 = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}

Tensors = dict[str, torch.Tensor]


def load() -> tuple[Tensors, Tensors]:
    """Return the frozen inputs and the frozen outputs of the references."""
    with np.load(GOLDEN) as archive:
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    parts = ({k[len(p) :]: v for k, v in arrays.items() if k.startswith(p)} for p in ("in/", "ref/"))
    inputs, reference = parts
    return inputs, reference


def with_gradient(loss: torch.Tensor, *leaves: torch.Tensor) -> list[torch.Tensor]:
    """Return the loss and its gradients."""
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def ours(inputs: Tensors) -> Tensors:
    """Return every quantity of the reference, computed by the package."""
    return {**advantages(inputs), **policy(inputs), **value(inputs), **aggregation(inputs), **head(inputs)}


def advantages(x: Tensors) -> Tensors:
    out, mask = {}, x["mask"]
    for name, (gamma, lam) in DISCOUNTS.items():
        for kind, rewards in (("dense", x["rewards"]), ("terminal", losses.terminal_rewards(x["scores"], mask))):
            raw = losses.gae(rewards, x["values"], mask, gamma, lam)
            white = losses.whiten(raw.advantages_BT, mask, unbiased=True)
            out |= {f"gae/{name}/{kind}/returns": raw.returns_BT, f"gae/{name}/{kind}/white": white}
    out["whiten/shift"] = losses.whiten(x["values"], mask, unbiased=True)
    out["whiten/scale"] = losses.whiten(x["values"], mask, unbiased=True, shift_mean=False)
    return out


def policy(x: Tensors) -> Tensors:
    out = {}
    for name, dual in (("plain", None), ("dual", 3.0)):
        for mode in losses.AGGREGATIONS:
            new = x["log_probs"].clone().requires_grad_()
            result = losses.policy_loss(new, x["old_log_probs"], x["advantages"], x["mask"], dual_clip=dual)
            loss, grad = with_gradient(losses.aggregate(result.losses_BT, x["mask"], mode), new)
            out |= {f"policy/{name}/{mode}/loss": loss, f"policy/{name}/{mode}/grad": grad}
        out[f"policy/{name}/clip_fraction"] = result.clip_fraction
        out[f"policy/{name}/kl"] = result.approx_kl
        out[f"policy/{name}/dual_fraction"] = result.dual_clipped / result.tokens
    weighted = losses.policy_loss(
        x["log_probs"], x["old_log_probs"], x["advantages"], x["mask"], 0.2, 0.28, 3.0, x["weights"]
    )
    out["policy/weighted/loss"] = weighted.loss / weighted.tokens
    return out


def value(x: Tensors) -> Tensors:
    new = x["new_values"].clone().requires_grad_()
    result = losses.value_loss(new, x["values"], x["returns"], x["mask"])
    loss, grad = with_gradient(result.loss / result.tokens, new)
    return {"value/loss": loss, "value/grad": grad, "value/clip_fraction": result.clipped / result.tokens}


def aggregation(x: Tensors) -> Tensors:
    out = {}
    divisors = {"num_tokens": GLOBAL["num_tokens"], "num_sequences": GLOBAL["num_sequences"]}
    for mode in losses.AGGREGATIONS:
        out[f"aggregate/{mode}/local"] = losses.aggregate(x["values"], x["mask"], mode)
        share = losses.aggregate(x["values"], x["mask"], mode, **divisors)
        out[f"aggregate/{mode}/global"] = share * GLOBAL["ranks"]
    return out


def head(x: Tensors) -> Tensors:
    out = {}
    for name, temperature in TEMPERATURES.items():
        for kind, suppressed in (("all", []), ("suppressed", x["suppressed"].tolist())):
            hidden, weight = (x[k].clone().requires_grad_() for k in ("hidden", "head"))
            scores = losses.token_log_probs(
                hidden,
                weight,
                x["targets"],
                suppressed=suppressed,
                temperature=temperature,
                entropy=True,
                token_piece=5,
                vocab_piece=16,
            )
            loss = (scores.log_probs_BT * x["mix"]).sum() + (scores.entropy_BT * x["mix"].flip(0)).sum()
            _, grad_hidden, grad_weight = with_gradient(loss, hidden, weight)
            key = f"head/{name}/{kind}"
            out |= {f"{key}/log_probs": scores.log_probs_BT.detach(), f"{key}/entropy": scores.entropy_BT.detach()}
            out |= {f"{key}/grad_hidden": grad_hidden, f"{key}/grad_head": grad_weight}
    return out


def qwen2(inputs: Tensors, name: str):
    """Return the tiny policy or reference model of the DPO case."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = Qwen2ForCausalLM(Qwen2Config(**QWEN2, attn_implementation="eager"))
    model.load_state_dict({k: inputs[f"{name}/{k}"] for k in model.state_dict()})
    return model


def dpo(inputs: Tensors, smoothing: float) -> Tensors:
    """Return loss, metrics and gradients of one batch of pairs, from token ids to the loss."""
    ids, mask = inputs["dpo/input_ids"], inputs["dpo/completion_mask"][:, 1:].bool()
    sums = {}
    for name in ("policy", "reference"):
        model = qwen2(inputs, name)
        with torch.set_grad_enabled(name == "policy"):
            hidden = model.model(ids, attention_mask=inputs["dpo/attention_mask"]).last_hidden_state
            log_probs = losses.token_log_probs(hidden[:, :-1], model.lm_head.weight, ids[:, 1:], mask)
            sums[name] = losses.sequence_log_probs(log_probs.log_probs_BT, mask).chunk(2)
        if name == "policy":
            leaves = (model.lm_head.weight, model.model.layers[0].self_attn.q_proj.weight)
    result = losses.dpo_loss(*sums["policy"], *sums["reference"], beta=BETA, label_smoothing=smoothing)
    loss, grad_head, grad_query = with_gradient(result.loss / len(result.losses_N), *leaves)
    return {
        "loss": loss,
        "grad_head": grad_head,
        "grad_query": grad_query,
        "rewards/chosen": result.chosen_rewards_N.mean(),
        "rewards/rejected": result.rejected_rewards_N.mean(),
        "rewards/accuracies": result.accuracies_N.mean(),
        "rewards/margins": result.margins_N.mean(),
    }


def errors(inputs: Tensors, reference: Tensors) -> dict[str, float]:
    """Return the largest difference of each quantity: absolute up to 1, relative to the reference above."""
    got = ours(inputs)
    got |= {f"dpo/plain/{k}": v for k, v in dpo(inputs, 0.0).items()}
    got |= {f"dpo/smoothed/{k}": v for k, v in dpo(inputs, SMOOTHING).items()}
    assert got.keys() == reference.keys()
    assert all(got[k].shape == reference[k].shape for k in got)
    scaled = {k: (got[k] - v).double() / v.double().abs().clamp(min=1) for k, v in reference.items()}
    return {k: float(v.abs().max()) for k, v in scaled.items()}


if __name__ == "__main__":
    worst: dict[str, float] = {}
    for key, error in errors(*load()).items():
        first, last = key.split("/")[0], key.split("/")[-1]
        worst[f"{first} {last}"] = max(error, worst.get(f"{first} {last}", 0.0))
    for key, error in worst.items():
        print(f"{key:24s} {error:.1e}")
