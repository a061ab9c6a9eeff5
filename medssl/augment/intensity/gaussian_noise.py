"""White normal noise."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class GaussianNoise:
    """Noise of a dose: its standard deviation grows as 1/sqrt(mAs) in CT (Brooks, Di Chiro 1976).

    Attributes:
        least, most: standard deviation, in the image's normalised unit.
    """

    least: float
    most: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        return image + draw.between(self.least, self.most) * draw.normal_like(image)
