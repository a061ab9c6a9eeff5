"""Truncation in k-space leaves no high frequency and rings at an edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.gibbs import GibbsRinging, truncated

from .conftest import scene


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [32, 33])
def test_low_frequencies_stay_and_high_ones_go(axis: int, size: int) -> None:
    shape = [1, 2, 5, 4, 6]
    shape[axis + 2] = size
    image = scene(*shape)
    before = torch.fft.rfft(image, dim=axis + 2)
    after = torch.fft.rfft(truncated(image.clone(), axis, [0.5]), dim=axis + 2)
    assert after.narrow(axis + 2, 9, size // 2 - 8).abs().max() < 1e-4
    torch.testing.assert_close(
        after.narrow(axis + 2, 0, 9), before.narrow(axis + 2, 0, 9), rtol=1e-4, atol=1e-4
    )


def test_it_rings_at_an_edge() -> None:
    step = torch.zeros(1, 1, 4, 4, 64)
    step[..., 16:48] = 1.0
    rung = truncated(step.clone(), 2, [0.5])
    # The overshoot of a truncated Fourier series is 9 % of the step, whatever the cut.
    assert 1.05 < rung.max().item() < 1.13
    assert truncated(step.clone(), 2, [1.0]).allclose(step, atol=1e-5)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_all_axes_are_drawn_and_the_share_stays_in_its_range(strength: float) -> None:
    drawn = [GibbsRinging(0.5).draw(np.random.default_rng(s), strength) for s in range(300)]
    assert {one["axis"] for one in drawn} == {0, 1, 2}
    kept = np.array([one["kept"] for one in drawn])
    least = max(0.2, 1 - 0.5 * strength)
    assert least <= kept.min() < least + 0.02
    assert kept.max() <= 1
