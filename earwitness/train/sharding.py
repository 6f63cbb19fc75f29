"""Splits a module over the ranks of a world: FSDP2 over ``data``, column and row parallelism over ``tensor``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from earwitness.train.world import World

_LAYER_PLAN = {
    "self_attn.q_proj": ColwiseParallel(),
    "self_attn.k_proj": ColwiseParallel(),
    "self_attn.v_proj": ColwiseParallel(),
    "self_attn.o_proj": RowwiseParallel(),
    "mlp.gate_proj": ColwiseParallel(),
    "mlp.up_proj": ColwiseParallel(),
    "mlp.down_proj": RowwiseParallel(),
}


def shard(module: nn.Module, layers: Iterable[nn.Module], world: World, bf16: bool) -> nn.Module:
    """Shard a module in place and return it; one process leaves it whole.

    Args:
        module: the root, on this rank's device, with the same values on every rank. What must stay whole (the frozen
            encoder) is not part of it.
        layers: the decoder layers; each is gathered, used and freed on its own.
        world: where the run computes.
        bf16: gather parameters in bfloat16; gradients are reduced and parameters updated in float32.

    Raises:
        ValueError: if heads cannot be split over the tensor mesh.
        RuntimeError: if a parameter was left unsharded.
    """
    if world.mesh is None:
        return module
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    policy = policy if bf16 else MixedPrecisionPolicy()
    for layer in layers:
        if world.tensor_mesh is not None:
            _check_heads(layer, world.tensor_mesh.size())
            parallelize_module(layer, world.tensor_mesh, _LAYER_PLAN)
        fully_shard(layer, mesh=world.data_mesh, mp_policy=policy)
    fully_shard(module, mesh=world.data_mesh, mp_policy=policy)
    check_sharded(module)
    return module


def check_sharded(module: nn.Module) -> None:
    """Raise ``RuntimeError`` naming the parameters of a module that no mesh shards.

    A library that falls back to whole copies in silence trains the right model in the wrong memory.
    """
    whole = [name for name, value in module.named_parameters() if not isinstance(value, DTensor)]
    if whole:
        raise RuntimeError(f"{len(whole)} parameters are not sharded over the ranks, such as {whole[0]}")


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return the full tensor of a sharded one; every rank must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _check_heads(layer: nn.Module, ranks: int) -> None:
    heads = int(layer.self_attn.config.num_key_value_heads)  # type: ignore[union-attr, arg-type]
    if heads % ranks:
        raise ValueError(f"{heads} key-value heads cannot be split over tensor_parallel={ranks}; choose a divisor")
