"""Uptake values times one factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.uptake_scale import UptakeScale

from .conftest import change


def test_uptake_is_scaled_in_suv() -> None:
    image = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3)
    suv = change(UptakeScale(1.15), image, 5, background=0).square().flatten()
    factor = UptakeScale(1.15).draw(np.random.default_rng(5), 1.0)["factor"]
    assert factor != 1
    torch.testing.assert_close(suv, factor * torch.tensor([0.0, 1.0, 4.0]))


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_factors_are_even_in_their_logarithm(strength: float) -> None:
    transform, most = UptakeScale(1.15), strength * np.log(1.15)
    logs = np.log(
        [transform.draw(np.random.default_rng(s), strength)["factor"] for s in range(400)]
    )
    assert (np.abs(logs) <= most + 1e-9).all()
    assert np.abs(np.mean(logs)) < 0.15 * most
    assert np.std(logs) == pytest.approx(most / np.sqrt(3), rel=0.1)
