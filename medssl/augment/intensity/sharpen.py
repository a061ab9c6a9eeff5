"""A sharper reconstruction kernel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw
from medssl.augment.intensity.smoothing import smooth


@dataclass(frozen=True)
class Sharpen:
    """Unsharp masking in the slice, as a lung or bone kernel lifts high frequencies.

    Attributes:
        most: largest share of the detail (image less its blur of 1 voxel) that is added.
    """

    most: float
    axes: tuple[int, ...] = (0, 1)

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        detail = image - smooth(image, 1.0, self.axes)
        return image + draw.between(0.0, self.most) * detail
