"""Window width and level."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class WindowJitter:
    """The range of -1 ... 1 narrowed at either end, then stretched to -1 ... 1 again.

    Attributes:
        low, high: largest part of the range's half-width that is cut off below and above.
    """

    low: float
    high: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        low = -1 + draw.between(0.0, self.low)
        high = 1 - draw.between(0.0, self.high)
        return (image.clamp(low, high) - low) * (2 / (high - low)) - 1
