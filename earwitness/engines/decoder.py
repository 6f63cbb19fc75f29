"""A lean Qwen2 decoder step over a slotted KV cache, run directly on a model's weights.

The arithmetic is the model's own (``tests/test_engines.py`` holds the logits to 1e-4); what goes is overhead: query,
key and value are one product, gate and up another; rows keep their place in a preallocated cache and join, leave and
move without copying their neighbours; attention groups the query heads of one key head as a short query sequence.

Letters: B rows, T prompt tokens, L cached tokens, C width, Q query heads, K key heads, G = Q / K, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from earwitness.model.packed import PackedLinear, PackedWeight

_CACHE_STEP = 128
"""The cache grows by at least this many tokens, so that growth is rare."""
_KEPT_BYTES = 1 << 29
"""Caches up to this size are kept between calls."""
_CHUNK_TOKENS = 1024
"""Prompts are run in pieces of this many tokens: it bounds the memory of long ones and keeps a CPU's cache warm."""


class _Layer:
    """The weights of one layer; joined matrices share memory with the module's own parameters."""

    def __init__(self, layer: Any):
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.qkv = _weights(projections)
        self.qkv_bias = _join([p.bias for p in projections]) if attention.q_proj.bias is not None else None
        self.out = _weights([attention.o_proj])
        self.gate_up = _weights([mlp.gate_proj, mlp.up_proj])
        self.down = _weights([mlp.down_proj])
        self.norm_in = layer.input_layernorm.weight
        self.norm_mid = layer.post_attention_layernorm.weight
        self.eps = layer.input_layernorm.variance_epsilon
        self.device = self.qkv.device


def _weights(modules: Sequence[Any]) -> Any:
    """Return the weights of linear maps stacked in one, packed where they are."""
    if isinstance(modules[0], PackedLinear):
        return PackedWeight.of(modules, _join)
    return _join([m.weight for m in modules])


def _join(parameters: list[Any]) -> Tensor:
    """Return the parameters stacked in one tensor and make each a view of its part: no second copy, no staleness."""
    rows = [p.shape[0] for p in parameters]
    first = parameters[0].data
    step = 0
    for p in parameters:
        same = p.data.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not same or p.data.storage_offset() != first.storage_offset() + step or not p.data.is_contiguous():
            break
        step += p.numel()
    else:
        return first.as_strided((sum(rows), *first.shape[1:]), first.stride())
    joined = torch.cat([p.data for p in parameters])
    for p, part in zip(parameters, joined.split(rows)):
        p.data = part
    return joined


