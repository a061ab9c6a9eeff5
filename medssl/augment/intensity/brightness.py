"""Level and contrast where nothing is known of the scanner."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class Brightness:
    """The signal above the background times a factor.

    Attributes:
        most: the factor lies in 1/most ... most.
    """

    most: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        return (image - draw.background) * draw.factor(self.most) + draw.background
