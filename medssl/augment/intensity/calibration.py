"""Scale and offset of a CT scanner's Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw


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

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        slope = 1 + draw.either_way(self.slope)
        offset = draw.either_way(self.offset_hu) / 1000
        return (image + 1) * slope + (offset - 1)
