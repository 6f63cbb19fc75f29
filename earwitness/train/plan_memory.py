"""Bytes that training keeps on a card, computed from shapes: nothing is allocated and no card is needed.

Parameters, gradients and optimiser states are float32 and cut over the ranks; what is gathered to compute with is
bfloat16. One process alone cuts and gathers nothing: autocast then keeps a bfloat16 copy of its matrices.

Letters: N tokens of a forward pass, H decoder width, F width of its MLP, K width of all keys, V vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import nn

from earwitness.losses.head import TOKEN_PIECE, VOCAB_PIECE
from earwitness.model.config import EarwitnessConfig

FLOAT32, BFLOAT16 = 4, 2
# As train/sharding.py cuts them; a test holds the two together.
_BY_OUTPUT = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_BY_INPUT = ("o_proj", "down_proj")
_OUTER = ("embed", "head", "lora_")  # as train/learner.py tells them from inner matrices


class Part(NamedTuple):
    """A parameter."""

    name: str
    shape: tuple[int, ...]
    trained: bool
    layer: int | None
    """Number of the decoder layer that it belongs to; None in the root, which FSDP2 gathers as one."""


def parts_of(module: nn.Module) -> list[Part]:
    """Return the parameters of a module, such as one on the meta device."""
    found = []
    for name, p in module.named_parameters():
        place = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
        found.append(Part(name, tuple(p.shape), p.requires_grad, int(place[1]) if place else None))
    return found


def total(parts: Iterable[Part]) -> int:
    """Return the values of parameters."""
    return sum(math.prod(part.shape) for part in parts)


@dataclass(frozen=True)
class Split:
    """How ranks share a module: ``gpus`` over ``data`` times ``tensor_parallel``."""

    gpus: int = 1
    tensor_parallel: int = 1

    def __post_init__(self) -> None:
        if self.gpus < 1 or self.tensor_parallel < 1 or self.gpus % self.tensor_parallel:
            raise ValueError(
                f"tensor_parallel {self.tensor_parallel} does not divide {self.gpus} GPUs; choose one that does"
            )

    @property
    def data(self) -> int:
        """Ranks over which batches and parameters are split."""
        return self.gpus // self.tensor_parallel

    @property
    def is_sharded(self) -> bool:
        """False for one process, which keeps its module whole."""
        return self.gpus > 1

    def values(self, part: Part) -> np.ndarray:
        """Return how many values of a parameter each data rank keeps, (data,) int64.

        A matrix of a layer is first cut over the tensor ranks, by rows of its (out, in) matrix or by columns. Then
        FSDP2 cuts the first dimension into chunks of ceil(rows / ranks); the last rank with any has what is left, and
        ranks after it have nothing (``torch.chunk``).
        """
        first, rest = part.shape[0], math.prod(part.shape[1:])
        words = part.name.split(".")
        if any(word in words for word in _BY_OUTPUT):
            first = -(-first // self.tensor_parallel)
        elif any(word in words for word in _BY_INPUT):
            rest = -(-rest // self.tensor_parallel)
        chunk = -(-first // self.data)
        return np.clip(first - chunk * np.arange(self.data), 0, chunk) * rest

    def whole(self, parts: Iterable[Part]) -> int:
        """Return the values of parameters that a rank computes with: all of its tensor rank's share."""
        alone = Split(self.tensor_parallel, self.tensor_parallel)
        return sum(int(alone.values(part)[0]) for part in parts)

    def kept(self, parts: Iterable[Part]) -> np.ndarray:
        """Return how many values of parameters each data rank keeps, (data,) int64."""
        return sum((self.values(part) for part in parts), np.zeros(self.data, dtype=np.int64))


def weights(parts: Sequence[Part], split: Split) -> np.ndarray:
    """Return the bytes of the parameters that each data rank keeps: 4 a value (``stages.start.published``)."""
    return FLOAT32 * split.kept(parts)


def gradients(parts: Sequence[Part], split: Split) -> np.ndarray:
    """Return the bytes of the gradients of each data rank, 4 a trained value."""
    return FLOAT32 * split.kept([part for part in parts if part.trained])


def optimiser_states(parts: Sequence[Part], split: Split, muon: bool) -> np.ndarray:
    """Return the bytes of the optimiser states of each data rank.

    AdamW keeps two float32 values a parameter value, and a step count of 4 bytes a tensor; Muon one value, for the
    matrices inside the network (``train.learner.make_optimisers``).
    """
    trained = [part for part in parts if part.trained]
    matrices = [p for p in trained if muon and len(p.shape) == 2 and not any(word in p.name for word in _OUTER)]
    names = {part.name for part in matrices}
    rest = [part for part in trained if part.name not in names]
    return FLOAT32 * (split.kept(matrices) + 2 * split.kept(rest) + len(rest))


