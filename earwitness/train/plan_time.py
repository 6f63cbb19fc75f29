"""How long a step takes: arithmetic over a card's peak, bytes over a link's, times assumed efficiencies.

These are estimates to compare choices with, not measurements; ``assumptions`` says what they rest on.
"""

from __future__ import annotations

from earwitness.train import plan_memory as memory
from earwitness.train.plan import CARDS_A_NODE, Card, Job, Model, engine_rows
from earwitness.train.plan_memory import BFLOAT16, FLOAT32

UTILISATION = 0.4
"""Assumed share of a card's peak arithmetic."""
EFFICIENCY = 0.8
"""Assumed share of a link's and of the memory's peak."""


def forward_flops(model: Model, tokens: int, sequence: int, head: bool) -> float:
    """Return the arithmetic of a forward pass: 2 a matrix value and token, and causal attention.

    Scores and their sums over values take 2 products of H each with all tokens before, half of ``sequence`` on
    average: 2 x sequence x H a token and layer. The head counts for all tokens, as if all were learned.
    """
    text = model.config.text_config
    *_, parts = model.modules.values()
    matrices = memory.total(p for p in parts if p.layer is not None and len(p.shape) == 2)
    attention = 2 * sequence * text.hidden_size * text.num_hidden_layers
    return tokens * (2.0 * matrices + attention + (2.0 * text.vocab_size * text.hidden_size if head else 0.0))


def backward_flops(model: Model, job: Job, tokens: int, name: str) -> float:
    """Return the arithmetic of a backward pass: twice the forward one, once where weights are frozen (LoRA).

    The head's products are computed a second time (``losses.head``), and with checkpointing those of the layers too.
    """
    inner = forward_flops(model, tokens, job.sequence, head=False)
    head = forward_flops(model, tokens, job.sequence, head=name != "critic") - inner
    times = 1 if all(not p.trained for p in model.modules[name] if ".lora_" not in p.name) else 2
    return (times + job.activation_checkpointing) * inner + (times + 1) * head


def step_seconds(model: Model, job: Job, card: Card) -> dict[str, float]:
    """Return estimated seconds of a step by phase, in order; a phase's arithmetic hides its gathering.

    ``sampling`` is only there for an engine on the same cards.
    """
    out: dict[str, float] = {}
    if job.has_engine:
        out["sampling"] = _sampling(model, job, card)
    if job.stage == "rlvr":
        out["scoring"] = sum(_phase(model, job, card, name, job.passes(1), learn=False) for name in model.modules)
    for name in reversed(list(model.modules)):  # actor before critic
        updates = job.updates(name)
        label = "update" if name == "policy" else name
        out[label] = updates * _phase(model, job, card, name, job.passes(updates), learn=True)
    return out


def tokens_a_step(job: Job) -> int:
    """Return the tokens of a step over all ranks."""
    return job.batch * job.samples * job.sequence * (2 if job.stage == "dpo" else 1)


def assumptions(job: Job, card: str, found: Card) -> list[str]:
    """Return what the estimate rests on, a sentence each."""
    out = [
        f"{card}: {UTILISATION:.0%} of {found.bf16_flops / 1e12:.0f} TFLOP/s in bfloat16; every row has "
        f"{job.sequence:,} tokens, all of them learned."
    ]
    if job.split.is_sharded:
        out.append(
            f"Links at {EFFICIENCY:.0%} of their peak: {found.link / 1e9:.0f} GB/s a card inside a node of "
            f"{CARDS_A_NODE}, {found.network / 1e9:.0f} GB/s a card between nodes; gathering overlaps with arithmetic, "
            "sums over tensor ranks do not."
        )
    if job.muon:
        out.append("What Muon computes, and gathers for it, is not counted.")
    if job.has_engine:
        out.append(
            "The local engine computes in float32: each token reads its weights and half of a full cache at "
            f"{EFFICIENCY:.0%} of {found.memory_bandwidth / 1e12:.1f} TB/s, or computes at {UTILISATION:.0%} of "
            f"{found.float32_flops / 1e12:.0f} TFLOP/s, whichever is slower."
        )
    elif job.stage == "rlvr":
        out.append("Sampling is left out; the stage itself has no engine on other cards, only the local one.")
    return out


def _phase(model: Model, job: Job, card: Card, name: str, passes: tuple[int, int], learn: bool) -> float:
    """Return seconds of one update of a module, or of scoring with it."""
    number, tokens = passes
    parts, split = model.modules[name], job.split
    flops = forward_flops(model, tokens, job.sequence, head=name != "critic")
    flops += backward_flops(model, job, tokens, name) if learn else 0.0
    arithmetic = number * flops / split.tensor_parallel / (UTILISATION * card.bf16_flops)
    layers = memory.total(p for p in parts if p.layer is not None)
    gathered = BFLOAT16 * (memory.total(parts) + (layers if learn else 0)) * number
    reduced = FLOAT32 * memory.total(p for p in parts if p.trained) * number if learn else 0
    # Two sums a layer forward, two backward, and the forward ones again where layers are computed again.
    sums = 2 * (1 + (1 + job.activation_checkpointing if learn else 0)) * model.config.text_config.num_hidden_layers
    ring = 2 * (split.tensor_parallel - 1) / split.tensor_parallel
    summed = number * sums * ring * tokens * model.config.text_config.hidden_size * BFLOAT16
    return max(arithmetic, _transfer(job, card, gathered + reduced)) + summed / (EFFICIENCY * card.link)


def _transfer(job: Job, card: Card, whole_bytes: float) -> float:
    """Return seconds in which every rank gets its tensor rank's share of ``whole_bytes``, or gives it away.

    Between nodes a node takes in all of it once, through the adapters of all its cards.
    """
    if job.split.data == 1:
        return 0.0
    if job.split.gpus <= CARDS_A_NODE:
        return whole_bytes / job.split.tensor_parallel / (EFFICIENCY * card.link)
    return whole_bytes / (EFFICIENCY * card.network * CARDS_A_NODE)


def _sampling(model: Model, job: Job, card: Card) -> float:
    """Return seconds in which a rank's engine gets the new weights and samples its replies, all of full length."""
    at_once = engine_rows(model, job, card)
    waves = -(-job.rows // at_once)
    cached = at_once * job.sequence / 2 * memory.cache_bytes_per_token(model.config)
    reading = (FLOAT32 * memory.total(model.whole) + cached) / (EFFICIENCY * card.memory_bandwidth)
    computing = forward_flops(model, at_once, job.sequence, head=True) / (UTILISATION * card.float32_flops)
    *_, policy = model.modules.values()
    weights = _transfer(job, card, FLOAT32 * memory.total(policy))
    return weights + waves * job.sequence * max(reading, computing)