class Decoder:
    """Runs prompts into the cache and rows one token further. Rows are the slots 0..n-1, without holes."""

    def __init__(self, model: Any, suppressed: Sequence[int] = ()):
        """Read the decoder of an ``AudioReasoner``; ``suppressed`` ids are never chosen.

        Raises:
            ValueError: weights that are not in memory (offloaded or on the meta device).
        """
        config = model.model.config
        if any(p.is_meta for p in model.parameters()):
            raise ValueError(
                "the local engine needs all weights in memory and this model is partly offloaded; load it without "
                "CPU offload, or call model.generate"
            )
        self._model = model
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self._head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.context = config.max_position_embeddings
        self.device = model.model.embed_tokens.weight.device
        self.dtype = model.model.embed_tokens.weight.dtype
        self._suppressed = tuple(i for i in suppressed if i < model.lm_head.weight.shape[0])
        self._caches: list[Tensor] = []
        self._slots = self._length = 0
        self._rope: tuple[Tensor, Tensor] | None = None
        self.refresh()

    @property
    def cache_bytes_per_token(self) -> int:
        """Memory of one cached token over all layers."""
        return len(self._layers) * 2 * self._kv_heads * self._head_dim * self.dtype.itemsize

    def refresh(self) -> None:
        """Look the weights up again, after anything that may have replaced the parameters' storage."""
        with torch.no_grad():
            self._layers = [_Layer(layer) for layer in self._model.model.layers]
        self._embed = self._model.model.embed_tokens.weight
        self._norm, self._eps = self._model.model.norm.weight, self._model.model.norm.variance_epsilon
        self._head = self._model.lm_head.weight
        # Added by the output product itself, so that suppression costs nothing.
        self._head_bias = torch.zeros(self._head.shape[0], dtype=self._head.dtype, device=self._head.device)
        self._head_bias[list(self._suppressed)] = -torch.inf

    # -- cache ---------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def reserve(self, slots: int, length: int) -> None:
        """Make room for this many rows of this many tokens; what is cached stays."""
        if slots <= self._slots and length <= self._length:
            return
        slots, old_length = max(slots, self._slots), self._length
        if length > old_length:
            length = -(-max(length, min(old_length * 3 // 2, self.context)) // _CACHE_STEP) * _CACHE_STEP
        length = max(length, old_length)
        shape = (2, slots, self._kv_heads, length, self._head_dim)
        for i, layer in enumerate(self._layers):
            # Zeros, because attention multiplies even masked values, and 0 * NaN is NaN.
            cache = torch.zeros(shape, dtype=self.dtype, device=layer.device)
            if old_length:
                cache[:, : self._slots, :, :old_length] = self._caches[i]
                self._caches[i] = cache
            else:
                self._caches.append(cache)
        self._slots, self._length = slots, length
        self._extend_rope(length)

    def release(self) -> None:
        """Free the cache."""
        self._caches, self._slots, self._length, self._rope = [], 0, 0, None

    def trim(self) -> None:
        """Free a cache that one unusual call made large."""
        if self._slots * self._length * self.cache_bytes_per_token > _KEPT_BYTES:
            self.release()

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of a row into another slot."""
        for cache in self._caches:
            cache[:, target, :, :length] = cache[:, source, :, :length]

    def _extend_rope(self, length: int) -> None:
        """Tabulate the model's own rotary embedding; the sine is signed so that rotating halves is only a flip."""
        probe = torch.empty(0, dtype=self.dtype, device=self.device)
        cos, sin = self._model.model.rotary_emb(probe, torch.arange(length, device=self.device)[None])
        half = sin.shape[-1] // 2
        self._rope = (cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1))

    # -- compute -------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def embed(self, ids: Sequence[int], patch_id: int, features: Sequence[Tensor]) -> Tensor:
        """Return (T, C): token embeddings with audio features in the placeholders, in order."""
        tokens = torch.tensor(ids, device=self.device)
        embedded = self._embed[tokens]
        if features:
            embedded[tokens == patch_id] = torch.cat([f.to(embedded) for f in features])
        return embedded

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tensor], first_slot: int) -> Tensor:
        """Run prompts (each (T, C)) into the slots from ``first_slot`` on; return the logits (B, V) after each."""
        lengths = [len(p) for p in prompts]
        width = max(lengths)
        self.reserve(first_slot + len(prompts), width)
        if width > _CHUNK_TOKENS:
            return torch.cat([self._prefill_long(p, first_slot + i) for i, p in enumerate(prompts)])
        hidden_BTC = torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True)
        last = torch.tensor(lengths, device=self.device) - 1
        rows = torch.arange(len(prompts), device=self.device)
        slots = slice(first_slot, first_slot + len(prompts))
        # Padding is on the right, where causal attention never looks back from.
        for i, layer in enumerate(self._layers):
            hidden_BTC, rows, last = _to(layer.device, hidden_BTC, rows, last)
            q, k, v = self._project(layer, hidden_BTC, 0)
            self._caches[i][0, slots, :, :width] = k
            self._caches[i][1, slots, :, :width] = v
            heard = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self._heads != self._kv_heads)
            heard = heard.transpose(1, 2)
            if layer is self._layers[-1]:  # only the last position of each row is read
                heard, hidden_BTC = heard[rows, last][:, None], hidden_BTC[rows, last][:, None]
            hidden_BTC = self._finish(layer, hidden_BTC, heard.flatten(2))
        return self._logits(hidden_BTC[:, 0])

    @torch.inference_mode()
    def extend(self, more_TC: Tensor, slot: int, start: int) -> Tensor:
        """Run more of a row after its first ``start`` tokens, which stay; return the logits (V,) after the last."""
        self.reserve(slot + 1, start + len(more_TC))
        return self._prefill_long(more_TC, slot, start)[0]

    def _prefill_long(self, prompt_TC: Tensor, slot: int, start: int = 0) -> Tensor:
        """Run one long prompt in pieces, each attending to what is cached before it."""
        hidden = prompt_TC[None, -1:]
        for piece in prompt_TC[None].split(_CHUNK_TOKENS, 1):
            end = start + piece.shape[1]
            hidden = piece
            for i, layer in enumerate(self._layers):
                (hidden,) = _to(layer.device, hidden)
                q, k, v = self._project(layer, hidden, start)
                cache = self._caches[i]
                cache[0, slot, :, start:end] = k[0]
                cache[1, slot, :, start:end] = v[0]
                positions = torch.arange(end, device=layer.device)
                mask = positions <= positions[start:, None]
                heard = F.scaled_dot_product_attention(
                    q,
                    cache[0, slot : slot + 1, :, :end],
                    cache[1, slot : slot + 1, :, :end],
                    attn_mask=mask,
                    enable_gqa=self._heads != self._kv_heads,
                )
                hidden = self._finish(layer, hidden, heard.transpose(1, 2).flatten(2))
            start = end
        return self._logits(hidden[:, -1])

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], lengths: Sequence[int], slots: Sequence[int] | None = None) -> Tensor:
        """Write one token a row, at position ``lengths[row]``, and return the logits (B, V) after it.

        The rows are the first slots, or those named by ``slots``, whose cached tokens are gathered for every layer.
        """
        count, end = len(tokens), max(lengths) + 1
        self.reserve(count if slots is None else max(slots) + 1, end)
        rows = _rows(count, slots)
        assert self._rope is not None
        length_B = torch.tensor(lengths, device=self.device)
        hidden_BC = F.embedding(torch.tensor(tokens, device=self.device), self._embed)
        cos, sin = self._rope[0][length_B][:, None], self._rope[1][length_B][:, None]
        bias, places = self._attention_bias(length_B, end, min(lengths) + 1), self._places(length_B, slots)
        q_heads, k_heads = self._heads, self._kv_heads
        for i, layer in enumerate(self._layers):
            if layer.device != hidden_BC.device:
                hidden_BC, cos, sin, places = _to(layer.device, hidden_BC, cos, sin, places)
                bias = bias if bias is None else bias.to(layer.device)
            normed = F.rms_norm(hidden_BC, (hidden_BC.shape[-1],), layer.norm_in, layer.eps)
            qkv = F.linear(normed, layer.qkv, layer.qkv_bias).view(count, -1, self._head_dim)
            turned = _rotate(qkv[:, : q_heads + k_heads], cos, sin)
            cache = self._caches[i]
            flat = cache.view(2, -1, self._head_dim)
            flat[0].index_copy_(0, places, turned[:, q_heads:].reshape(-1, self._head_dim))
            flat[1].index_copy_(0, places, qkv[:, q_heads + k_heads :].reshape(-1, self._head_dim))
            heard = F.scaled_dot_product_attention(
                turned[:, :q_heads].unflatten(1, (k_heads, -1)),
                cache[0, rows, :, :end],
                cache[1, rows, :, :end],
                attn_mask=bias,
            )
            hidden_BC = self._finish(layer, hidden_BC, heard.reshape(count, -1))
        return self._logits(hidden_BC)

    def _project(self, layer: _Layer, hidden_BTC: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries and keys, and values: (B, heads, T, D)."""
        normed = F.rms_norm(hidden_BTC, (hidden_BTC.shape[-1],), layer.norm_in, layer.eps)
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias).unflatten(-1, (-1, self._head_dim)).transpose(1, 2)
        assert self._rope is not None
        end = start + hidden_BTC.shape[1]
        cos, sin = _to(layer.device, self._rope[0][start:end], self._rope[1][start:end])
        turned = _rotate(qkv[:, : self._heads + self._kv_heads], cos, sin)
        return turned[:, : self._heads], turned[:, self._heads :], qkv[:, self._heads + self._kv_heads :]

    def _finish(self, layer: _Layer, hidden: Tensor, heard: Tensor) -> Tensor:
        """Return the layer's output from its input and what its attention heard."""
        hidden = hidden + F.linear(heard, layer.out)
        normed = F.rms_norm(hidden, (hidden.shape[-1],), layer.norm_mid, layer.eps)
        gate, up = F.linear(normed, layer.gate_up).chunk(2, -1)
        return hidden + F.linear(F.silu(gate) * up, layer.down)

    def _logits(self, hidden_BC: Tensor) -> Tensor:
        (hidden_BC,) = _to(self._head.device, hidden_BC)
        return F.linear(
            F.rms_norm(hidden_BC, (hidden_BC.shape[-1],), self._norm, self._eps), self._head, self._head_bias
        )

    def _attention_bias(self, length_B: Tensor, end: int, shortest: int) -> Tensor | None:
        """Return (B, 1, 1, end): minus infinity past each row's last token; None if all rows are equally long."""
        if shortest == end:
            return None
        past = torch.arange(end, device=self.device) > length_B[:, None]
        return torch.zeros(past.shape, dtype=self.dtype, device=self.device).masked_fill_(past, -torch.inf)[
            :, None, None
        ]

    def _places(self, length_B: Tensor, slots: Sequence[int] | None) -> Tensor:
        """Return the flat cache positions (B * K,) that this step writes."""
        named = range(len(length_B)) if slots is None else slots
        heads = torch.arange(self._kv_heads, device=self.device)
        first = torch.tensor(list(named), device=self.device)[:, None] * self._kv_heads + heads
        return (first * self._length).flatten() + length_B.repeat_interleave(self._kv_heads)


def _rows(count: int, slots: Sequence[int] | None) -> slice | list[int]:
    """Return what indexes the rows of a cache: a slice where they lie together, which copies nothing."""
    if slots is None:
        return slice(0, count)
    return slice(slots[0], slots[0] + count) if list(slots) == list(range(slots[0], slots[0] + count)) else list(slots)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x * cos + rotate_half(x) * sin`` with the sign of the rotation already in ``sin``."""
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)


def _to(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors on a device; layers of a model may be spread over several."""
    return tensors if tensors[0].device == device else tuple(t.to(device) for t in tensors)
