"""A wider point-spread function."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw
from medssl.augment.intensity.smoothing import smooth


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

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        return smooth(image, draw.between(self.least, self.most), self.axes)
