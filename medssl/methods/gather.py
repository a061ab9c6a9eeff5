"""Tensors of all ranks, in the order of ranks; on a single process, the tensor itself."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def gather_with_gradient(local: Tensor) -> Tensor:
    """(world * B, ...) from each rank's (B, ...); B must be the same on every rank.

    Backward sums what all ranks' losses say about this rank's part.
    """
    if not _several():
        return local
    from torch.distributed.nn.functional import all_gather

    parts: tuple[Tensor, ...] = all_gather(local)  # type: ignore[no-untyped-call]
    return torch.cat(parts)


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
