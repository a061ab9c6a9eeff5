"""Which process this is among those that torchrun started, and what they tell each other."""

from __future__ import annotations

import gc
import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medssl.errors import CollapseError, ConfigError, Interrupted

PATIENCE = timedelta(minutes=20)
"""How long a process waits for the others. The leading one writes, validates and reports while the
others wait; a process that died is noticed at once by gloo, and by torchrun in any case."""


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

    def mean(self, value: Tensor) -> float:
        """The mean of a scalar over all processes; every process must call it."""
        if self.size > 1:
            value = value.detach().clone()
            dist.all_reduce(value)
            value /= self.size
        return float(value)

    def any(self, flags: Tensor) -> list[bool]:
        """For each of `flags` (n,), 0 or 1 as float32, whether it is set in any process."""
        if self.size > 1:
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        return [flag > 0 for flag in flags.tolist()]

    def agreed(self, value: Any) -> Any:
        """The leading process's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """Every process's value, in the order of ranks."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def parallel(self, module: nn.Module) -> nn.Module:
        """`module`, its gradients averaged over all processes during backward.

        DDP adds gradients up in buckets, and after its first backward sorts parameters into
        buckets anew, by the order in which their gradients came. Where a number lies in a bucket
        decides in which order the processes' shares of it are added: from three processes up, a
        run that is resumed would go on with other last bits than one that never stopped. DDP keeps
        its first buckets where it looks out for unused parameters (docs/decisions/0018).
        """
        if self.size == 1:
            return module
        with warnings.catch_warnings():
            # The successor of broadcast_buffers is newer than the oldest torch supported here.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                _OneUnused(module), broadcast_buffers=False, find_unused_parameters=True
            )


class _OneUnused(nn.Module):
    """DDP warns, on every process, where it looks out for unused parameters and finds none."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.unused = nn.Parameter(next(module.parameters()).new_zeros(1))

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)


def gradients_kept_apart(parallel: nn.Module) -> AbstractContextManager[None]:
    """Within it, forward and backward add to this process's gradients alone."""
    if isinstance(parallel, DistributedDataParallel):
        return parallel.no_sync()
    return nullcontext()


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes of torchrun (nccl on GPUs, gloo on CPUs), or stand alone without it.

    Raises:
        ConfigError: there are more processes than GPUs.
        Interrupted: another process has ended or is out of reach.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        if local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local_rank + 1} of this machine has no GPU, there are "
                f"{torch.cuda.device_count()}; lower torchrun's --nproc-per-node"
            )
        torch.cuda.set_device(device)
    # The caller may have set the group up already (a test, or a larger program).
    ours = size > 1 and not dist.is_initialized()
    if ours:
        # Its functions have the group as a default argument, as it is at their import. DDP imports
        # them; were that later, they would hold the group, with gloo's threads, until the
        # interpreter ends, where a thread that lets go of a tensor aborts the process.
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    together = False
    try:
        yield World(rank, size, device)
        if ours:
            # Nobody hangs up while another still listens.
            dist.barrier()
        together = True
    except (Interrupted, CollapseError):  # every process raises it
        together = True
        raise
    except RuntimeError as error:
        if size > 1 and _lost_a_process(error):
            raise Interrupted(
                f"process {rank} of {size}: another process of this run has ended or is out of "
                "reach (its own message says why, if it left one); run the same command again to "
                "resume from the last checkpoint"
            ) from error
        raise
    finally:
        # nccl's goodbye waits for every process; after a failure there may be none to answer.
        if ours and (together or not on_gpu):
            gc.collect()  # DDP is part of a cycle that holds the group
            dist.destroy_process_group()


def _lost_a_process(error: RuntimeError) -> bool:
    """Whether a collective failed; gloo's errors have no class of their own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
