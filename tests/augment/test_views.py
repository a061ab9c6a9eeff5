"""Places carried from view to view show the same place of the scan."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.interpolate import BSpline

from medssl.augment.config import AugmentConfig, PatchConfig, SpatialConfig
from medssl.augment.normalise import Normaliser
from medssl.augment.placement import Pose, compose_map, rotation_about
from medssl.augment.pretraining import PretrainSource
from medssl.augment.scan_info import ScanInfo
from medssl.augment.views import (
    before,
    by_spline,
    carry,
    cell_centres,
    map_between,
    matching_grid,
    view_map,
)
from medssl.store.voxels import Rescale

SIZE = (9, 12, 7)


def scan_of(shape: Any, affine: Any) -> ScanInfo:
    box = tuple((0, n) for n in shape)
    return ScanInfo("0" * 32, shape, affine, box, "OT", Normaliser("OT", 0, 1, 0, 1))  # type: ignore[arg-type]


def random_map(rng: np.random.Generator, scan: ScanInfo, size: Any = SIZE) -> Any:
    pose = Pose(rotation_about(rng.uniform(-1, 1, 3)), rng.uniform(0.6, 1.6), (False, True, False))
    centre = scan.centre_mm + rng.uniform(-5, 5, 3)
    return compose_map(scan, size, rng.uniform(0.5, 5, 3), centre, pose)


def oriented(order: Any, flips: Any, spacing: Any) -> Any:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(np.asarray(spacing) * np.where(flips, -1, 1))[:, order]
    affine[:3, 3] = [-120.0, 300.5, 8.25]
    return affine


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(permutations(range(3)))),
    st.sampled_from(list(product((False, True), repeat=3))),
    st.tuples(*[st.floats(0.3, 6)] * 3),
    st.tuples(*[st.integers(1, 512)] * 3),
    st.integers(0, 10_000),
)
def test_there_and_back_is_where_one_was(
    order: Any, flips: Any, spacing: Any, shape: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scan = scan_of(shape, oriented(list(order), flips, spacing))
    one, other = (torch.from_numpy(random_map(rng, scan)) for _ in range(2))
    points = torch.from_numpy(rng.uniform(0, 9, (1, 5, 3)))
    there = carry(points, map_between(one, other)[None])
    for p, q in zip(points[0], there[0], strict=True):
        stored = one[:3, :3] @ p + one[:3, 3]
        torch.testing.assert_close(other[:3, :3] @ q + other[:3, 3], stored, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(carry(there, map_between(other, one)[None]), points)


def test_single_precision_maps_of_scanner_sized_scans_are_exact_to_a_ten_thousandth() -> None:
    rng = np.random.default_rng(0)
    scan = scan_of((512, 512, 400), np.diag([0.7, 0.7, 1.0, 1.0]))
    size = (96, 96, 96)
    points = cell_centres(size, (7, 7, 7))[None]
    for _ in range(50):
        pose = [
            Pose(rotation_about(rng.uniform(-0.3, 0.3, 3)), rng.uniform(0.7, 1.4)) for _ in "ab"
        ]
        centres = [scan.centre_mm + rng.uniform(-100, 100, 3) for _ in "ab"]
        maps = [
            torch.from_numpy(compose_map(scan, size, np.full(3, 1.0), c, p))
            for c, p in zip(centres, pose, strict=True)
        ]
        exact = carry(points, map_between(*maps)[None])
        single = carry(points, map_between(*(m.float() for m in maps))[None])
        assert (exact - single).abs().max() < 1e-4


@pytest.mark.parametrize("codes", ["RAS", "PLI", "SAR"])
def test_images_of_two_views_agree_at_matching_places(make_store: Any, codes: str) -> None:
    """Each view of a scan whose values are coordinates tells where it looks."""
    shape = (40, 36, 44)
    ramps = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")).astype(np.float32)
    affine = oriented(
        ["RASLPI".index(c) % 3 for c in codes], [c in "LPI" for c in codes], (1, 2, 1)
    )
    store = make_store([(r, Rescale(), affine, "OT", "arbitrary") for r in ramps])
    config = AugmentConfig(
        patch=PatchConfig(size=(12, 14, 10), spacing_mm=1.2),
        spatial=SpatialConfig(rotate_probability=1.0, scale_probability=1.0),
    )
    source = PretrainSource(store, store.manifest, config, num_views=2, intensity=False)
    rows = {int(b["volume"]): b for b in (source.sample(0, i) for i in range(3))}
    assert set(rows) == {0, 1, 2}
    for batch in rows.values():
        batch = {key: value[None] for key, value in batch.items()}
        between = view_map(batch, of=0, to=1)
        inverse = view_map(batch, of=1, to=0)
        torch.testing.assert_close(
            between @ inverse, torch.eye(4).double()[None], atol=1e-5, rtol=0
        )
        points = torch.cartesian_prod(*(torch.arange(n) for n in (12, 14, 10)))[None]
        there = carry(points, between)[0].numpy()
        shown = batch["image"][0, :, 0].numpy()
        deep = (there >= 0.01).all(1) & (there <= np.array([12, 14, 10]) - 1.01).all(1)
        first, second = batch["valid"][0, :, 0].numpy()
        second = ndimage.binary_erosion(second, border_value=1)
        again = ndimage.map_coordinates(shown[1], there.T, order=1)
        trusted = (
            deep & first.ravel() & (ndimage.map_coordinates(second * 1.0, there.T, order=1) == 1)
        )
        assert trusted.sum() > 50
        spread = shown[0].ravel()[trusted].std()
        assert np.abs(again - shown[0].ravel())[trusted].max() < 1e-3 * max(spread, 1)


def waves(steepest: float, phase: float) -> Any:
    """A smooth deformation whose displacement differs by at most `steepest` per voxel."""

    def displace(points: torch.Tensor) -> torch.Tensor:
        k = 0.4
        return steepest / k * torch.sin(k * points.roll(1, dims=-1) + phase)

    return displace


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.65), st.floats(0, 0.65), st.integers(0, 1000))
def test_deformed_views_meet_where_their_voxels_show_the_same_place(
    steep_of: float, steep_to: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scan = scan_of((60, 60, 60), np.eye(4))
    of, to = waves(steep_of, 0.3), waves(steep_to, 1.1)
    one, other = (torch.from_numpy(random_map(rng, scan)) for _ in range(2))
    points = torch.from_numpy(rng.uniform(0, 12, (1, 30, 3)))
    there = carry(points, map_between(one, other)[None], of, to)
    shown = (points + of(points)) @ one[:3, :3].T + one[:3, 3]
    again = (there + to(there)) @ other[:3, :3].T + other[:3, 3]
    per_voxel = other[:3, :3].abs().sum()
    assert (shown - again).abs().max() < 1e-4 * per_voxel


def lattice(rng: np.random.Generator, largest: float, apart: float, size: Any = SIZE) -> Any:
    """Control points' displacements of three views with lattices of their own, and their cells."""
    cells = rng.integers(1, 5, (3, 3))
    control = rng.uniform(-1, 1, (3, 3, *(cells.max(axis=0) + 3))) * largest
    return (
        torch.from_numpy(control),
        torch.from_numpy(cells),
        torch.full((3, 3), 1 / apart).double(),
    )


