"""White normal noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between
from medssl.augment.intensity.compiled import loops, noise_key, run


@dataclass(frozen=True)
class GaussianNoise:
    """Noise of a dose: its standard deviation grows as 1/sqrt(mAs) in CT (Brooks, Di Chiro 1976).

    Attributes:
        least, most: standard deviation, in the image's normalised unit.
    """

    least: float
    most: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {"sigma": between(rng, strength, self.least, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        library = loops(views.image)
        if library is not None:
            for image, _, noise, one in views.one_by_one(drawn):
                run(library, "add_normal", image, image.numel(), one["sigma"], noise_key(noise))
            return views.image
        sigma = views.each([one["sigma"] for one in drawn])
        return views.image.addcmul_(views.normal(), sigma)
