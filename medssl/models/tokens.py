"""Cubes of voxels as tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def cut_tokens(voxels_BCDHW: Tensor, side: int) -> Tensor:
    """(B, C, D, H, W) to (B, N, C * side^3): cubes in row-major order, channels outermost inside.

    The order inside a token is that of a convolution's weight (C, k, k, k), flattened.
    """
    b, c, *size = voxels_BCDHW.shape
    d, h, w = (n // side for n in size)
    cubes = voxels_BCDHW.reshape(b, c, d, side, h, side, w, side)
    return cubes.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, d * h * w, c * side**3)


def take_tokens(tokens_BNK: Tensor, chosen_BM: Tensor) -> Tensor:
    """The tokens (B, M, K) at each sample's indices `chosen_BM`."""
    return torch.take_along_dim(tokens_BNK, chosen_BM[..., None], dim=1)
