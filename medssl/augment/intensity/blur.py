"""A wider point-spread function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.along import along, gaussian
from medssl.augment.intensity.base import Parameters, Views, between

_REACH = 3.0


@dataclass(frozen=True)
class Blur:
    """A smoother reconstruction kernel (CT), filter or matrix (MR), or detector (PET).

    Attributes:
        least, most: standard deviation of the Gaussian, voxels.
        axes: of the patch, along which it acts; a CT's kernel acts in the slice alone.
    """

    least: float
    most: float
    axes: tuple[int, ...] = (0, 1, 2)

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {"sigma_voxels": between(rng, strength, self.least, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        return smooth(views.image, [one["sigma_voxels"] for one in drawn], self.axes)


def smooth(image: Tensor, sigmas: Sequence[float], axes: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Each view of (N, C, D, H, W) convolved with a Gaussian of its sigma, voxels, along `axes`.

    The Gaussian ends at 3 sigma. In place on the CPU, anew elsewhere.
    """
    for axis in axes:
        size = image.shape[axis + 2]
        matrices = [gaussian(size, sigma, max(1, math.ceil(_REACH * sigma))) for sigma in sigmas]
        image = along(image, matrices, [axis] * len(sigmas))
    return image
