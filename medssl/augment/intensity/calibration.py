"""Scale and offset of a CT scanner's Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, either_way
from medssl.augment.intensity.line import Line, apply_lines


@dataclass(frozen=True)
class HounsfieldCalibration:
    """HU + 1000 is proportional to attenuation; its slope drifts with tube voltage and filter.

    Water has to be at 0 +- 7 HU (ACR CT phantom), while contrast between scanners and voltages
    moves bone and soft tissue by a few per cent (Cropp et al. 2013). Air stays air but for the
    offset. The image is in units of 1000 HU.

    Attributes:
        offset_hu: largest offset, either way.
        slope: largest relative error of HU + 1000, either way.
    """

    offset_hu: float
    slope: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {
            "slope": 1 + either_way(rng, strength, self.slope),
            "offset_hu": either_way(rng, strength, self.offset_hu),
        }

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        lines = [
            Line(slope=one["slope"], offset=one["slope"] - 1 + one["offset_hu"] / 1000)
            for one in drawn
        ]
        return apply_lines(views, lines)
