"""A published checkpoint with its decoder's matrices in int8, int4 or fp8, in compressed-tensors' layouts.

Both ``AudioReasoner`` (``model.packed``) and vLLM read the result. One tensor is read at a time and a large one is
rounded piece by piece, so that memory holds one output shard, and not the 67 GB of the large model. No calibration
data is needed.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from earwitness.model import checkpoint
from earwitness.model.config import EarwitnessConfig
from earwitness.model.packed import PACKED_KEYS, Scheme

_PIECE_VALUES = 1 << 22
_LEFT_ALONE = ("lm_head", r"re:.*lm_head$", r"re:(.*\.)?encoder\..*", r"re:(.*\.)?adapter\..*")


@dataclass(frozen=True)
class Conversion:
    """What a conversion does, known from the files' headers alone."""

    scheme: Scheme
    bytes_before: int
    bytes_after: int
    values_packed: int
    values_all: int
    largest_shard: int
    """Bytes of the largest file read."""
    peak_bytes: int
    """Most host memory above the idle process: the largest file written, the largest tensor read and working space."""


def plan(folder: str | os.PathLike, scheme: Scheme) -> Conversion:
    """Return what ``quantize`` would do.

    Raises ``ValueError`` for a checkpoint that does not fit its config, or is quantised already.
    """
    where, config = _source(folder)
    before = after = packed = values = largest = 0
    written: dict[str, int] = {}
    read: dict[str, int] = {}
    for file, key, shape, dtype in checkpoint.headers(where):
        count = torch.Size(shape).numel()
        size, values = count * dtype.itemsize, values + count
        before, read[file], largest = before + size, read.get(file, 0) + size, max(largest, size)
        if PACKED_KEYS.fullmatch(key):
            scheme.check(key, shape[1])
            packed, size = packed + count, scheme.num_bytes(shape, dtype)
        after, written[file] = after + size, written.get(file, 0) + size
    working = 12 * _PIECE_VALUES * 4
    peak = max(written.values()) + largest + working
    return Conversion(scheme, before, after, packed, values, max(read.values()), peak)


def quantize(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    scheme: Scheme,
    on_bytes: Callable[[int, str], None] | None = None,
) -> Conversion:
    """Write the checkpoint with its decoder packed, whole or not at all, and return what was done.

    Args:
        folder: a published checkpoint, folder or hub name.
        out: another folder; the files of an earlier save in it are replaced.
        scheme: how to pack.
        on_bytes: called with (bytes read, key) after every tensor.
    """
    where, _ = _source(folder)
    if pathlib.Path(out).expanduser().resolve() == where.resolve():
        raise ValueError(f"{out} is the folder that is read; give another one to write")
    conversion = plan(where, scheme)
    fields = checkpoint.read_json(where / "config.json")
    with checkpoint.staged(out, conversion.bytes_after) as staging:
        names: dict[str, str] = {}
        for file, keys in checkpoint.files(where).items():
            names |= dict.fromkeys(_write_shard(where / file, keys, staging / file, scheme, on_bytes), file)
        if (where / checkpoint.INDEX).exists():
            index = {"metadata": {"total_size": conversion.bytes_after}, "weight_map": names}
            checkpoint.write_json(staging / checkpoint.INDEX, index)
        for other in sorted(where.iterdir()):
            if other.is_file() and other.suffix in (".json", ".txt", ".jinja") and other.name != checkpoint.INDEX:
                shutil.copyfile(other, staging / other.name)
        checkpoint.write_json(staging / "config.json", {**fields, "quantization_config": quantization_config(scheme)})
    return conversion


def quantization_config(scheme: Scheme) -> dict[str, Any]:
    """Return what a ``config.json`` says of a scheme, in compressed-tensors' own words."""
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme

    inputs = None
    if scheme.name != "int4":
        inputs = {**_arguments(scheme), "strategy": "token", "dynamic": True}
    group = QuantizationScheme(targets=["Linear"], weights=_arguments(scheme), input_activations=inputs)
    config = QuantizationConfig(
        config_groups={"group_0": group},
        format=scheme.format,
        quantization_status="compressed",
        ignore=list(_LEFT_ALONE),
    )
    return json.loads(config.model_dump_json(exclude_none=True))


def _arguments(scheme: Scheme) -> dict[str, Any]:
    kind = {"num_bits": 4 if scheme.name == "int4" else 8, "type": "float" if scheme.name == "fp8" else "int"}
    strategy = {"strategy": "group", "group_size": scheme.group_size} if scheme.group_size else {"strategy": "channel"}
    return {**kind, **strategy, "symmetric": True, "dynamic": False}


def packed_tensors(weight: Tensor, scheme: Scheme) -> dict[str, Tensor]:
    """Return a weight (rows, columns) as the scheme stores it, under the names inside its layer."""
    pieces: list[dict[str, Tensor]] = []
    at_once = max(1, _PIECE_VALUES // weight.shape[1])
    for rows in weight.split(at_once):
        pieces.append(_packed_rows(rows, scheme))
    out = {name: torch.cat([piece[name] for piece in pieces]) for name in scheme.stored}
    if scheme.name == "int4":
        out["weight_shape"] = torch.tensor(weight.shape)
    return out


def _packed_rows(rows: Tensor, scheme: Scheme) -> dict[str, Tensor]:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    arguments = QuantizationArgs(**_arguments(scheme))
    values = rows.float()
    grouped = values.unflatten(1, (-1, scheme.group_size or values.shape[1]))
    scale, _ = calculate_qparams(grouped.amin(-1), grouped.amax(-1), arguments)
    # Rounded to what is stored before it is used, so that nothing is lost afterwards.
    stored = scheme.tensors(rows.shape, rows.dtype)["weight_scale"][1]
    scale = scale.to(stored).float()
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    told = QuantizationScheme(targets=["Linear"], weights=arguments)
    packed = compressor.compress({"weight": values, "weight_scale": scale}, told)
    return {**packed, "weight_scale": scale.to(stored)}


def _source(folder: str | os.PathLike) -> tuple[pathlib.Path, EarwitnessConfig]:
    """Return folder and config of an unquantised checkpoint whose weights fit it."""
    from earwitness.model.reasoner import AudioReasoner

    where = pathlib.Path(checkpoint.local_folder(folder, {}))
    if checkpoint.read_json(where / "config.json").get("quantization_config"):
        raise ValueError(f"{folder} is quantised already; give the original checkpoint")
    config = checkpoint.read_config(where)
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in AudioReasoner(config).state_dict().items()}
    checkpoint.check_weights(where, expected)
    return where, config


def _write_shard(
    source: pathlib.Path, keys: list[str], target: pathlib.Path, scheme: Scheme, on_bytes: Any
) -> list[str]:
    """Write one file of the checkpoint anew and return the keys in it."""
    from safetensors.torch import save_file

    part: dict[str, Tensor] = {}
    for key in keys:
        tensor = checkpoint.read_tensor(source, key)
        if PACKED_KEYS.fullmatch(key):
            layer = key.removesuffix("weight")
            part |= {layer + name: t.contiguous() for name, t in packed_tensors(tensor, scheme).items()}
        else:
            part[key] = tensor.clone()  # else the whole file would stay mapped
        if on_bytes is not None:
            on_bytes(tensor.nbytes, key)
        del tensor
    save_file(part, target, metadata={"format": "pt"})
    return list(part)
