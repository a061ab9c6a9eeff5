"""Noise of a magnitude image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between
from medssl.augment.intensity.compiled import loops, noise_key, run


@dataclass(frozen=True)
class RicianNoise:
    """Magnitude of a signal with normal noise in both channels (Gudbjartsson, Patz 1995).

    The signal is taken from the background up: where there is none, the noise is Rayleigh
    distributed and lifts the mean.

    Attributes:
        least, most: standard deviation of each channel, in the image's normalised unit.
    """

    least: float
    most: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {"sigma": between(rng, strength, self.least, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        library = loops(views.image)
        if library is not None:
            for image, background, noise, one in views.one_by_one(drawn):
                sigma, key = one["sigma"], noise_key(noise)
                run(library, "rician", image, image.numel(), background, sigma, key)
            return views.image
        sigma = views.each([one["sigma"] for one in drawn])
        real = views.image.sub_(views.floor).addcmul_(views.normal(), sigma)
        imaginary = views.normal().mul_(sigma)
        return real.square_().addcmul_(imaginary, imaginary).sqrt_().add_(views.floor)
