"""A power law keeps both ends and the order of grey values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.gamma import Gamma

from .conftest import change, rising, scene


def test_it_is_the_power_drawn_of_the_share_of_the_range() -> None:
    power = Gamma(1.5).draw(np.random.default_rng(4), 1.0)["power"]
    assert abs(power - 1) > 0.05
    expected = ((rising() + 1) / 3).double() ** power * 3 - 1
    torch.testing.assert_close(
        change(Gamma(1.5), rising(), 4).double(), expected, rtol=1e-5, atol=1e-6
    )


def test_background_and_top_are_fixed_points() -> None:
    for seed in range(20):
        changed = change(Gamma(1.5), rising(), seed, strength=2.0).flatten()
        torch.testing.assert_close(changed[[0, -1]], torch.tensor([-1.0, 2.0]))
        assert (changed.diff() >= -1e-6).all(), "the order of grey values stays"


def test_air_stays_air() -> None:
    image = scene()
    image[:, :5] = -1.0
    image[:, 5, 0, 0] = -1.2
    changed = change(Gamma(1.5), image)
    assert (changed[:, :5] == -1.0).all()
    assert (changed >= -1.0).all()


def test_an_image_of_nothing_stays() -> None:
    nothing = torch.full((1, 4, 4, 4), -1.0)
    assert torch.equal(change(Gamma(1.5), nothing), nothing)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_powers_stay_in_their_range(strength: float) -> None:
    drawn = [Gamma(1.5).draw(np.random.default_rng(s), strength) for s in range(300)]
    logs = np.log([one["power"] for one in drawn])
    most = strength * np.log(1.5)
    assert -most - 1e-9 <= logs.min() < -0.9 * most
    assert 0.9 * most < logs.max() <= most + 1e-9
