"""What serving a model needs of a card, by scheme: weights, KV cache and activations, from shapes alone.

Letters: N tokens of one forward pass, H decoder width, F width of its MLP, K width of all keys, V vocabulary, E encoder
frames, D encoder width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from earwitness.model.config import EarwitnessConfig
from earwitness.model.packed import DEFAULT_GROUP, PACKED_KEYS, Scheme

SCHEMES = {"16 bit": None, "fp8": Scheme("fp8"), "int8": Scheme("int8"), "int4": Scheme("int4", DEFAULT_GROUP)}
"""What the weights may be, the most exact first; the ones behind a name are those that ``quantize`` writes."""
CARDS = {"16 GB": 16e9, "24 GB": 24e9, "32 GB": 32e9, "48 GB": 48e9, "80 GB": 80e9, "96 GB": 96e9, "141 GB": 141e9}
"""Nominal sizes, 1 GB = 1e9 bytes. A card has some 7 % more, which is left to the driver, kernels and fragmentation."""
_CACHE_STEP = 128  # as engines/decoder.py makes its cache grow
_ENCODER_FRAMES = 6000  # at 50 Hz, of one batch: half of reasoner's _FRAMES_A_BATCH mel frames
_PIECE_VALUES = 1 << 26  # of a weight at once on a card, as in model/packed.py


@dataclass(frozen=True)
class Load:
    """What is served."""

    context: int
    """Tokens of every conversation, prompt and reply."""
    concurrency: int = 1
    """Conversations at a time."""
    prefill_tokens: int = 8192
    """Prompt tokens of one forward pass: the default of ``LocalEngine`` and of vLLM on a large card."""
    value_bytes: int = 2
    """Of what is not packed, of the cache and of activations: 2 for bfloat16, 4 for float32."""

    def check(self, config: EarwitnessConfig) -> None:
        """Raise ``ValueError`` for what the model cannot serve."""
        most = config.text_config.max_position_embeddings
        if not 1 <= self.context <= most:
            raise ValueError(f"the model reads 1 to {most} tokens and --context is {self.context}; change it")
        if self.concurrency < 1:
            raise ValueError(f"--concurrency {self.concurrency} serves nobody; give 1 or more")


def shapes(config: EarwitnessConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a model, under its published key."""
    from earwitness.model.reasoner import AudioReasoner

    with torch.device("meta"):
        return {name: tuple(p.shape) for name, p in AudioReasoner(config).named_parameters()}


def weight_bytes(weights: dict[str, tuple[int, ...]], scheme: Scheme | None, value_bytes: int = 2) -> int:
    """Return the bytes of a model's weights; ``scheme`` None leaves all of them unpacked."""
    dtype = {2: torch.bfloat16, 4: torch.float32}[value_bytes]
    return sum(
        scheme.num_bytes(shape, dtype)
        if scheme is not None and PACKED_KEYS.fullmatch(name)
        else torch.Size(shape).numel() * value_bytes
        for name, shape in weights.items()
    )


def cache_bytes(config: EarwitnessConfig, load: Load) -> int:
    """Return the bytes of the KV cache of all conversations at their full length."""
    text = config.text_config
    heads = int(text.num_key_value_heads or text.num_attention_heads)
    width = text.hidden_size // text.num_attention_heads * heads
    tokens = -(-load.context // _CACHE_STEP) * _CACHE_STEP
    return load.concurrency * tokens * text.num_hidden_layers * 2 * width * load.value_bytes


def activation_bytes(config: EarwitnessConfig, scheme: Scheme | None, load: Load) -> int:
    """Return the most bytes of activations at one time: in the MLP, in attention, at the head or in the encoder.

    MLP: the stream, its norm, gate and up, the activated gate and the product. Attention: stream, norm, query, key and
    value, and the two that are rotated. Head: logits and two float32 copies while sampling. Layers also have room for
    two copies of a piece of their largest matrix, which kernels reorder and packed layers unpack; int8 and fp8 keep a
    rounded copy of their input.
    """
    text, audio = config.text_config, config.audio
    H, F, V = text.hidden_size, text.intermediate_size, text.vocab_size
    K = H // text.num_attention_heads * int(text.num_key_value_heads or text.num_attention_heads)
    N = min(load.prefill_tokens, load.context * load.concurrency)
    mlp = N * (2 * H + 4 * F) * load.value_bytes
    attention = N * (2 * H + 2 * (H + K) + K + H) * load.value_bytes
    head = load.concurrency * V * (load.value_bytes + 2 * 4)
    encoder = _ENCODER_FRAMES * audio.state * (2 + 2 * 4) * load.value_bytes
    work = 2 * min(_PIECE_VALUES, H * 2 * F) * load.value_bytes
    if scheme is not None and scheme.name != "int4":
        work += N * F * load.value_bytes
    return max(max(mlp, attention) + work, head, encoder)


def needs(
    config: EarwitnessConfig, weights: dict[str, tuple[int, ...]], scheme: Scheme | None, load: Load
) -> dict[str, int]:
    """Return bytes by kind, with their ``total``."""
    size = {
        "weights": weight_bytes(weights, scheme, load.value_bytes),
        "KV cache": cache_bytes(config, load),
        "activations": activation_bytes(config, scheme, load),
    }
    return {**size, "total": sum(size.values())}


def cache_tokens(config: EarwitnessConfig, sizes: dict[str, int], card_bytes: float) -> int:
    """Return how many cached tokens, over all conversations, a card has room for beside the rest; 0 if none."""
    one = cache_bytes(config, Load(_CACHE_STEP)) // _CACHE_STEP
    return max(0, int(card_bytes - sizes["weights"] - sizes["activations"]) // one)
