"""Write tests/golden/losses.npz: inputs, and what verl 0.9.1 and TRL 1.16.0 make of them.

Run as ``python tests/reference/make_losses.py`` where the ``tests-ref`` extra and verl (without its requirements) are:

    pip install -e '.[tests-ref]' && pip install --no-deps verl==0.9.1
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from loss_cases import (  # noqa: E402
    BETA,
    DISCOUNTS,
    GLOBAL,
    GOLDEN,
    QWEN2,
    SMOOTHING,
    TEMPERATURES,
    Tensors,
    qwen2,
    with_gradient,
)

MODES = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean")


def make_inputs(seed: int = 0) -> Tensors:
    """Return random inputs with holes in masks, an empty row, and ratios above 3 under negative advantages."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng)

    rows, length = 8, 24
    lengths = torch.tensor([24, 17, 1, 9, 0, 23, 12, 20])
    mask = torch.arange(length) < lengths[:, None]
    mask[0, 7:12] = mask[5, 0] = mask[5, 20:22] = mask[7, 18:] = False  # another's tokens inside a reply
    old = -normal(rows, length).abs()
    log_ratio = 0.3 * normal(rows, length)
    advantages = normal(rows, length)
    log_ratio[0, :3], advantages[0, :3] = torch.tensor([1.2, 1.5, 2.5]), torch.tensor([-1.0, -0.5, -2.0])
    log_ratio[1, 2], advantages[1, 2] = 1.4, 1.0
    values = 0.5 + 0.3 * normal(rows, length)
    inputs = {
        "mask": mask,
        "rewards": 0.1 * normal(rows, length) * mask,
        "scores": torch.tensor([1.0, 0.8, 0.2, 0.0, 1.0, 0.0, 1.0, 0.2]),
        "values": values,
        "new_values": values + 0.3 * normal(rows, length),
        "returns": normal(rows, length),
        "old_log_probs": old,
        "log_probs": old + log_ratio,
        "advantages": advantages,
        "weights": (0.2 * normal(rows, length)).exp().clamp(max=2),
        "hidden": normal(2, 7, 16),
        "head": 0.5 * normal(61, 16),
        "suppressed": torch.tensor([3, *range(16, 32), 60]),
        "mix": normal(2, 7) / 14,  # as in a mean over tokens
    }
    allowed = torch.tensor([i for i in range(61) if i not in inputs["suppressed"].tolist()])
    inputs["targets"] = allowed[torch.randint(len(allowed), (2, 7), generator=rng)]
    return inputs | dpo_inputs(rng)


