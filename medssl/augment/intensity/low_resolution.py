"""Thicker slices, or a coarser matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.along import Matrix, along
from medssl.augment.intensity.base import Parameters, Views, between


@dataclass(frozen=True)
class LowResolution:
    """Voxels averaged along one axis, then interpolated back (partial volume).

    Attributes:
        most: largest number of voxels averaged, drawn evenly from 1.5 up.
        axes: of the patch; one of them is drawn.
    """

    most: float
    axes: tuple[int, ...] = (0, 1, 2)

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        axis = int(rng.choice(self.axes))
        return {"axis": axis, "voxels": between(rng, strength, 1.5, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        axes = [one["axis"] for one in drawn]
        sizes = [views.image.shape[axis + 2] for axis in axes]
        matrices = [
            averaged_and_back(size, max(1, round(size / one["voxels"])))
            for size, one in zip(sizes, drawn, strict=True)
        ]
        return along(views.image, matrices, axes)


def averaged_and_back(size: int, coarse: int) -> Matrix:
    """(size, size): means over `coarse` equal stretches, then linear interpolation between them.

    A voxel that an edge of a stretch cuts counts with its part on either side.
    """
    voxel = np.arange(size, dtype=np.float64)
    stretch = np.arange(coarse, dtype=np.float64)[:, None]
    step = size / coarse
    means = np.minimum(voxel + 1, (stretch + 1) * step) - np.maximum(voxel, stretch * step)
    means = np.maximum(means, 0) / step
    at = np.clip((voxel + 0.5) / step - 0.5, 0, coarse - 1)[:, None]
    between = np.maximum(1 - np.abs(at - stretch.T), 0)
    result: Matrix = (between @ means).astype(np.float32)
    return result
