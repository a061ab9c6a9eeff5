"""Contours into voxels: the even-odd rule, planes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.archive.dicom.structure_set import Contour, Roi, enclosed, read_structure_set
from medssl.archive.dicom.structures import Grid, LabelFault
from medssl.archive.reasons import Reason

SHAPE = (5, 12, 16)
GRID = Grid(np.array([[0, 0, -1.5, 3], [0, -2.0, 0, 5], [4, 0, 0, -7], [0, 0, 0, 1.0]]), SHAPE)


def lps(grid: Grid, index: Any) -> np.ndarray:
    """(slice, row, column) to LPS mm."""
    with np.errstate(invalid="ignore"):
        ras = np.asarray(index, dtype=float) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.asarray(ras * [-1, -1, 1])


def square(at: float, low: float, high: float) -> list[list[float]]:
    return [[at, low, low], [at, low, high], [at, high, high], [at, high, low]]


def roi(*contours: Any, grid: Grid = GRID, kind: str = "CLOSED_PLANAR") -> Roi:
    return Roi("x", "1.2", frozenset(), tuple(Contour(lps(grid, c), kind) for c in contours))


def drawn(*contours: Any, grid: Grid = GRID) -> np.ndarray:
    return roi(*contours, grid=grid).draw(grid)[0]


def refused(one: Roi, grid: Grid = GRID) -> LabelFault:
    with pytest.raises(LabelFault) as caught:
        one.draw(grid)
    return caught.value


def box(at: int, low: int, high: int) -> np.ndarray:
    out = np.zeros(SHAPE, dtype=bool)
    out[at, low : high + 1, low : high + 1] = True
    return out


def test_centres_inside_belong_to_the_roi() -> None:
    np.testing.assert_array_equal(drawn(square(2, 2.5, 6.5)), box(2, 3, 6))


def test_a_centre_on_the_border_belongs_to_one_of_two_neighbours() -> None:
    left = enclosed([np.array([[0, 0], [0, 5], [5, 5], [5, 0]], dtype=float)], (12, 16))
    right = enclosed([np.array([[0, 5], [0, 9], [5, 9], [5, 5]], dtype=float)], (12, 16))
    assert not (left & right).any()
    assert (left | right)[:5, :9].all()
    assert left.sum() + right.sum() == 45


def test_holes_stay_holes_drawn_apart_or_through_a_keyhole() -> None:
    expected = box(1, 2, 9) & ~box(1, 4, 6)
    np.testing.assert_array_equal(drawn(square(1, 1.5, 9.5), square(1, 3.5, 6.5)), expected)
    outer, inner = square(1, 1.5, 9.5), square(1, 3.5, 6.5)
    keyhole = [*outer, outer[0], *reversed(inner), inner[-1]]
    np.testing.assert_array_equal(drawn(keyhole), expected)
    banks_between_centres = [*outer, outer[0], inner[0], *reversed(inner), outer[0]]
    np.testing.assert_array_equal(drawn(banks_between_centres), expected)


def test_an_island_in_a_hole_is_inside() -> None:
    found = drawn(square(1, 0.5, 10.5), square(1, 2.5, 8.5), square(1, 4.5, 6.5))
    np.testing.assert_array_equal(found, box(1, 1, 10) & ~box(1, 3, 8) | box(1, 5, 6))


def _naive(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """One centre after the other: crossings of a ray, W. R. Franklin's pnpoly."""
    out = np.zeros(shape, dtype=bool)
    for row in range(shape[0]):
        for column in range(shape[1]):
            for polygon in polygons:
                for (y0, x0), (y1, x1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                    if (y0 > row) != (y1 > row):
                        out[row, column] ^= column < (x1 - x0) * (row - y0) / (y1 - y0) + x0
    return out


corner = st.tuples(st.integers(-30, 150), st.integers(-30, 200)).map(
    lambda p: (p[0] / 10 + 0.0123, p[1] / 10 + 0.0457)
)


@given(st.lists(st.lists(corner, min_size=3, max_size=8), min_size=1, max_size=3))
def test_enclosed_equals_the_rule_centre_by_centre(polygons: list[Any]) -> None:
    corners = [np.array(p) for p in polygons]
    np.testing.assert_array_equal(enclosed(corners, (12, 16)), _naive(corners, (12, 16)))


@pytest.mark.parametrize("seed", range(4))
def test_oblique_and_sheared_grids_of_unequal_spacing_give_the_same_voxels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = axes * [3.0, 0.7, 1.1]
    affine[:3, 0] += 0.8 * affine[:3, 1]  # gantry tilt
    affine[:3, 3] = rng.normal(size=3) * 100
    contour = [[3, 1.2, 2.7], [3, 9.8, 4.1], [3, 7.1, 13.6]]
    grid = Grid(affine, SHAPE)
    for points in (contour, square(3, 2, 7)):  # the second runs through centres of voxels
        np.testing.assert_array_equal(drawn(points, grid=grid), drawn(points))
        assert drawn(points).any()


def test_the_nearest_slice_takes_a_contour_between_slices() -> None:
    np.testing.assert_array_equal(drawn(square(2.4, 2.5, 6.5)), box(2, 3, 6))
    np.testing.assert_array_equal(drawn(square(-0.45, 2.5, 6.5)), box(0, 3, 6))


@pytest.mark.parametrize("at", [-0.6, 4.6, 30])
def test_a_contour_more_than_half_a_slice_off_is_refused(at: float) -> None:
    assert refused(roi(square(at, 2, 6))).reason is Reason.LABEL_OFF_SLICE


def test_contours_of_two_planes_never_cancel_out_on_one_slice() -> None:
    fault = refused(roi(square(2, 2, 6), square(2.4, 2, 6)))
    assert fault.reason is Reason.LABEL_OFF_SLICE


def test_a_volume_that_was_resampled_has_no_true_slice() -> None:
    moved = Grid(GRID.affine, SHAPE, true_slices=False)
    assert refused(roi(square(2, 2, 6)), moved).reason is Reason.LABEL_OFF_SLICE


@pytest.mark.parametrize(
    "bad",
    [
        roi(square(2, 2, 6), kind="OPEN_PLANAR"),
        roi([[2, 3, 3]], kind="POINT"),
        roi(square(2, 2, 6), kind="Anna"),
        roi([[2, 3, 3], [2, 5, 5]]),
        roi([*square(2, 2, 6)[:3], [2.3, 6, 2]]),
        roi([*square(2, 2, 6)[:3], [2, np.nan, 2]]),
        roi([*square(2, 2, 6)[:3], [2, np.inf, 2]]),
        roi([*square(2, 2, 6)[:3], [2, 1e9, 2]]),
        Roi("x", "1.2", frozenset(), (Contour(None, "CLOSED_PLANAR"),)),
    ],
)
def test_contours_that_enclose_nothing_are_refused(bad: Roi) -> None:
    fault = refused(bad)
    assert fault.reason is Reason.LABEL_CONTOUR_INVALID
    assert "Anna" not in fault.detail


def test_an_roi_beside_the_image_is_refused() -> None:
    assert refused(roi(square(2, 40, 60))).reason is Reason.LABEL_GRID_MISMATCH
    assert drawn(square(2, -50, 60))[2].all()  # a body contour goes beyond a small field of view


def test_a_structure_set_is_read_roi_by_roi(
    tmp_path: Path, make_series: Callable[..., Any], write_structure_set: Callable[..., Path]
) -> None:
    series = make_series()
    rois = {"GTV": [[[0, 0, 100], [5, 0, 100], [5, 5, 100]]], "planned": [], "PTV": [[[1, 2, 3]]]}
    path = write_structure_set(tmp_path / "rs", series.slices, rois, instances=["1.2.3"])
    first, second = read_structure_set(path)
    assert (first.name, second.name) == ("GTV", "PTV")
    assert first.frame_of_reference == series.slices[0].FrameOfReferenceUID
    assert first.instances == {"1.2.3"}
    np.testing.assert_array_equal(first.contours[0].points, rois["GTV"][0])


@pytest.mark.parametrize("number", [b"3.0x0000", b"nan     ", b"3.0\\0000", b"        "])
def test_numbers_that_are_none_are_told_when_the_roi_is_drawn(
    tmp_path: Path,
    make_series: Callable[..., Any],
    write_structure_set: Callable[..., Path],
    number: bytes,
) -> None:
    points = [[0, 0, 100], [3, 0, 100], [0, 5, 100]]
    path = write_structure_set(tmp_path / "rs", make_series().slices, {"a": [points]})
    path.write_bytes(path.read_bytes().replace(b"3.000000", number))
    (one,) = read_structure_set(path)
    assert refused(one).reason is Reason.LABEL_CONTOUR_INVALID
