"""Beam hardening darkens lines between metals, starvation adds noise, slices without stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medssl.augment.intensity.base import Views
from medssl.augment.intensity.metal_streaks import MetalStreaks, lost_to_metal, metal_in_plane
from medssl.augment.intensity.parallel_beam import angles, num_detectors

SIZE = (65, 65, 9)
DISKS: dict[str, Any] = {
    "centre": np.array([[0.25, 0.5], [0.75, 0.5]]),
    "half_axes": np.full((2, 2), 3.0),
    "turn_deg": np.zeros(2),
    "attenuation": 20.0,
    "spread": 0.3,
    "noise": 0.0,
    "slices": 0.34,
    "middle_slice": 0.5,
    "noise_seed": 7,
}


def seen(**changed: Any) -> Any:
    """A water bath of SIZE with metal in it."""
    views = Views(torch.zeros(1, 1, *SIZE), torch.tensor([-1.0]), [torch.Generator()])
    return MetalStreaks().apply(views, [DISKS | changed])[0, 0].numpy()


def test_between_two_metals_it_is_dark() -> None:
    plane = seen()[:, :, 4]
    between = plane[24:41, 31:34]
    assert between.mean() < -0.1, "more than 100 HU darker"
    beside = np.concatenate([plane[24:41, 8:16], plane[24:41, 49:57]], axis=1)
    assert abs(beside.mean()) < 0.03
    # along the joining line and nowhere else: the band is the darkest of any place outside metal
    far = np.hypot(*np.meshgrid(np.arange(65) - 32, np.arange(65) - 32, indexing="ij")) > 25
    far &= metal_in_plane((65, 65), DISKS) == 0
    assert abs(plane[far].mean()) < 0.03
    assert plane[20:45, 32].max() < plane[20:45, 22].min()


def test_one_round_metal_darkens_no_line() -> None:
    one = {"centre": np.array([[0.5, 0.5]]), "half_axes": np.full((1, 2), 3.0)}
    plane = seen(**one, turn_deg=np.zeros(1))[:, :, 4]
    x, y = np.meshgrid(np.arange(65) - 32, np.arange(65) - 32, indexing="ij")
    ring = np.abs(np.hypot(x, y) - 12) < 0.5
    assert np.ptp(plane[ring]) < 0.2 * abs(seen()[24:41, 31:34, 4].mean())


def test_a_long_metal_darkens_the_line_along_it() -> None:
    long = {"centre": np.array([[0.5, 0.5]]), "half_axes": np.array([[9.0, 2.5]])}
    for turn in (0.0, 90.0):
        plane = seen(**long, turn_deg=np.array([turn]))[:, :, 4]
        if turn == 90.0:
            plane = plane.T
        assert plane[46:52, 32].mean() < -0.05
        assert plane[32, 46:52].mean() > -0.01


def test_metal_is_at_the_top_and_where_it_was_drawn() -> None:
    image = seen()
    x, y = np.meshgrid(np.arange(65), np.arange(65), indexing="ij")
    metal = np.minimum(np.hypot(x - 16, y - 32), np.hypot(x - 48, y - 32)) <= 3
    assert (image[:, :, 4][metal] == 1.0).all()
    assert (image[:, :, 4][~metal] < 1.0).all()


def test_slices_without_metal_are_left_as_they_were() -> None:
    image = torch.rand(2, 2, 20, 17, 9, generator=torch.Generator().manual_seed(0))
    views = Views(image.clone(), torch.tensor([-1.0, -1.0]), [torch.Generator()] * 2)
    drawn = [DISKS | {"noise": 0.01}, DISKS | {"noise": 0.01, "middle_slice": 0.999, "slices": 0.0}]
    after = MetalStreaks().apply(views, drawn)
    for row, slices in ((0, [3, 4, 5]), (1, [8])):
        changed = (after[row] != image[row]).flatten(0, 2).any(dim=0)
        assert changed.nonzero().flatten().tolist() == slices
        # the same streaks in every slice and channel
        outside = torch.from_numpy(metal_in_plane((20, 17), drawn[row]) == 0)
        streaks = (after[row] - image[row])[:, outside][:, :, slices]
        torch.testing.assert_close(
            streaks, streaks[:1, :, :1].expand_as(streaks), atol=1e-5, rtol=0
        )


def test_what_is_measured_is_a_beam_of_two_energies() -> None:
    plane = (65, 65)
    lost = lost_to_metal(plane, DISKS)
    # at angle 0 rays run along the second axis: through the middle of one disk each
    middle = num_detectors(plane) // 2
    edges = np.linspace(-0.5, 0.5, 201)
    p = (2 * np.sqrt(9 - edges**2)).mean() * 20.0 * 0.19 * 0.15
    measured = -np.log(0.5 * np.exp(-1.3 * p) + 0.5 * np.exp(-0.7 * p))
    assert lost[0, middle - 16] == pytest.approx(measured - p, rel=1e-3)
    assert lost[0, middle] == 0.0
    # at 90 degrees through both
    both = -np.log(0.5 * np.exp(-2.6 * p) + 0.5 * np.exp(-1.4 * p))
    assert angles()[60] == pytest.approx(np.pi / 2)
    assert lost[60, middle] == pytest.approx(both - 2 * p, rel=1e-3)


def test_a_perfect_scanner_loses_nothing() -> None:
    assert np.abs(lost_to_metal((40, 30), DISKS | {"spread": 0.0})).max() < 1e-12
    plane = seen(spread=0.0)[:, :, 4]
    assert np.abs(plane[metal_in_plane((65, 65), DISKS) == 0]).max() < 1e-6


def test_noise_is_that_of_the_counts_that_are_left() -> None:
    quiet = lost_to_metal((65, 65), DISKS)
    noisy = np.stack(
        [
            lost_to_metal((65, 65), DISKS | {"noise": 0.01, "noise_seed": seed}) - quiet
            for seed in range(300)
        ]
    )
    middle = num_detectors((65, 65)) // 2
    p = 2 * 3.0 * 20.0 * 0.19 * 0.15
    measured = p - np.log(np.cosh(0.3 * p))
    # Poisson: the variance of a logarithm of counts is 1 / counts
    expected = np.sqrt(0.01**2 * np.exp(measured) - 0.01**2)
    assert noisy[:, 0, middle - 16].std() == pytest.approx(expected, rel=0.15)
    assert (noisy[:, 0, middle] == 0).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0, 9.0])
def test_what_is_drawn_stays_in_its_ranges(strength: float) -> None:
    transform = MetalStreaks()
    drawn = [transform.draw(np.random.default_rng(s), strength) for s in range(200)]
    assert {len(one["centre"]) for one in drawn} == {1, 2, 3}
    for name, cap in (("attenuation", 1e9), ("spread", 0.9), ("noise", 1e9), ("slices", 1.0)):
        low, high = getattr(transform, name)
        values = np.array([one[name] for one in drawn])
        assert low <= values.min()
        assert values.max() <= min(cap, low + (high - low) * strength) + 1e-12
    half_axes = np.concatenate([one["half_axes"] for one in drawn])
    radius = np.sqrt(half_axes.prod(axis=1))
    assert radius.min() >= 1.0 - 1e-9
    assert radius.max() <= 1.0 + 2.5 * strength + 1e-9
    assert (half_axes[:, 0] / half_axes[:, 1]).max() <= 3.0 + 1e-9