def test_a_spline_displaces_as_scipy_s_does() -> None:
    rng = np.random.default_rng(4)
    control, cells, scale = lattice(rng, 1.0, 4.0)
    points = rng.uniform(-3, 22, (3, 40, 3))
    found = by_spline(control, cells, scale)(torch.from_numpy(points)).numpy()
    for b in range(3):
        for n, point in enumerate(points[b]):
            place = np.clip((point + 0.5) / 4.0, 0, cells[b].numpy())
            value = control[b].numpy()[:, *(slice(0, int(c) + 3) for c in cells[b])]
            for at in place:  # one axis after the other; scipy's knots begin three before
                spline = BSpline(np.arange(-3, value.shape[1] + 1), np.moveaxis(value, 1, 0), 3)
                value = spline(at)
            np.testing.assert_allclose(found[b, n], value, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 0.399), st.floats(3, 20))
def test_a_spline_as_wild_as_is_allowed_is_undone(seed: int, share: float, apart: float) -> None:
    rng = np.random.default_rng(seed)
    control, cells, scale = lattice(rng, share * apart, apart)
    if seed % 2:
        control = share * apart * control.sign()
    deformation = by_spline(control, cells, scale)
    points = torch.from_numpy(rng.uniform(-2, 4 * apart, (3, 100, 3)))
    again = before(deformation, points + deformation(points))
    assert (again + deformation(again) - points - deformation(points)).abs().max() < 1e-4
    assert (again - points).abs().max() < 1e-3


def test_cells_are_where_pooling_averages() -> None:
    ramp = torch.stack(
        torch.meshgrid(*(torch.arange(n).double() for n in (14, 21, 7)), indexing="ij")
    )
    pooled = F.adaptive_avg_pool3d(ramp[None], (7, 7, 7))[0].flatten(1).T
    torch.testing.assert_close(cell_centres((14, 21, 7), (7, 7, 7)), pooled)


def test_the_matching_grid_takes_the_same_place_from_the_other_view() -> None:
    rng = np.random.default_rng(5)
    scan = scan_of((50, 50, 50), np.eye(4))
    size, cells = (14, 21, 7), (7, 7, 7)
    of, to = waves(0.2, 0.0), waves(0.3, 2.0)
    maps = [torch.from_numpy(np.stack([random_map(rng, scan, size) for _ in "ab"])) for _ in "ab"]
    between = map_between(*maps)
    grid, inside = matching_grid(between, size, cells, of, to)
    assert grid.shape == (2, 7, 7, 7, 3)
    assert grid.dtype == torch.float32
    assert 20 < inside.sum() < inside.numel() - 20
    ramp = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in size), indexing="ij"))
    looked = F.grid_sample(ramp.expand(2, -1, -1, -1, -1), grid.double(), align_corners=False)
    centres = cell_centres(size, cells).expand(2, -1, -1)
    there = carry(centres, between, of, to).reshape(2, *cells, 3)
    for b, index in product(range(2), np.ndindex(cells)):
        at = there[(b, *index)]
        is_in = all(-0.5 <= x <= n - 0.5 for x, n in zip(at.tolist(), size, strict=True))
        assert bool(inside[(b, *index)]) == is_in
        if all(0 <= x <= n - 1 for x, n in zip(at.tolist(), size, strict=True)):
            torch.testing.assert_close(looked[(b, slice(None), *index)], at, atol=1e-4, rtol=0)


def test_a_sample_s_matches_do_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(6)
    scan = scan_of((50, 50, 50), np.eye(4))
    maps = [torch.from_numpy(np.stack([random_map(rng, scan) for _ in "abcd"])) for _ in "ab"]
    together, _ = matching_grid(map_between(*maps), SIZE, (3, 4, 5))
    for n in range(4):
        alone, _ = matching_grid(map_between(*(m[n : n + 1] for m in maps)), SIZE, (3, 4, 5))
        torch.testing.assert_close(alone[0], together[n])
