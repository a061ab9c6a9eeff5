"""A rising curve through moved points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.histogram_shift import HistogramShift

from .conftest import change, rising, scene


def test_it_is_the_curve_through_the_points_drawn() -> None:
    levels = HistogramShift(6, 0.4).draw(np.random.default_rng(4), 1.0)["levels"]
    at = ((rising() + 1) / 3).flatten().double().numpy()
    expected = np.interp(at, np.linspace(0, 1, 8), levels) * 3 - 1
    np.testing.assert_allclose(
        change(HistogramShift(6, 0.4), rising(), 4).flatten(), expected, atol=1e-5
    )


def test_both_ends_and_the_order_of_grey_values_stay() -> None:
    for seed in range(20):
        changed = change(HistogramShift(6, 0.4), rising(), seed, strength=2.0).flatten()
        torch.testing.assert_close(changed[[0, -1]], torch.tensor([-1.0, 2.0]))
        assert (changed.diff() >= -1e-6).all()


def test_air_stays_air() -> None:
    image = scene()
    image[:, :5] = -1.0
    assert (change(HistogramShift(6, 0.4), image)[:, :5] == -1.0).all()


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_points_move_by_their_share_at_most(strength: float) -> None:
    drawn = [HistogramShift(6, 0.4).draw(np.random.default_rng(s), strength) for s in range(100)]
    moves = np.stack([one["levels"] for one in drawn]) * 7 - np.arange(8)
    most = min(0.4 * strength, 0.49)
    assert np.abs(moves).max() <= most + 1e-9
    assert np.abs(moves).max() > 0.9 * most
    assert (moves[:, [0, -1]] == 0).all()
