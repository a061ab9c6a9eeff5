"""Transforms used on one view, and scenes to use them on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl import kernels
from medssl.augment.intensity.base import Transform
from medssl.augment.policies import apply_steps


@pytest.fixture(params=["loops", "array code"])
def computed_both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test runs once with compiled loops and once without."""
    if request.param == "loops":
        if kernels.library() is None:
            pytest.skip("the loops were not compiled here")
        yield
    else:
        with kernels.disabled():
            yield


def change(
    transform: Transform,
    image: Tensor,
    seed: int = 0,
    strength: float = 1.0,
    background: float = -1.0,
) -> Tensor:
    """A view (C, D, H, W) after the transform, as `seed` draws its parameters and its noise."""
    drawn = transform.draw(np.random.default_rng(seed), strength)
    return apply_steps(image, [(transform, drawn)], background, seed)


def scene(*shape: int) -> Tensor:
    """Even random values in -0.8 ... 0.7."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(shape or (1, 18, 16, 14), generator=generator) * 1.5 - 0.8


def rising(low: float = -1.0, high: float = 2.0) -> Tensor:
    """(1, 1, 1, 500), from low to high."""
    return torch.linspace(low, high, 500).view(1, 1, 1, 500)
