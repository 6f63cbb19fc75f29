"""Decoder layers whose weights stay packed in memory: int8, int4 or fp8, as compressed-tensors lays them out.

A piece of a weight is unpacked where it is multiplied and dropped again, so that memory holds the packed weights, one
piece and no more. Encoder, adaptor, embeddings, norms and head are as ever. ``model.quantize`` writes such folders.

The arithmetic is the one that the checkpoint states and that vLLM computes: int8 and fp8 also round the input of every
layer, token by token; int4 does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAMES = ("int8", "int4", "fp8")
PACKED_KEYS = re.compile(r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight")
"""Keys of the weights that a scheme packs: the seven matrices of every decoder layer."""
DEFAULT_GROUP = 32
"""Columns that share a scale in int4, unless another number is asked for."""
_PER_INT32 = 8  # int4 values in an int32
_FORMATS = {"int8": "int-quantized", "int4": "pack-quantized", "fp8": "float-quantized"}
_PIECE_VALUES = {"cpu": 1 << 20}  # 4 MB in float32: near a core's cache
_PIECE_ELSEWHERE = 1 << 26
_ROUNDED_AT_ONCE = 1 << 19  # values of an input: five copies of them in float32
# As vLLM rounds inputs: the largest value of a token becomes the largest of the type.
_INPUT_LARGEST = {"int8": 127.0, "fp8": 448.0}


@dataclass(frozen=True)
class Scheme:
    """How decoder weights (rows, columns) are stored."""

    name: str
    """One of ``NAMES``."""
    group_size: int = 0
    """Columns that share a scale; 0 for whole rows."""

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"scheme {self.name!r} is not one of {', '.join(NAMES)}")
        if self.group_size and (self.name != "int4" or self.group_size % _PER_INT32 or self.group_size < 0):
            raise ValueError(f"group size {self.group_size} cannot be used; give a multiple of 8, with int4 only")

    @property
    def format(self) -> str:
        """What compressed-tensors calls this layout."""
        return _FORMATS[self.name]

    @property
    def stored(self) -> tuple[str, str]:
        """Names of the packed values and of their scales, inside a layer."""
        return ("weight_packed" if self.name == "int4" else "weight"), "weight_scale"

    def check(self, key: str, columns: int) -> None:
        """Raise ``ValueError`` for a weight that cannot be cut into groups."""
        if self.name == "int4" and columns % (self.group_size or _PER_INT32):
            raise ValueError(
                f"{key} has {columns} columns, which are not a multiple of the group size "
                f"{self.group_size or _PER_INT32}; give another --group-size"
            )

    def tensors(self, shape: Sequence[int], dtype: torch.dtype) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and dtype of what a weight of ``shape`` (rows, columns) and a ``dtype`` is stored as."""
        rows, columns = shape
        values, scale = self.stored
        if self.name == "int4":
            groups = columns // self.group_size if self.group_size else 1
            return {
                values: ((rows, columns // _PER_INT32), torch.int32),
                scale: ((rows, groups), dtype),
                "weight_shape": ((2,), torch.int64),
            }
        kind = torch.int8 if self.name == "int8" else torch.float8_e4m3fn
        return {values: ((rows, columns), kind), scale: ((rows, 1), torch.float32)}

    def num_bytes(self, shape: Sequence[int], dtype: torch.dtype = torch.bfloat16) -> int:
        """Return the bytes of a stored weight."""
        return sum(torch.Size(s).numel() * d.itemsize for s, d in self.tensors(shape, dtype).values())


def scheme_of(fields: dict[str, Any] | None) -> Scheme | None:
    """Return the scheme of a config's ``quantization_config``; None where there is none.

    Raises ``ValueError`` for a layout that is not one of ours.
    """
    if not fields:
        return None
    groups = list((fields.get("config_groups") or {}).values())
    weights = (groups[0].get("weights") or {}) if groups else {}
    kind = {"int": "int", "float": "fp"}.get(str(weights.get("type")), "") + str(weights.get("num_bits"))
    inputs = groups[0].get("input_activations") if groups else None
    whole = weights.get("symmetric") is True and not weights.get("actorder") and not fields.get("kv_cache_scheme")
    is_known = len(groups) == 1 and kind in NAMES and whole and fields.get("format") == _FORMATS[kind]
    is_known = is_known and fields.get("quant_method") == "compressed-tensors" and bool(inputs) == (kind != "int4")
    is_known = is_known and (inputs is None or (inputs.get("dynamic") is True and inputs.get("strategy") == "token"))
    strategy = str(weights.get("strategy"))
    if not is_known or strategy not in (("channel", "group") if kind == "int4" else ("channel",)):
        raise ValueError(
            f"the weights are quantised in a way that is not read here ({fields.get('quant_method')}, "
            f"{fields.get('format')}); quantise the original checkpoint with earwitness quantize"
        )
    return Scheme(kind, int(weights["group_size"]) if strategy == "group" else 0)


def pack(decoder: nn.Module, fields: dict[str, Any] | None) -> None:
    """Replace the linear maps of a decoder's layers by ``PackedLinear`` where a config states a scheme."""
    scheme = scheme_of(fields)
    if scheme is None:
        return
    for name, module in list(decoder.named_modules()):
        if isinstance(module, nn.Linear) and PACKED_KEYS.fullmatch(f"model.{name}.weight"):
            parent, _, last = name.rpartition(".")
            scheme.check(name, module.in_features)
            packed = PackedLinear(scheme, module.in_features, module.out_features, module.bias is not None)
            setattr(decoder.get_submodule(parent), last, packed)


class PackedLinear(nn.Module):
    """A linear map whose weight stays packed; its tensors have the names of the checkpoint."""

    def __init__(self, scheme: Scheme, columns: int, rows: int, bias: bool) -> None:
        super().__init__()
        self.scheme, self.in_features, self.out_features = scheme, columns, rows
        for name, (shape, dtype) in scheme.tensors((rows, columns), torch.get_default_dtype()).items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False))
        self.bias = nn.Parameter(torch.zeros(rows), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., rows) of (..., columns)."""
        values, scale = (getattr(self, name) for name in self.scheme.stored)
        return linear(x, PackedWeight(self.scheme, values, scale), self.bias)

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(model)``."""
        return f"{self.in_features}, {self.out_features}, {self.scheme}"


