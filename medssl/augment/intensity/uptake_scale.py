"""Scale of a PET scanner's standardised uptake values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, factor
from medssl.augment.intensity.line import Line, apply_lines


@dataclass(frozen=True)
class UptakeScale:
    """All SUV times one factor: cross-calibration, injected dose, weight, uptake time.

    SUV of one patient scanned twice differs by 10 to 15 % (QIBA FDG-PET/CT profile). The image is
    the square root of SUV.

    Attributes:
        most: the factor lies in 1/most ... most.
    """

    most: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {"factor": factor(rng, strength, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        return apply_lines(views, [Line(math.sqrt(one["factor"])) for one in drawn])
