"""Thicker slices, or a coarser matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class LowResolution:
    """Voxels averaged along one axis, then interpolated back (partial volume).

    Attributes:
        most: largest number of voxels averaged, drawn evenly from 1.5 up.
        axes: of the patch; one of them is drawn.
    """

    most: float
    axes: tuple[int, ...] = (0, 1, 2)

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        dim = int(draw.rng.choice(self.axes)) + 1
        factor = draw.between(1.5, self.most)
        size = image.shape[dim]
        matrix = averaged_and_back(size, max(1, round(size / factor)))
        matrix = matrix.to(image.device, image.dtype)
        coarse: Tensor = torch.tensordot(matrix, image, ([1], [dim])).movedim(0, dim)
        return coarse


def averaged_and_back(size: int, coarse: int) -> Tensor:
    """(size, size): means over `coarse` equal stretches, then linear interpolation between them.

    A voxel that an edge of a stretch cuts counts with its part on either side.
    """
    voxel = torch.arange(size, dtype=torch.float64)
    stretch = torch.arange(coarse, dtype=torch.float64)[:, None]
    step = size / coarse
    means = torch.minimum(voxel + 1, (stretch + 1) * step) - torch.maximum(voxel, stretch * step)
    means = means.clamp_min(0) / step
    at = ((voxel + 0.5) / step - 0.5).clamp(0, coarse - 1)[:, None]
    between = (1 - (at - stretch.T).abs()).clamp_min(0)
    result: Tensor = between @ means
    return result
