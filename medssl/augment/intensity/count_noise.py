"""Counting noise of emission tomography."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class CountNoise:
    """Poisson noise of fewer counts: a shorter bed position or a smaller dose.

    Iterative reconstruction leaves noise whose variance grows with the mean (Barrett, Wilson,
    Tsui 1994); the correlation between voxels is left out. The image is the square root of SUV.

    Attributes:
        least, most: counts in a voxel of SUV 1, drawn evenly in the logarithm; the noise's variance
            at SUV s is s / counts.
    """

    least: float
    most: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        spread = draw.rng.uniform()
        counts = self.most * math.exp(spread * draw.strength * math.log(self.least / self.most))
        events = torch.poisson(image.clamp_min(0).square() * counts, generator=draw.noise)
        result: Tensor = (events / counts).sqrt()
        return result