def dpo_inputs(rng: torch.Generator) -> Tensors:
    """Return weights of a tiny policy and its reference, and a batch of three pairs as TRL collates it."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    model = Qwen2ForCausalLM(Qwen2Config(**QWEN2))
    inputs = {}
    for name, weight in model.state_dict().items():
        start = 4 * weight if weight.ndim > 1 else weight
        inputs[f"reference/{name}"] = start.clone()
        inputs[f"policy/{name}"] = start + 0.1 * torch.randn(weight.shape, generator=rng)
    prompts, replies = [4, 2, 3], [5, 3, 6, 2, 6, 4]
    rows = [(prompts[i % 3], n) for i, n in enumerate(replies)]  # chosen replies first, then rejected
    starts = [torch.randint(2, QWEN2["vocab_size"], (n,), generator=rng) for n in prompts]
    width = max(p + n for p, n in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    attention, completion = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, (p, n) in enumerate(rows):
        ids[i, :p] = starts[i % 3]
        ids[i, p : p + n] = torch.randint(2, QWEN2["vocab_size"], (n,), generator=rng)
        attention[i, : p + n] = completion[i, p : p + n] = 1
    return inputs | {"dpo/input_ids": ids, "dpo/attention_mask": attention, "dpo/completion_mask": completion}


def reference(inputs: Tensors) -> Tensors:
    """Return what verl and TRL compute."""
    return {**verl_advantages(inputs), **verl_losses(inputs), **trl_head(inputs), **trl_dpo(inputs)}


def verl_advantages(x: Tensors) -> Tensors:
    from verl.trainer.ppo import core_algos
    from verl.utils.torch_functional import masked_whiten

    out, mask = {}, x["mask"].float()
    last = [int(row.nonzero().max()) if row.any() else -1 for row in x["mask"]]
    terminal = torch.zeros_like(x["values"])
    for i, t in enumerate(last):
        if t >= 0:
            terminal[i, t] = x["scores"][i]
    for name, (gamma, lam) in DISCOUNTS.items():
        for kind, rewards in (("dense", x["rewards"]), ("terminal", terminal)):
            white, returns = core_algos.compute_gae_advantage_return(rewards, x["values"], mask, gamma, lam)
            # verl leaves numbers outside the mask; ours are 0 there.
            out |= {f"gae/{name}/{kind}/returns": returns * mask, f"gae/{name}/{kind}/white": white * mask}
    out["whiten/shift"] = masked_whiten(x["values"], mask) * mask
    out["whiten/scale"] = masked_whiten(x["values"], mask, shift_mean=False) * mask
    return out


def verl_losses(x: Tensors) -> Tensors:
    from verl.trainer.ppo import core_algos
    from verl.workers.config import ActorConfig

    out, mask = {}, x["mask"].float()
    common = (x["old_log_probs"],)
    for name, dual in (("plain", 1e9), ("dual", 3.0)):
        for mode in MODES:
            new = x["log_probs"].clone().requires_grad_()
            loss, clipped, kl, lower = core_algos.compute_policy_loss(
                *common, new, x["advantages"], mask, 0.2, clip_ratio_c=dual, loss_agg_mode=mode
            )
            loss, grad = with_gradient(loss, new)
            out |= {f"policy/{name}/{mode}/loss": loss, f"policy/{name}/{mode}/grad": grad}
        out |= {f"policy/{name}/clip_fraction": clipped, f"policy/{name}/kl": kl.detach()}
        out[f"policy/{name}/dual_fraction"] = lower
    config = ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, clip_ratio_low=0.2, clip_ratio_high=0.28
    )
    out["policy/weighted/loss"], _ = core_algos.compute_policy_loss_vanilla(
        *common, x["log_probs"], x["advantages"], mask, "token-mean", config, x["weights"]
    )
    new = x["new_values"].clone().requires_grad_()
    loss, clipped = core_algos.compute_value_loss(new, x["returns"], x["values"], mask, 0.2)
    out["value/loss"], out["value/grad"] = with_gradient(loss, new)
    out["value/clip_fraction"] = clipped
    for mode in MODES:
        out[f"aggregate/{mode}/local"] = core_algos.agg_loss(x["values"], mask, mode)
        out[f"aggregate/{mode}/global"] = core_algos.agg_loss(
            x["values"], mask, mode, GLOBAL["ranks"], GLOBAL["num_tokens"], GLOBAL["num_sequences"]
        )
    return out


def trl_head(x: Tensors) -> Tensors:
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    out = {}
    silent = x["suppressed"].tolist()
    for kind, allowed in (("all", list(range(61))), ("suppressed", [i for i in range(61) if i not in silent])):
        # Suppressed ids are left out of the vocabulary altogether, so targets get new numbers.
        number = torch.full((61,), -1)
        number[allowed] = torch.arange(len(allowed))
        targets = number[x["targets"]] if kind == "suppressed" else x["targets"]
        for name, temperature in TEMPERATURES.items():
            hidden, weight = (x[k].clone().requires_grad_() for k in ("hidden", "head"))
            logits = (hidden @ weight.t())[..., allowed]
            log_probs = selective_log_softmax(logits, targets, temperature)
            entropy = entropy_from_logits(logits / temperature)
            loss = (log_probs * x["mix"]).sum() + (entropy * x["mix"].flip(0)).sum()
            _, grad_hidden, grad_weight = with_gradient(loss, hidden, weight)
            key = f"head/{name}/{kind}"
            out |= {f"{key}/log_probs": log_probs.detach(), f"{key}/entropy": entropy.detach()}
            out |= {f"{key}/grad_hidden": grad_hidden, f"{key}/grad_head": grad_weight}
    return out


def trl_dpo(inputs: Tensors) -> Tensors:
    """Run TRL's DPO trainer on the batch, and, pair by pair, its loss with smoothed labels.

    TRL's smoothed sigmoid loss is called ``aot`` there: with one pair, which needs no sorting, they are the same.
    """
    batch = {k.removeprefix("dpo/"): v for k, v in inputs.items() if k.startswith("dpo/")}
    plain = run_dpo_trainer(inputs, batch)
    out = {f"dpo/plain/{k}": v for k, v in plain.items()}
    pairs = len(batch["input_ids"]) // 2
    singles = []
    for i in range(pairs):
        pair = {k: v[[i, i + pairs]] for k, v in batch.items()}
        singles.append(run_dpo_trainer(inputs, pair, loss_type=["aot"], label_smoothing=SMOOTHING))
    return out | {f"dpo/smoothed/{k}": sum(s[k] for s in singles) / pairs for k in plain}


def run_dpo_trainer(inputs: Tensors, batch: Tensors, **settings: object) -> Tensors:
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = {"<pad>": 0, "<end>": 1, **{f"w{i}": i for i in range(2, QWEN2["vocab_size"])}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            folder, beta=BETA, use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False, **settings
        )
        trainer = DPOTrainer(
            model=qwen2(inputs, "policy"),
            ref_model=qwen2(inputs, "reference"),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": ["w2"], "chosen": ["w3"], "rejected": ["w4"]}),
            processing_class=PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>"),
        )
        model = trainer.model
        leaves = (model.lm_head.weight, model.model.layers[0].self_attn.q_proj.weight)
        loss, grad_head, grad_query = with_gradient(trainer.compute_loss(model, dict(batch)), *leaves)
        logged = trainer._metrics["train"]
    names = [f"rewards/{k}" for k in ("chosen", "rejected", "accuracies", "margins")]
    metrics = {name: torch.tensor(logged[name][-1]) for name in names}
    return {"loss": loss, "grad_head": grad_head, "grad_query": grad_query, **metrics}


def main() -> None:
    inputs = make_inputs()
    outputs = reference(inputs)
    arrays = {f"in/{k}": v.numpy() for k, v in inputs.items()}
    arrays |= {f"ref/{k}": torch.as_tensor(v).detach().numpy() for k, v in outputs.items()}
    np.savez_compressed(GOLDEN, **arrays)
    print(f"{GOLDEN}: {len(inputs)} inputs, {len(outputs)} outputs, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