class PackedWeight:
    """A packed weight that ``torch.nn.functional.linear`` takes in the place of a tensor."""

    def __init__(self, scheme: Scheme, values: Tensor, scale: Tensor) -> None:
        """Take the two tensors of a ``PackedLinear``, or of several stacked by rows."""
        self.scheme, self.values, self.scale = scheme, values, scale
        self.rows = values.shape[0]
        self.columns = values.shape[1] * (_PER_INT32 if scheme.name == "int4" else 1)
        self.device = values.device

    @classmethod
    def of(cls, modules: Sequence[PackedLinear], join: Callable[[list[Any]], Tensor]) -> PackedWeight:
        """Return the weights of several layers stacked by rows; ``join`` stacks the tensors of one name."""
        scheme = modules[0].scheme
        return cls(scheme, *(join([getattr(m, name) for m in modules]) for name in scheme.stored))

    def unpacked(self, start: int, end: int, dtype: torch.dtype) -> Tensor:
        """Return the rows from ``start`` to ``end`` as (end - start, columns) of a ``dtype``."""
        values, scale = self.values[start:end], self.scale[start:end].to(dtype)
        if self.scheme.name != "int4":
            return values.to(dtype).mul_(scale)
        # The lowest bits hold the first value; processors that torch runs on store them in the first byte.
        bytes_RB = values.view(torch.uint8)
        pairs = torch.stack([bytes_RB & 15, bytes_RB >> 4], -1).flatten(1).to(dtype).sub_(8)
        return pairs.view(*scale.shape, -1).mul_(scale[..., None]).flatten(1)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Multiply with the packed weight; nothing else is done to one."""
        return linear(*args, **(kwargs or {})) if func is F.linear else NotImplemented


def linear(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, unpacking one piece of the weight after another."""
    x = _rounded(x, weight.scheme)
    at_once = max(1, _PIECE_VALUES.get(weight.device.type, _PIECE_ELSEWHERE) // weight.columns)
    if weight.rows <= at_once:
        return F.linear(x, weight.unpacked(0, weight.rows, x.dtype), bias)
    out = x.new_empty(*x.shape[:-1], weight.rows)
    for start in range(0, weight.rows, at_once):
        end = min(start + at_once, weight.rows)
        piece = weight.unpacked(start, end, x.dtype)
        out[..., start:end] = F.linear(x, piece, None if bias is None else bias[start:end])
    return out


def _rounded(x: Tensor, scheme: Scheme) -> Tensor:
    """Return the input as the scheme rounds it: each token by its own largest value."""
    largest = _INPUT_LARGEST.get(scheme.name)
    if largest is None:
        return x
    at_once = max(1, _ROUNDED_AT_ONCE // x.shape[-1])
    pieces = []
    for piece in x.flatten(0, -2).split(at_once):
        scale = piece.float().abs().amax(-1, keepdim=True).clamp(min=1e-12) / largest
        scaled = piece.float() / scale
        kept = scaled.round() if scheme.name == "int8" else scaled.to(torch.float8_e4m3fn).float()
        pieces.append((kept * scale).to(x.dtype))
    return torch.cat(pieces).view(x.shape)
