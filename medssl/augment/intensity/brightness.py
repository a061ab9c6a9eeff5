"""Level and contrast where nothing is known of the scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, factor
from medssl.augment.intensity.compiled import NO_LIMIT, loops, run


@dataclass(frozen=True)
class Brightness:
    """The signal above the background times a factor.

    Attributes:
        most: the factor lies in 1/most ... most.
    """

    most: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {"factor": factor(rng, strength, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        library = loops(views.image)
        if library is not None:
            for image, background, _, one in views.one_by_one(drawn):
                slope, offset = one["factor"], background * (1 - one["factor"])
                run(library, "line", image, image.numel(), -NO_LIMIT, NO_LIMIT, slope, offset)
            return views.image
        factors = views.each([one["factor"] for one in drawn])
        return views.image.sub_(views.floor).mul_(factors).add_(views.floor)
