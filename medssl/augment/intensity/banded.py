"""Banded matrices along an axis of a patch: what smoothing and averaging have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Band = npt.NDArray[np.float32]
"""(size, 2 r + 1): what voxel i becomes is the sum over k of band[i, k] times voxel i + k - r."""

_REACH = 3.0


def along(image: Tensor, bands: Sequence[Band], axis: int) -> Tensor:
    """Each view (C, D, H, W) of (N, C, D, H, W) with its band applied along `axis` of 0, 1, 2."""
    dim = axis + 2
    reach = max(band.shape[1] // 2 for band in bands)
    same = [np.pad(band, ((0, 0), (reach - band.shape[1] // 2,) * 2)) for band in bands]
    weights = torch.from_numpy(np.stack(same)).to(image.device)
    size = image.shape[dim]
    shape = [len(bands), 1, 1, 1, 1]
    shape[dim] = size
    index = torch.arange(-reach, size + reach, device=image.device).clamp_(0, size - 1)
    padded = image.index_select(dim, index)
    result = padded.narrow(dim, 0, size) * weights[:, :, 0].reshape(shape)
    for k in range(1, 2 * reach + 1):
        result.addcmul_(padded.narrow(dim, k, size), weights[:, :, k].reshape(shape))
    return result


def gaussian_band(size: int, sigma: float) -> Band:
    """A Gaussian of `sigma` voxels, cut off at 3 sigma; the voxels at the edges are repeated."""
    reach = max(1, math.ceil(_REACH * sigma))
    offsets = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    band = np.zeros((size, 2 * reach + 1))
    voxel = np.arange(size)[:, None]
    at = np.clip(voxel + offsets, 0, size - 1) - voxel + reach
    np.add.at(band, (voxel, at), taps / taps.sum())
    return band.astype(np.float32)


def band_of(matrix: npt.NDArray[np.float64]) -> Band:
    """The band of a square matrix that holds all that is not zero."""
    size = len(matrix)
    rows, columns = np.nonzero(matrix)
    reach = int(np.abs(columns - rows).max(initial=0))
    band = np.zeros((size, 2 * reach + 1), dtype=np.float32)
    band[rows, columns - rows + reach] = matrix[rows, columns]
    return band
