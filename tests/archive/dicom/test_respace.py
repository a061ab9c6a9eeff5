"""Unequal steps: set aside, or taken to equal ones from the slices' true positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medssl.archive.dicom import Policy, group_by_series, read_header, read_series
from medssl.archive.dicom.geometry import Misplaced
from medssl.archive.dicom.respace import interpolate, respace
from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan
from medssl.store.voxels import Rescale

MakeSeries = Callable[..., Any]
RESAMPLE = Policy(irregular_spacing="resample")
AXIAL, SPACING = (1, 0, 0, 0, 1, 0), (1.0, 1.0)


def judge(series: Any, policy: Policy = RESAMPLE) -> list[Judged]:
    headers = [read_header(path) for path in series.write()]
    return [j for group in group_by_series(headers) for j in read_series(group, policy)]


def along_z(heights: Any) -> np.ndarray[Any, Any]:
    return np.stack([np.zeros(len(heights)), np.zeros(len(heights)), np.array(heights)], axis=1)


def test_a_ramp_through_space_stays_that_ramp(make_series: MakeSeries) -> None:
    """Values that are linear in z are exact wherever a new slice comes to lie."""
    series = make_series()
    heights = [0, 2, 4, 6, 8, 11, 14, 17]
    for ds, z in zip(series.slices, heights, strict=True):
        ds.ImagePositionPatient = [-20, -30, z]
        ds.PixelData = np.full((12, 10), 100 * z, np.int16).tobytes()
    (scan,) = judge(series)
    assert isinstance(scan, Scan)
    assert scan.corrections == (Reason.SPACING_RESAMPLED,)
    assert "2.000 to 3.000 mm taken to 2.000 mm" in scan.detail
    assert scan.stored.dtype == np.float32
    world = [(scan.affine @ [k, 0, 0, 1])[2] for k in range(len(scan.stored))]
    np.testing.assert_allclose(world, np.arange(0, 17, 2), atol=1e-9)
    values = scan.rescale.apply(scan.stored)
    np.testing.assert_allclose(values[:, 0, 0], 100 * np.array(world) - 24, rtol=1e-6)
    assert scan.units == "HU"


def test_the_default_sets_them_aside(make_series: MakeSeries) -> None:
    series = make_series()
    for ds, z in zip(series.slices, [0, 2, 4, 6, 8, 11, 14, 17], strict=True):
        ds.ImagePositionPatient = [-20, -30, z]
    (judged,) = judge(series, Policy())
    assert isinstance(judged, Rejection)
    assert judged.reason is Reason.SPACING_IRREGULAR


@pytest.mark.parametrize(
    "heights",
    [
        [0, 2, 4, 6, 10, 12, 14, 16],  # regular but for one gap
        [0, 2, 4.3, 6, 8, 12.1, 14, 16],  # irregular, and a gap
        [0, 2, 4.3, 6, 8, 13, 15, 17],
    ],
)
def test_a_missing_slice_is_never_closed_over(make_series: MakeSeries, heights: list[Any]) -> None:
    series = make_series()
    for ds, z in zip(series.slices, heights, strict=True):
        ds.ImagePositionPatient = [-20, -30, z]
    (judged,) = judge(series)
    assert isinstance(judged, Rejection)
    assert judged.reason is Reason.MISSING_SLICE


def test_a_slice_off_the_line_is_not_resampled() -> None:
    positions = along_z([0, 2, 4, 6.8, 8, 10])
    positions[3, 0] = 3
    with pytest.raises(Misplaced) as caught:
        respace(positions, AXIAL, SPACING)
    assert caught.value.reason is Reason.SPACING_IRREGULAR


def test_a_sheared_stack_keeps_its_shear() -> None:
    heights = np.array([0, 2, 4, 6, 9, 12.0])
    positions = along_z(heights)
    positions[:, 1] = 0.3 * heights + 5
    found = respace(positions[::-1], AXIAL, SPACING)
    assert found.order == [5, 4, 3, 2, 1, 0]
    np.testing.assert_allclose((found.affine @ [3, 0, 0, 1])[:3], [0, -(0.3 * 6 + 5), 6])
    assert len(found.below) == 7
    assert found.below[-1] == 4  # 12 mm: the last true slice
    assert found.share[-1] == 1.0


def test_nothing_is_made_beyond_the_ends_and_true_slices_stay() -> None:
    found = respace(along_z([0, 2, 4, 6.5, 8.5, 10.4]), AXIAL, SPACING)
    assert len(found.below) == 6  # 0 to 10
    stored = np.random.default_rng(0).integers(0, 900, (6, 4, 5)).astype(np.int16)
    values, mask = interpolate(stored, Rescale(2.0, -3.0), found, None)
    assert mask is None
    np.testing.assert_array_equal(values[:3], stored[:3] * 2.0 - 3.0)
    expected = (2 * stored[2] * 0.2 + 2 * stored[3] * 0.8 - 3).astype(np.float32)
    np.testing.assert_allclose(values[3], expected, rtol=1e-6)


def test_a_rescale_by_slice_goes_before_the_interpolation() -> None:
    found = respace(along_z([0, 2, 4, 7.0]), AXIAL, SPACING)
    stored = np.ones((4, 2, 2), dtype=np.int16)
    values, _ = interpolate(stored, Rescale(np.array([1.0, 2, 3, 6])), found, None)
    np.testing.assert_allclose(values[:, 0, 0], [1, 2, 3, 5])


def test_padding_never_mixes_with_what_was_measured() -> None:
    found = respace(along_z([0, 2, 4, 7.0]), AXIAL, SPACING)
    stored = np.full((4, 1, 3), 100, dtype=np.int16)
    stored[3, 0, 0], stored[2, 0, 1], stored[0, 0, 2] = -2000, -2000, -2000
    values, padding = interpolate(stored, Rescale(1.0, -24.0), found, (-2000, -2000))
    assert padding == (-2024.0, -2024.0)
    expected = [[76, 76, -2024], [76, 76, 76], [76, -2024, 76], [-2024, -2024, 76]]
    np.testing.assert_array_equal(values[:, 0], expected)


def test_what_else_is_wrong_with_a_stack_is_told_as_ever(make_series: MakeSeries) -> None:
    (judged,) = judge(make_series(num=1))
    assert isinstance(judged, Rejection)
    assert judged.reason is Reason.SINGLE_SLICE
