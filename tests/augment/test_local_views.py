"""Local crops lie inside a view, turned as both are, and on the body."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medssl.augment.config import LocalViewsConfig, PatchConfig, SpatialConfig
from medssl.augment.local_views import draw_local_map
from medssl.augment.normalise import Normaliser
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import draw_map
from medssl.store.body import BodyMask

SPATIAL = SpatialConfig(rotate_deg=40, rotate_probability=0.7, scale_probability=0.7, flip=(0, 2))


def scan_of(shape: Any, affine: Any) -> ScanInfo:
    box = tuple((0, n) for n in shape)
    return ScanInfo("0" * 32, shape, affine, box, "OT", Normaliser("OT", 0, 1, 0, 1))  # type: ignore[arg-type]


def corners(size: Any) -> Any:
    return np.array([[*c, 1.0] for c in product(*((0, n - 1) for n in size))]).T


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(permutations(range(3)))),
    st.sampled_from(list(product((False, True), repeat=3))),
    st.tuples(*[st.floats(0.4, 5)] * 3),
    st.floats(0, 60),
    st.tuples(*[st.integers(1, 160)] * 3),
    st.tuples(*[st.integers(1, 14)] * 3),
    st.integers(0, 10_000),
)
def test_every_corner_lies_in_a_view(
    order: Any, flips: Any, spacing: Any, degrees: float, shape: Any, local_size: Any, seed: int
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(np.asarray(spacing) * np.where(flips, -1, 1))[:, order]
    turn, angle = np.eye(4), np.deg2rad(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scan = scan_of(shape, turn @ affine)
    patch = PatchConfig(size=(32, 33, 31), spacing_mm=(1.0, 1.3, 0.8))
    rng = np.random.default_rng(seed)
    views = [draw_map(rng, scan, patch, SPATIAL) for _ in "ab"]
    local = LocalViewsConfig(size=local_size, scale=(0.9, 1.2))
    made = draw_local_map(rng, scan, views, patch, SPATIAL, local, BodyMask.whole(scan.shape))
    outside = []
    for view in views:
        at = (np.linalg.solve(view, made) @ corners(local_size))[:3]
        half_a_voxel = 0.5 * np.abs(np.linalg.inv(view)[:3, :3]).sum(axis=1)
        last = np.array(patch.size) - 1
        low, high = at.min(axis=1), at.max(axis=1)
        beyond = np.where(
            high - low <= last, np.maximum(-low, high - last), np.abs(low + high - last) / 2
        )
        outside.append((beyond - half_a_voxel).max())
    assert min(outside) <= 1e-6


def test_crops_are_turned_scaled_and_spread_over_both_views() -> None:
    scan = scan_of((200, 200, 200), np.eye(4))
    patch, local = PatchConfig(size=(64, 64, 64)), LocalViewsConfig(size=(16, 16, 16))
    body = BodyMask.whole(scan.shape)
    views = [np.eye(4), np.eye(4)]
    views[1][:3, 3] = 100.0
    made = np.array(
        [
            draw_local_map(np.random.default_rng(s), scan, views, patch, SPATIAL, local, body)
            for s in range(300)
        ]
    )
    middles = (made @ [7.5, 7.5, 7.5, 1.0])[:, :3]
    first = (middles < 82).all(axis=1)
    assert 0.4 < first.mean() < 0.6
    assert ((middles < 64) | (middles > 99)).all()
    assert (np.ptp(middles[first], axis=0) > 30).all(), "as far as they fit"
    scales = np.abs(np.linalg.det(made[:, :3, :3])) ** (-1 / 3)
    assert 0.7 <= scales.min() < 0.75
    assert 1.3 < scales.max() <= 1.4 + 1e-9
    assert 0.2 < (np.linalg.det(made[:, :3, :3]) < 0).mean() < 0.8, "some are mirrored"


def test_a_crop_longer_than_its_view_lies_about_its_middle() -> None:
    scan = scan_of((100, 100, 100), np.eye(4))
    patch, still = PatchConfig(size=(10, 40, 10)), SpatialConfig(rotate_probability=0)
    view = np.eye(4)
    view[:3, 3] = [30, 31, 32]
    local = LocalViewsConfig(size=(20, 20, 20), scale=(1.0, 1.0))
    for seed in range(20):
        made = draw_local_map(
            np.random.default_rng(seed),
            scan,
            [view],
            patch,
            still,
            local,
            BodyMask.whole(scan.shape),
        )
        middle = (made @ [9.5, 9.5, 9.5, 1.0])[:3]
        assert np.abs(middle[[0, 2]] - [34.5, 36.5]).max() <= 0.5
        assert 40 <= middle[1] <= 61


def test_local_crops_lie_on_the_body() -> None:
    scan = scan_of((120, 120, 120), np.eye(4))
    blocks = np.zeros((24, 24, 24), dtype=bool)
    blocks[8:12, 8:14] = True
    patch, local = PatchConfig(size=(96, 96, 96)), LocalViewsConfig(size=(16, 16, 16))
    view = np.eye(4)
    view[:3, 3] = 12.0

    def empty(body: BodyMask) -> float:
        middles = [
            (
                draw_local_map(np.random.default_rng(s), scan, [view], patch, SPATIAL, local, body)
                @ [7.5, 7.5, 7.5, 1.0]
            )[:3]
            for s in range(150)
        ]
        return float(np.mean([not blocks[tuple((m // 5).astype(int))] for m in middles]))

    assert empty(BodyMask.whole(scan.shape)) > 0.8
    sparse = empty(BodyMask(blocks, (5, 5, 5)))
    assert sparse < 0.5, "a quarter of a crop is enough, so its middle may be air"


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValidationError, match="ends before it starts"):
        LocalViewsConfig(scale=(1.2, 1.1))
    with pytest.raises(ValidationError):
        LocalViewsConfig(count=0)
