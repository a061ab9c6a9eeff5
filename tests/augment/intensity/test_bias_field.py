"""A coil's field is smooth, positive and even on the mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters
from medssl.augment.intensity.bias_field import BiasField

from .conftest import change, scene


def drawn(seed: int, strength: float = 1.0) -> Parameters:
    return BiasField(0.2).draw(np.random.default_rng(seed), strength)


def test_a_field_is_smooth_positive_and_even_on_the_mean() -> None:
    image = torch.full((1, 32, 32, 32), 1.0)
    logs = []
    for seed in range(20):
        field = (change(BiasField(0.2), image, seed) + 1) / 2
        assert (field > 0).all()
        logs.append(field.log().mean().item())
        spectrum = torch.fft.fftn(field.log()[0] * _hann(32)).abs()
        low = spectrum[:4, :4, :4].max()
        assert spectrum[8:24, 8:24, 8:24].max() < 1e-3 * low
    assert abs(np.mean(logs)) < 0.03
    assert np.std(logs) < 0.05


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 9, 40)])
def test_its_logarithm_is_the_polynomial_drawn(shape: tuple[int, ...]) -> None:
    c = drawn(3)["coefficients"]
    field = (change(BiasField(0.2), torch.full((1, *shape), 1.0), 3) + 1) / 2
    t = [(np.arange(n) + 0.5) * 2 / n - 1 for n in shape]
    expected = np.zeros(shape)
    for i in range(4):
        for j in range(4):
            for k in range(4):
                if 1 <= i + j + k <= 3:
                    factors = [
                        np.polynomial.legendre.legval(x, np.eye(4)[n])
                        for x, n in zip(t, (i, j, k), strict=True)
                    ]
                    expected += float(c[i, j, k]) * np.einsum("a,b,c->abc", *factors)
    np.testing.assert_allclose(field[0].log(), expected, atol=2e-6)


def test_air_stays_air() -> None:
    image = scene()
    image[:, :5] = -1.0
    torch.testing.assert_close(change(BiasField(0.3), image)[:, :5], image[:, :5])


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_coefficients_stay_in_their_range(strength: float) -> None:
    c = np.stack([drawn(seed, strength)["coefficients"] for seed in range(50)])
    assert np.abs(c).max() <= 0.2 * strength
    assert (np.abs(c).max(axis=0) > 0.15 * strength).sum() == 19, "terms of order 1 to 3"
    assert (c[:, 0, 0, 0] == 0).all()


def _hann(n: int) -> Tensor:
    w = torch.hann_window(n)
    return w[:, None, None] * w[None, :, None] * w[None, None, :]
