"""A sharper reconstruction kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between
from medssl.augment.intensity.blur import smooth
from medssl.augment.intensity.compiled import copy_of, loops, run

_DETAIL_VOXELS = 1.0


@dataclass(frozen=True)
class Sharpen:
    """Unsharp masking in the slice, as a lung or bone kernel lifts high frequencies.

    Attributes:
        most: largest share of the detail (image less its blur of 1 voxel) that is added.
        axes: of the patch, along which it acts.
    """

    most: float
    axes: tuple[int, ...] = (0, 1)

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        return {"share": between(rng, strength, 0.0, self.most)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        blurred = smooth(copy_of(views.image), [_DETAIL_VOXELS] * len(drawn), self.axes)
        library = loops(views.image)
        if library is None:
            share = views.each([one["share"] for one in drawn])
            return blurred.sub_(views.image).mul_(-share).add_(views.image)
        for image, other, one in zip(views.image, blurred, drawn, strict=True):
            run(library, "add_difference", image, other, image.numel(), one["share"])
        return views.image
