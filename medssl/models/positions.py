"""Fixed sine-cosine positions of tokens on a 3D grid (Vaswani et al. 2017, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor

_LONGEST = 10_000.0


def sincos_positions(grid: tuple[int, int, int], dim: int) -> Tensor:
    """Embeddings (d * h * w, dim) of a grid's tokens, last axis fastest.

    A third of `dim` for each axis, half sine and half cosine; what six does not divide stays
    zero. Coordinates count tokens from the middle of the grid, so that grids of every size agree
    about their common centre, and two tokens the same distance apart are told so in each.
    """
    frequencies = dim // 6
    omega = _LONGEST ** (-torch.arange(frequencies, dtype=torch.float64) / frequencies)
    axes = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in grid]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    angles = coordinates[:, :, None] * omega
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    positions = torch.zeros(waves.shape[0], dim)
    positions[:, : waves.shape[1]] = waves
    return positions
