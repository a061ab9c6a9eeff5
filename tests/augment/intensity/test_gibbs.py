"""Truncation in k-space leaves no high frequency and rings at an edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.augment.intensity.gibbs import GibbsRinging
from medssl.augment.policies import apply_steps

from .conftest import scene


def truncate(image: Tensor, axis: int, kept: float) -> Tensor:
    """A view (C, D, H, W) above background 0."""
    drawn = {"axis": axis, "kept": kept}
    return apply_steps(image, [(GibbsRinging(0.5), drawn)], 0.0, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.usefixtures("computed_both_ways")
def test_low_frequencies_stay_and_high_ones_go(axis: int, size: int) -> None:
    shape = [2, 5, 4, 6]
    shape[axis + 1] = size
    image = scene(*shape) + 5  # so far up that a magnitude changes nothing
    before = torch.fft.rfft(image, dim=axis + 1)
    after = torch.fft.rfft(truncate(image, axis, 0.5), dim=axis + 1)
    assert after.narrow(axis + 1, 9, size // 2 - 8).abs().max() < 1e-4
    torch.testing.assert_close(
        after.narrow(axis + 1, 0, 9), before.narrow(axis + 1, 0, 9), rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("computed_both_ways")
def test_it_rings_at_an_edge_and_is_a_magnitude() -> None:
    step = torch.zeros(1, 4, 4, 64)
    step[..., 16:48] = 1.0
    rung = truncate(step, 2, 0.5)
    # The overshoot of a truncated Fourier series is 9 % of the step, whatever the cut.
    assert 1.05 < rung.max().item() < 1.13
    assert rung.min() >= 0
    assert truncate(step, 2, 1.0).allclose(step, atol=1e-5)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_all_axes_are_drawn_and_the_share_stays_in_its_range(strength: float) -> None:
    drawn = [GibbsRinging(0.5).draw(np.random.default_rng(s), strength) for s in range(300)]
    assert {one["axis"] for one in drawn} == {0, 1, 2}
    kept = np.array([one["kept"] for one in drawn])
    least = max(0.2, 1 - 0.5 * strength)
    assert least <= kept.min() < least + 0.02
    assert kept.max() <= 1
