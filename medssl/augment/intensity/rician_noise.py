"""Noise of a magnitude image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medssl.augment.intensity.base import Draw


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

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        sigma = draw.between(self.least, self.most)
        real = (image - draw.background) + sigma * draw.normal_like(image)
        imaginary = sigma * draw.normal_like(image)
        return (real.square() + imaginary.square()).sqrt() + draw.background
