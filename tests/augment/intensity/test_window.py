"""A window clips at both ends and fills the range."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.window import WindowJitter

from .conftest import change


def test_a_window_clips_and_fills_the_range() -> None:
    ramp = torch.linspace(-1, 1, 201).view(1, 1, 1, 201)
    drawn = WindowJitter(0.15, 0.4).draw(np.random.default_rng(1), 1.0)
    seen = change(WindowJitter(0.15, 0.4), ramp, 1).flatten()
    expected = np.interp(ramp.flatten(), [drawn["low"], drawn["high"]], [-1, 1])
    np.testing.assert_allclose(seen, expected, atol=1e-5)
    assert (seen == seen.min()).sum() > 1
    assert (seen == seen.max()).sum() > 1


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_ends_stay_in_their_ranges(strength: float) -> None:
    drawn = [WindowJitter(0.15, 0.4).draw(np.random.default_rng(s), strength) for s in range(300)]
    low = np.array([one["low"] for one in drawn])
    high = np.array([one["high"] for one in drawn])
    assert ((low >= -1) & (low <= -1 + 0.15 * strength)).all()
    assert ((high <= 1) & (high >= 1 - 0.4 * strength)).all()
    assert (high - low > 0.5).all()
