"""Window width and level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between


@dataclass(frozen=True)
class WindowJitter:
    """The range of -1 ... 1 narrowed at either end, then stretched to -1 ... 1 again.

    Attributes:
        low, high: largest part of the range's half-width that is cut off below and above.
    """

    low: float
    high: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        low = -1 + between(rng, strength, 0.0, self.low)
        return {"low": low, "high": 1 - between(rng, strength, 0.0, self.high)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        low = views.each([one["low"] for one in drawn])
        high = views.each([one["high"] for one in drawn])
        clipped = torch.clamp(views.image, low, high, out=views.image)
        return clipped.sub_(low).mul_(2 / (high - low)).sub_(1)
