"""Boxes are cut where and as large as was drawn, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.augment.intensity.base import Views
from medssl.augment.intensity.cut_out import CutOut, box_bounds

from .conftest import scene
from .test_every_transform import several


def test_the_boxes_drawn_are_cut_and_nothing_else() -> None:
    image = scene(2, 10, 20, 8)
    drawn = {
        "sides": np.array([[0.5, 0.2, 1.0], [0.2, 0.25, 0.25]]),
        "place": np.array([[0.999, 0.0, 0.5], [0.0, 0.999, 0.5]]),
        "to_background": True,
    }
    expected = image.clone()
    expected[:, 5:10, 0:4, 0:8] = -1.2
    expected[:, 0:2, 15:20, 3:5] = -1.2
    views = Views(image[None].clone(), torch.tensor([-1.2]), [torch.Generator()])
    assert torch.equal(CutOut(2, (0.1, 0.2)).apply(views, [drawn])[0], expected)


def test_each_view_has_its_boxes_and_its_fill() -> None:
    transform = CutOut(3, (0.05, 0.3))
    views, drawn = several(transform, 20)
    before = views.image.clone()
    after = transform.apply(views, drawn)
    assert len({one["to_background"] for one in drawn}) == 2
    assert {len(one["sides"]) for one in drawn} == {1, 2, 3}
    for row, one in enumerate(drawn):
        expected = before[row].clone()
        fill = float(views.background[row]) if one["to_background"] else 0.0
        for (x0, x1), (y0, y1), (z0, z1) in box_bounds(expected.shape[1:], one):
            expected[:, x0:x1, y0:y1, z0:z1] = fill
        assert torch.equal(after[row], expected)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.sampled_from([1, 2, 5, 12, 33, 96])] * 3),
    seed=st.integers(0, 999),
    strength=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_boxes_lie_inside(shape: tuple[int, int, int], seed: int, strength: float) -> None:
    drawn = CutOut(3, (0.02, 0.5)).draw(np.random.default_rng(seed), strength)
    bounds = box_bounds(shape, drawn)
    assert (bounds[..., 0] >= 0).all()
    assert (bounds[..., 1] > bounds[..., 0]).all()
    assert (bounds[..., 1] <= shape).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0, 50.0])
def test_the_volume_is_the_share_drawn(strength: float) -> None:
    transform = CutOut(3, (0.02, 0.15))
    total, places = [], []
    for seed in range(300):
        drawn = transform.draw(np.random.default_rng(seed), strength)
        total.append(drawn["sides"].prod(axis=1).sum())
        assert (drawn["sides"] <= 1).all()
        bounds = box_bounds((96, 96, 96), drawn)
        volume = np.diff(bounds, axis=-1)[..., 0].prod(axis=1).sum() / 96**3
        # each side is rounded by at most half a voxel
        assert volume == pytest.approx(total[-1], rel=0.15)
        places.append((bounds.mean(axis=(0, 2))) / 96)
    assert min(total) >= 0.02 - 1e-9
    assert max(total) <= min(0.02 + 0.13 * strength, 0.9) + 1e-9
    assert np.abs(np.mean(places, axis=0) - 0.5).max() < 0.05
