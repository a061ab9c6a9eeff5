"""Tensors of all ranks, in the order of ranks; on a single process, the tensor itself."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_with_gradient(local: Tensor) -> Tensor:
    """(world * B, ...) from each rank's (B, ...); B must be the same on every rank.

    Backward sums what all ranks' losses say about this rank's part. torch.distributed.nn had the
    same function and is deprecated; its successor is newer than the oldest torch supported here.
    """
    if not _several():
        return local
    gathered: Tensor = _Gather.apply(local)  # type: ignore[no-untyped-call]
    return gathered


def gather(local: Tensor) -> Tensor:
    """As `gather_with_gradient`, for what has no gradient."""
    if not _several():
        return local
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)


def rank() -> int:
    """This process's number, 0 where it is the only one."""
    return dist.get_rank() if _several() else 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.rows = len(local)
        return gather(local)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.rows :][: ctx.rows]
