"""Projections are integrals, and filtered back-projection undoes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.parallel_beam import (
    ANGLES,
    angles,
    back_projected,
    ellipse_lengths,
    filtered,
    num_detectors,
)

CENTRE, HALF_AXES, TURN = np.array([5.3, -8.1]), np.array([9.0, 4.0]), 0.6


def test_lengths_are_integrals_along_rays() -> None:
    plane = (40, 50)
    lengths = ellipse_lengths(plane, CENTRE, HALF_AXES, TURN)
    assert lengths.shape == (ANGLES, num_detectors(plane))
    middle = num_detectors(plane) // 2
    along = np.linspace(-40, 40, 4001)
    for angle in (0, 17, 60, 95):
        t = angles()[angle]
        for detector in range(middle - 16, middle + 17, 3):
            s = detector - middle + (np.arange(40) + 0.5)[:, None] / 40 - 0.5
            x = s * np.cos(t) - along * np.sin(t) - CENTRE[0]
            y = s * np.sin(t) + along * np.cos(t) - CENTRE[1]
            u = (x * np.cos(TURN) + y * np.sin(TURN)) / HALF_AXES[0]
            v = (y * np.cos(TURN) - x * np.sin(TURN)) / HALF_AXES[1]
            length = (u**2 + v**2 <= 1).mean(axis=0).sum() * (along[1] - along[0])
            assert lengths[angle, detector] == pytest.approx(length, abs=0.05)


@pytest.mark.parametrize("plane", [(40, 50), (51, 37)])
def test_an_ellipse_comes_back_with_its_density(plane: tuple[int, int]) -> None:
    profiles = filtered(2.5 * ellipse_lengths(plane, CENTRE, HALF_AXES, TURN))
    image = back_projected(torch.from_numpy(profiles[None]).float(), plane)[0].numpy()
    x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in plane), indexing="ij")
    u = (x - CENTRE[0]) * np.cos(TURN) + (y - CENTRE[1]) * np.sin(TURN)
    v = (y - CENTRE[1]) * np.cos(TURN) - (x - CENTRE[0]) * np.sin(TURN)
    radius = np.hypot(u / HALF_AXES[0], v / HALF_AXES[1])
    inside, outside = image[radius < 0.6], image[radius > 1.6]
    assert inside.mean() == pytest.approx(2.5, rel=0.01)
    assert np.abs(inside - 2.5).max() < 0.15
    assert abs(outside.mean()) < 0.01
    assert np.abs(outside).max() < 0.15


def test_detectors_see_the_corners_of_the_plane() -> None:
    for plane in [(1, 1), (2, 7), (96, 96), (33, 5)]:
        corner = np.hypot(plane[0] - 1, plane[1] - 1) / 2
        assert num_detectors(plane) // 2 >= corner
        assert num_detectors(plane) % 2 == 1
        ones = np.ones((ANGLES, 4 * num_detectors(plane)))
        seen = back_projected(torch.from_numpy(ones[None]).float(), plane)
        torch.testing.assert_close(seen, torch.full_like(seen, ANGLES))


def test_no_ray_has_less_than_no_length() -> None:
    """Rounding once left a ray -4e-15 voxels long, of whose noise the root was taken."""
    lengths = ellipse_lengths((96, 96), np.array([17.28, 0.0]), np.array([3.5, 3.5]), 0.0)
    assert lengths.min() == 0.0
