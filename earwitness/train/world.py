"""Where a run computes: its processes, their device and the mesh over them. One process needs no process group.

The same command runs alone, under ``torchrun`` on several CPU processes (gloo) or on many GPUs (nccl): ``start`` reads
the variables that torchrun sets.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from earwitness.train import heartbeat

# A collective may wait long for a rank that is still generating; a dead or stuck rank is found by the heartbeat.
_COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=60)


@dataclass(frozen=True)
class World:
    """The processes of a run."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    mesh: DeviceMesh | None = None
    """Dimensions ``data`` and ``tensor``; None for one process."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    @property
    def data_mesh(self) -> DeviceMesh | None:
        """The mesh over which batches are split and parameters sharded."""
        return None if self.mesh is None else self.mesh["data"]

    @property
    def tensor_mesh(self) -> DeviceMesh | None:
        """The mesh over which single matrices are split; None unless it has more than one rank."""
        return None if self.mesh is None or self.mesh["tensor"].size() == 1 else self.mesh["tensor"]

    @property
    def data_rank(self) -> int:
        """Which part of a global batch is this rank's; ranks of one tensor group share a part."""
        return 0 if self.mesh is None else self.mesh["data"].get_local_rank()

    @property
    def data_size(self) -> int:
        """Into how many parts a global batch is cut."""
        return 1 if self.mesh is None else self.mesh["data"].size()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the parts of the batch, on every rank."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def max(self, values: torch.Tensor) -> torch.Tensor:
        """Return the elementwise maximum over the parts of the batch, on every rank."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def _reduce(self, values: torch.Tensor, operation: Any) -> torch.Tensor:
        if self.mesh is None:
            return values
        out = values.detach().clone().to(self.device)
        dist.all_reduce(out, operation, group=self.mesh["data"].get_group())
        return out.to(values.device)

    def gather(self, value: Any) -> list[Any]:
        """Return the objects of all parts of the batch in order of ``data_rank``, on every rank; small things only."""
        if self.mesh is None:
            return [value]
        out: list[Any] = [None] * self.data_size
        dist.all_gather_object(out, value, group=self.mesh["data"].get_group())
        return out

    def broadcast(self, value: Any) -> Any:
        """Return the first rank's object on every rank."""
        if self.mesh is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.mesh is not None:
            dist.barrier()

    def close(self) -> None:
        """Leave the process group; the other ranks no longer watch this one."""
        if self.mesh is not None:
            heartbeat.stop()
            dist.barrier()  # the store lives in the first rank, which must not leave before the others
            dist.destroy_process_group()


def start(device: str = "auto", tensor_parallel: int = 1) -> World:
    """Join the run's processes and return the world.

    Args:
        device: ``cpu``, ``cuda`` or ``auto`` (cuda where there is one).
        tensor_parallel: ranks over which single matrices of the decoder are split.

    Raises:
        ValueError: if the number of processes is no multiple of ``tensor_parallel``.
    """
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if tensor_parallel < 1 or size % tensor_parallel:
        raise ValueError(f"tensor_parallel {tensor_parallel} does not divide {size} processes; choose one that does")
    place = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(place)
    if size == 1:
        return World(device=place)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_COLLECTIVE_TIMEOUT)
    heartbeat.start()
    mesh = init_device_mesh(kind, (size // tensor_parallel, tensor_parallel), mesh_dim_names=("data", "tensor"))
    return World(dist.get_rank(), size, place, mesh)
