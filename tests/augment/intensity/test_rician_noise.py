"""Noise of a magnitude: Rayleigh in air, normal where there is much signal."""

from __future__ import annotations

import math

import pytest
import torch

from medssl.augment.intensity.rician_noise import RicianNoise

from .conftest import change

SIGMA = 0.1


def test_noise_in_air_is_rayleigh() -> None:
    air = change(RicianNoise(SIGMA, SIGMA), torch.full((1, 40, 40, 40), -1.0)) + 1
    assert air.mean().item() == pytest.approx(SIGMA * math.sqrt(math.pi / 2), rel=0.01)
    assert air.var().item() == pytest.approx((2 - math.pi / 2) * SIGMA**2, rel=0.02)
    # Its cumulative distribution: 1 - exp(-r^2 / 2 sigma^2).
    for r in (0.03, 0.1, 0.2, 0.3):
        expected = 1 - math.exp(-((r / SIGMA) ** 2) / 2)
        assert (air < r).float().mean().item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("signal", [0.1, 0.3, 3.0])
def test_its_second_moment_is_that_of_signal_and_both_channels(signal: float) -> None:
    noisy = change(RicianNoise(SIGMA, SIGMA), torch.full((1, 40, 40, 40), signal - 1)) + 1
    expected = signal**2 + 2 * SIGMA**2
    assert noisy.square().mean().item() == pytest.approx(expected, rel=0.01)


def test_noise_on_much_signal_is_normal() -> None:
    much = change(RicianNoise(SIGMA, SIGMA), torch.full((1, 40, 40, 40), 2.0)) + 1
    assert much.std().item() == pytest.approx(SIGMA, rel=0.02)
    # Gudbjartsson, Patz 1995: E = sqrt(A^2 + sigma^2) for A >> sigma.
    assert much.mean().item() == pytest.approx(math.sqrt(9 + SIGMA**2), abs=1e-3)
    third = ((much - much.mean()) / much.std()).pow(3).mean()
    assert third.abs() < 0.05
