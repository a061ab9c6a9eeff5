"""A monotone change of all grey values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views
from medssl.augment.intensity.compiled import loops, run

_FLAT = 1e-6


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

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        """`levels`: the curve's values at points + 2 places, evenly from 0 to 1."""
        moves = rng.uniform(-self.most, self.most, self.points) * strength
        levels = np.linspace(0, 1, self.points + 2)
        levels[1:-1] += np.clip(moves, -0.49, 0.49) / (self.points + 1)
        return {"levels": levels}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        knots = self.points + 1
        library = loops(views.image)
        if library is not None:
            for image, background, _, one in views.one_by_one(drawn):
                slopes = (np.diff(one["levels"]) * knots).astype(np.float32)
                run(library, "histogram", image, image.numel(), background, slopes, knots)
            return views.image
        curves = np.stack([np.diff(one["levels"]) for one in drawn], axis=1) * knots
        signal = views.image.sub_(views.floor).clamp_min_(0)
        top = signal.amax((1, 2, 3, 4), keepdim=True).clamp_min(_FLAT)
        at = signal.div_(top)
        result = at * views.each(curves[0].tolist())
        # A piecewise linear curve is a sum of hinges; each adds the change of slope at its knot.
        for knot, change in enumerate(np.diff(curves, axis=0), start=1):
            result.addcmul_((at - knot / knots).clamp_min_(0), views.each(change.tolist()))
        return result.mul_(top).add_(views.floor)