def layer_activations(config: EarwitnessConfig, split: Split) -> int:
    """Return the bytes a token that one decoder layer keeps for its backward pass, attention without a mask.

    Counted in transformers' Qwen2: two norms (float32 input, bfloat16 normalised, scale), inputs of the linear maps,
    query, key, value, attended and its log-sum-exp, and four of the MLP's width. A test compares it with what
    autograd saves. Tensor parallelism cuts heads and MLP; the stream between them is whole on every rank.
    """
    text = config.text_config
    H, F, heads = text.hidden_size, text.intermediate_size, text.num_attention_heads
    K = H // heads * key_heads(config)
    # Alone, the stream is float32 and autocast makes a bfloat16 copy of it for each of five linear maps.
    whole = 2 * (6 * H + 4) + 4 * H if split.is_sharded else 2 * (8 * H + 4) + 10 * H
    return whole + (4 * H + 4 * K + 8 * F + 4 * heads) // split.tensor_parallel


def activations(config: EarwitnessConfig, split: Split, tokens: int, checkpointing: bool, head: bool) -> int:
    """Return the most bytes of activations at one time in the backward pass of N = ``tokens`` tokens.

    Kept from the forward pass: with checkpointing the input of every layer, else all of ``layer_activations``; and
    around the head the last norm, the learned tokens' states and their gradient. On top of it comes the larger of two
    moments: the head (three pieces of logits, ``losses.head``) or one layer (computed again, and its gradients).

    Args:
        config: of the model.
        split: over the ranks.
        tokens: N, padding included.
        checkpointing: ``compute.activation_checkpointing``.
        head: whether the module has a vocabulary head (policy) or none (critic).
    """
    text = config.text_config
    H, F, V, stream = text.hidden_size, text.intermediate_size, text.vocab_size, _stream_bytes(split)
    layer = layer_activations(config, split)
    kept = text.num_hidden_layers * (stream * H if checkpointing else layer) * tokens + 2 * stream * H * tokens
    backward = max(3 * BFLOAT16 * F // split.tensor_parallel, 3 * FLOAT32 * H) + 2 * stream * H
    in_layer = (backward + (layer if checkpointing else 0)) * tokens
    in_head = (FLOAT32 + BFLOAT16 + stream + FLOAT32 + stream) * H * tokens
    if head:
        in_head += 3 * FLOAT32 * min(tokens, TOKEN_PIECE) * min(V, VOCAB_PIECE) + FLOAT32 * min(V, VOCAB_PIECE) * H
    return kept + max(in_head, in_layer)


def gathered(parts: Sequence[Part], split: Split) -> int:
    """Return the most bytes of whole parameters and gradients that stand on a rank for a moment while it computes.

    The root (embeddings, head, adaptor) stays gathered from forward to backward. Of the layers there are three: the
    one in use, the next, and the buffer in which it arrived. In the backward pass a layer's gradients are there in
    bfloat16 and, while two layers are being reduced, twice in float32. At the end the root's are reduced, when the
    layers are gone. One process has autocast's bfloat16 copies of all matrices instead, until the backward pass.
    """
    if not split.is_sharded:
        return BFLOAT16 * split.whole(part for part in parts if len(part.shape) > 1)
    layer, root = [p for p in parts if p.layer == 0], [p for p in parts if p.layer is None]
    learning, learning_root = (split.whole(p for p in some if p.trained) for some in (layer, root))
    in_layers = 3 * BFLOAT16 * split.whole(layer) + (BFLOAT16 + 2 * FLOAT32) * learning + BFLOAT16 * learning_root
    at_end = (BFLOAT16 + FLOAT32) * learning_root
    return BFLOAT16 * split.whole(root) + max(in_layers, at_end)


def cache_bytes_per_token(config: EarwitnessConfig, value_bytes: int = FLOAT32) -> int:
    """Return the bytes of one cached token over all layers: a key and a value of every key head.

    ``LocalEngine`` caches in the dtype of its weights, which in training is float32.
    """
    text = config.text_config
    head = text.hidden_size // text.num_attention_heads
    return text.num_hidden_layers * 2 * key_heads(config) * head * value_bytes


def key_heads(config: EarwitnessConfig) -> int:
    """Return the key-value heads of a decoder layer."""
    return int(config.text_config.num_key_value_heads or config.text_config.num_attention_heads)


def _stream_bytes(split: Split) -> int:
    """Return the bytes of a value of the residual stream, which has the dtype of the gathered embeddings."""
    return BFLOAT16 if split.is_sharded else FLOAT32
