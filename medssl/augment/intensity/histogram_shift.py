"""A monotone change of all grey values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class HistogramShift:
    """A rising piecewise linear curve through randomly moved points: another echo or flip angle.

    MR units are arbitrary, and standardisation maps scanners on each other by just such curves
    (Nyul, Udupa 1999). Background and highest value stay.

    Attributes:
        points: inner points of the curve.
        most: largest move of a point, as a share of the distance to its neighbours.
    """

    points: int
    most: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        knots = self.points + 1
        moves = draw.rng.uniform(-self.most, self.most, self.points) * draw.strength
        levels = np.linspace(0, 1, knots + 1)
        levels[1:-1] += np.clip(moves, -0.49, 0.49) / knots
        signal = (image - draw.background).clamp_min(0)
        top = signal.amax().clamp_min(1e-6)
        at = signal / top
        slopes = np.diff(levels) * knots
        result = at * slopes[0]
        # A piecewise linear curve is a sum of hinges; each adds the change of slope at its knot.
        for knot, change in enumerate(np.diff(slopes), start=1):
            result.add_((at - knot / knots).clamp_min_(0), alpha=float(change))
        shifted: Tensor = result * top + draw.background
        return shifted
