"""What an intensity transform gets and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """The randomness of one view, and what the image's numbers mean.

    Attributes:
        rng: draws parameters; on the CPU, so that they are the same on every device.
        noise: draws fields of noise, on the image's own device.
        strength: factor on the range of every parameter.
        background: the image's value for air or nothing, its lowest.
    """

    rng: np.random.Generator
    noise: torch.Generator
    strength: float
    background: float

    def between(self, low: float, high: float) -> float:
        """A number in low ... high, evenly, the range's upper end grown by `strength`."""
        return float(self.rng.uniform(low, low + (high - low) * self.strength))

    def either_way(self, most: float) -> float:
        """A number in -most ... most, evenly, times `strength`."""
        return float(self.rng.uniform(-most, most)) * self.strength

    def factor(self, most: float) -> float:
        """A factor in 1/most ... most, evenly in its logarithm, times `strength` there."""
        return float(np.exp(self.either_way(float(np.log(most)))))

    def normal_like(self, image: Tensor) -> Tensor:
        """Standard normal noise of the image's shape, on its device."""
        return torch.randn(
            image.shape, generator=self.noise, device=image.device, dtype=image.dtype
        )


class IntensityTransform(Protocol):
    """Changes the values of one view, (C, D, H, W) normalised, and returns a new tensor."""

    def __call__(self, image: Tensor, draw: Draw) -> Tensor: ...


Parameters = dict[str, Any]
"""What was drawn for one view: plain numbers and small arrays, by the name of what they mean."""


@dataclass(frozen=True)
class Views:
    """Views that drew the same transform, on the device that they are on.

    Attributes:
        image: (N, C, D, H, W) float32, normalised.
        background: (N,), each image's value for air or nothing, its lowest.
        noise: one generator a view, on the image's device, for fields of noise.
    """

    image: Tensor
    background: Tensor
    noise: Sequence[torch.Generator]

    def normal(self) -> Tensor:
        """Standard normal noise of the image's shape, each view's from its own generator."""
        field = torch.empty_like(self.image)
        for view, generator in zip(field, self.noise, strict=True):
            view.normal_(generator=generator)
        return field


class Transform(Protocol):
    """Changes the values of views; what one becomes does not depend on the others beside it."""

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        """The parameters of one view, on the CPU: the same on every device."""

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        """The changed images (N, C, D, H, W), in place or anew; one `Parameters` for each view."""
