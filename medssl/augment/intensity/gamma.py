"""Contrast as a power law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, factor
from medssl.augment.intensity.compiled import loops, run

_FLAT = 1e-6


@dataclass(frozen=True)
class Gamma:
    """The image between its background and its highest value, to a power (Isensee et al. 2021).

    Attributes:
        most: the power lies in 1/most ... most.
    """

    most: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {"power": factor(rng, strength, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        library = loops(views.image)
        if library is not None:
            for image, background, _, one in views.one_by_one(drawn):
                run(library, "gamma", image, image.numel(), background, one["power"])
            return views.image
        power = views.each([one["power"] for one in drawn])
        signal = views.image.sub_(views.floor).clamp_min_(0)
        top = signal.amax((1, 2, 3, 4), keepdim=True).clamp_min(_FLAT)
        return signal.div_(top).pow_(power).mul_(top).add_(views.floor)
