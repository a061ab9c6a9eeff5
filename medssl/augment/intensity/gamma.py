"""Contrast as a power law."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class Gamma:
    """The image between its background and its highest value, to a power (Isensee et al. 2021).

    Attributes:
        most: the power lies in 1/most ... most.
    """

    most: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        signal = (image - draw.background).clamp_min(0)
        top = signal.amax().clamp_min(1e-6)
        return (signal / top) ** draw.factor(self.most) * top + draw.background
