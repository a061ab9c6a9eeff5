"""Which process this is among those that torchrun started, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class World:
    """This process's place: rank of world processes, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True in the one process that writes files and metrics."""
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> float:
        """The mean of a scalar over all processes; every process must call it."""
        if self.size > 1:
            value = value.detach().clone()
            dist.all_reduce(value)
            value /= self.size
        return float(value)

    def agreed(self, value: Any) -> Any:
        """The leading process's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes of torchrun (nccl on GPUs, gloo on CPUs), or stand alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    # The caller may have set the group up already (a test, or a larger program).
    ours = size > 1 and not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(rank, size, device)
        if ours:
            # Nobody hangs up while another still listens.
            dist.barrier()
    finally:
        if ours:
            dist.destroy_process_group()
