"""White noise of the deviation drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.gaussian_noise import GaussianNoise

from .conftest import change, scene


def test_noise_has_the_deviation_drawn_and_no_mean() -> None:
    added = change(GaussianNoise(0.05, 0.05), torch.zeros(1, 40, 40, 40))
    assert added.mean().abs() < 1e-3
    assert added.std().item() == pytest.approx(0.05, rel=0.01)
    for axis in (1, 2, 3):
        lag = (added * added.roll(1, axis)).mean() / added.var()
        assert lag.abs() < 0.02, "white"


def test_noise_adds_to_the_image_and_does_not_depend_on_it() -> None:
    image = scene(1, 20, 20, 20)
    added = change(GaussianNoise(0.05, 0.05), image) - image
    alone = change(GaussianNoise(0.05, 0.05), torch.zeros(1, 20, 20, 20))
    torch.testing.assert_close(added, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_the_upper_end_grows_with_strength(strength: float) -> None:
    drawn = [GaussianNoise(0.01, 0.11).draw(np.random.default_rng(s), strength) for s in range(300)]
    sigma = np.array([one["sigma"] for one in drawn])
    assert 0.01 <= sigma.min() <= 0.01 + 0.005 * strength
    assert 0.01 + 0.095 * strength <= sigma.max() <= 0.01 + 0.1 * strength
