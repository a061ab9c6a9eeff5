"""Scale of a PET scanner's standardised uptake values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class UptakeScale:
    """All SUV times one factor: cross-calibration, injected dose, weight, uptake time.

    SUV of one patient scanned twice differs by 10 to 15 % (QIBA FDG-PET/CT profile). The image is
    the square root of SUV.
    """

    most: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        return image * math.sqrt(draw.factor(self.most))
