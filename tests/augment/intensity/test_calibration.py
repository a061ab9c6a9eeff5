"""Hounsfield units drift by an offset and a slope through air."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.calibration import HounsfieldCalibration

from .conftest import change, scene


def test_calibration_moves_water_by_its_offset_and_slope() -> None:
    transform = HounsfieldCalibration(offset_hu=20, slope=0.03)
    hu = torch.tensor([-1000.0, 0.0, 1000.0]).view(1, 1, 1, 3) / 1000
    for seed in range(50):
        drawn = transform.draw(np.random.default_rng(seed), 1.0)
        air, water, bone = (change(transform, hu, seed) * 1000).flatten().tolist()
        assert air == pytest.approx(-1000 + drawn["offset_hu"], abs=1e-2)
        assert water - air == pytest.approx(1000 * drawn["slope"], abs=1e-2)
        assert bone - water == pytest.approx(water - air, abs=1e-2)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_parameters_stay_in_their_ranges(strength: float) -> None:
    transform = HounsfieldCalibration(offset_hu=20, slope=0.03)
    drawn = [transform.draw(np.random.default_rng(seed), strength) for seed in range(300)]
    offsets = np.array([one["offset_hu"] for one in drawn])
    slopes = np.array([one["slope"] for one in drawn]) - 1
    for values, most in ((offsets, 20 * strength), (slopes, 0.03 * strength)):
        assert (np.abs(values) <= most).all()
        assert values.min() < -0.9 * most
        assert values.max() > 0.9 * most


def test_air_stays_air_without_an_offset() -> None:
    image = scene()
    image[:, :5] = -1.0
    changed = change(HounsfieldCalibration(0, 0.1), image)
    torch.testing.assert_close(changed[:, :5], image[:, :5])
