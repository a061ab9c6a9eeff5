"""Window width and level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between
from medssl.augment.intensity.line import Line, apply_lines


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
        return apply_lines(views, [_line(one["low"], one["high"]) for one in drawn])


def _line(low: float, high: float) -> Line:
    slope = 2 / (high - low)
    return Line(slope, -1 - low * slope, low, high)
