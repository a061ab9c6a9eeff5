"""Counting noise of emission tomography."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views
from medssl.augment.intensity.compiled import loops, noise_key, run


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

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        share = float(rng.uniform()) * strength
        return {"counts": self.most * math.exp(share * math.log(self.least / self.most))}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        library = loops(views.image)
        if library is not None:
            for image, _, noise, one in views.one_by_one(drawn):
                run(library, "counts", image, image.numel(), one["counts"], noise_key(noise))
            return views.image
        counts = views.each([one["counts"] for one in drawn])
        expected = views.image.clamp_min_(0).square_().mul_(counts)
        for view, generator in zip(expected, views.noise, strict=True):
            view.copy_(torch.poisson(view, generator=generator))
        return expected.div_(counts).sqrt_()
