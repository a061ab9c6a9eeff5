"""Separable Gaussian smoothing, the tool of several transforms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_REACH = 3.0


def smooth(image: Tensor, sigma: float, axes: tuple[int, ...] = (0, 1, 2)) -> Tensor:
    """Convolve (C, D, H, W) with a Gaussian of `sigma` voxels along `axes`; edges are repeated.

    Sums of shifted copies, an axis at a time: the same bits whatever the library picks for a
    convolution.
    """
    reach = max(1, math.ceil(_REACH * sigma))
    taps = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(reach + 1)]
    total = taps[0] + 2 * sum(taps[1:])
    for axis in axes:
        dim = axis + 1
        size = image.shape[dim]
        index = torch.arange(-reach, size + reach, device=image.device).clamp(0, size - 1)
        padded = image.index_select(dim, index)
        result = padded.narrow(dim, reach, size) * (taps[0] / total)
        for k in range(1, reach + 1):
            weight = taps[k] / total
            result.add_(padded.narrow(dim, reach - k, size), alpha=weight)
            result.add_(padded.narrow(dim, reach + k, size), alpha=weight)
        image = result
    return image
