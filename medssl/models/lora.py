"""Low-rank updates of frozen weights.

Hu et al., LoRA: low-rank adaptation of large language models, 2021, section 4.1: W + (alpha / r)
B A with W frozen, A drawn at random and B zero, so that training starts from the pretrained
network. A convolution's kernel counts as a matrix (out, in k^3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankUpdate(nn.Module):
    """W + (alpha / rank) B A, as a parametrisation of W (out, ...)."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, columns, device=weight.device))
        self.b = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The updated weight, of the shape of `weight`."""
        return weight + self.scale * (self.b @ self.a).view_as(weight)


def add_updates(module: nn.Module, rank: int, alpha: float) -> int:
    """Freeze `module` and give its linear layers, attentions and convolutions updates that learn.

    A weight whose smaller side is not above `rank` is left frozen: an update would not be of lower
    rank than it. Convolutions in groups are left frozen too.

    Returns:
        How many weights were given one.
    """
    module.requires_grad_(False)
    updated = 0
    for part in list(module.modules()):
        name = _matrix_of(part)
        if name is None:
            continue
        weight: Tensor = getattr(part, name)
        if min(weight.shape[0], weight[0].numel()) > rank:
            parametrize.register_parametrization(part, name, LowRankUpdate(weight, rank, alpha))
            updated += 1
    return updated


def merge_updates(module: nn.Module) -> None:
    """Add the updates to the weights; the names in the state_dict are then as before."""
    for part in list(module.modules()):
        name = _matrix_of(part)
        if name is not None and parametrize.is_parametrized(part, name):
            parametrize.remove_parametrizations(part, name, leave_parametrized=True)


def _matrix_of(part: nn.Module) -> str | None:
    if isinstance(part, nn.MultiheadAttention):
        return "in_proj_weight" if part.in_proj_weight is not None else None
    if isinstance(part, nn.Linear):
        return "weight"
    if isinstance(part, nn.Conv3d):
        return "weight" if part.groups == 1 else None
    return None
