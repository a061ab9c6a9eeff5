"""What an intensity transform gets and gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from medssl.augment.intensity.compiled import loops, noise_key, run
from medssl.augment.intensity.device import on_device

Parameters = dict[str, Any]
"""What was drawn for one view: plain numbers and small arrays, by the name of what they mean."""


@dataclass(frozen=True)
class Views:
    """Views that drew the same transform, on the device that they are on.

    Attributes:
        image: (N, C, D, H, W) float32, contiguous, normalised.
        background: (N,), each image's value for air or nothing, its lowest.
        noise: one generator a view, on the image's device, for fields of noise.
    """

    image: Tensor
    background: Tensor
    noise: Sequence[torch.Generator]

    @property
    def floor(self) -> Tensor:
        """The background as (N, 1, 1, 1, 1), to go with the image."""
        return self.background.view(-1, 1, 1, 1, 1)

    def each(self, numbers: Sequence[float]) -> Tensor:
        """One number a view as (N, 1, 1, 1, 1), on the image's device."""
        values = on_device(np.asarray(numbers, dtype=np.float32), self.image.device)
        return values.view(-1, 1, 1, 1, 1)

    def one_by_one(
        self, drawn: Sequence[Parameters]
    ) -> Iterator[tuple[Tensor, float, torch.Generator, Parameters]]:
        """Image (C, D, H, W), background, generator and parameters of each view, on the CPU."""
        return zip(self.image, self.background.tolist(), self.noise, drawn, strict=True)

    def normal(self) -> Tensor:
        """Standard normal noise of the image's shape, each view's from its own generator."""
        field = torch.empty_like(self.image)
        library = loops(field)
        for view, generator in zip(field, self.noise, strict=True):
            if library is not None:
                run(library, "normal", view, view.numel(), noise_key(generator))
            else:
                view.normal_(generator=generator)
        return field


class Transform(Protocol):
    """Changes the values of views; what one becomes does not depend on the others beside it."""

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        """The parameters of one view, on the CPU: the same on every device."""

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        """The changed images (N, C, D, H, W), in place or anew; one `Parameters` for each view."""


def between(rng: np.random.Generator, strength: float, low: float, high: float) -> float:
    """A number in low ... high, evenly, the range's upper end grown by `strength`."""
    return float(rng.uniform(low, low + (high - low) * strength))


def either_way(rng: np.random.Generator, strength: float, most: float) -> float:
    """A number in -most ... most, evenly, times `strength`."""
    return float(rng.uniform(-most, most)) * strength


def factor(rng: np.random.Generator, strength: float, most: float) -> float:
    """A factor in 1/most ... most, evenly in its logarithm, times `strength` there."""
    return math.exp(either_way(rng, strength, math.log(most)))
