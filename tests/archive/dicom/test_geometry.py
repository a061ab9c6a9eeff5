"""Slices in any orientation, order and tilt end at their own place in the world."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medssl.archive.dicom.geometry import Misplaced, places, stack
from medssl.archive.reasons import Reason

angle = st.floats(-180, 180)


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, np.ndarray | tuple[float, float] | list[int]]:
    """A stack in any orientation, its step leaning up to 30 degrees out of the normal."""
    turn = Rotation.from_euler("xyz", [draw(angle), draw(angle), draw(angle)], degrees=True)
    row, column, normal = turn.as_matrix().T
    lean = np.tan(np.deg2rad(draw(st.floats(0, 30))))
    along = np.deg2rad(draw(angle))
    step = normal + lean * (np.cos(along) * row + np.sin(along) * column)
    step = step * draw(st.floats(0.4, 12))
    first = np.array(draw(st.tuples(*[st.floats(-500, 500)] * 3)))
    num = draw(st.integers(2, 40))
    positions = first + np.arange(num)[:, None] * step
    spacing = (draw(st.floats(0.1, 5)), draw(st.floats(0.1, 5)))
    return {
        "positions": positions,
        "orientation": np.concatenate([row, column]),
        "spacing": spacing,
        "order": draw(st.permutations(range(num))),
        "step": step,
    }


@given(stacks())
@settings(max_examples=200, deadline=None)
def test_every_voxel_lies_where_dicom_says(case: dict[str, np.ndarray]) -> None:
    """PS3.3 C.7.6.2.1.1 equation 1, for shuffled slices, in RAS."""
    shuffled = case["positions"][list(case["order"])]
    result = stack(shuffled, case["orientation"], case["spacing"])
    np.testing.assert_allclose(shuffled[result.order], case["positions"], atol=1e-9)
    row, column = case["orientation"][:3], case["orientation"][3:]
    rows_mm, columns_mm = case["spacing"]
    for slice_index in (0, len(shuffled) - 1):
        for i, j in ((0, 0), (17, 0), (0, 23), (511, 511)):
            lps = case["positions"][slice_index] + column * rows_mm * i + row * columns_mm * j
            found = result.affine @ [slice_index, i, j, 1]
            np.testing.assert_allclose(found[:3], lps * [-1, -1, 1], atol=1e-6)


@given(stacks(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_missing_slice_is_always_seen(case: dict[str, np.ndarray], data: st.DataObject) -> None:
    positions = case["positions"]
    if len(positions) < 4:
        return
    gone = data.draw(st.integers(1, len(positions) - 2))
    with pytest.raises(Misplaced) as caught:
        stack(np.delete(positions, gone, axis=0), case["orientation"], case["spacing"])
    if len(positions) > 4:
        assert caught.value.reason is Reason.MISSING_SLICE
        assert f"between slices {gone} and {gone + 1} of" in caught.value.detail


@given(stacks(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_slice_off_its_place_is_always_seen(
    case: dict[str, np.ndarray], data: st.DataObject
) -> None:
    positions = case["positions"].copy()
    if len(positions) < 5:
        return
    moved = data.draw(st.integers(0, len(positions) - 1))
    towards = data.draw(st.integers(0, 2))
    positions[moved, towards] += 1.5
    with pytest.raises(Misplaced):
        stack(positions, case["orientation"], case["spacing"])


def test_rounded_positions_are_regular() -> None:
    """Positions written with one decimal, as some scanners do."""
    exact = np.arange(60) * 3.27
    positions = np.stack([np.zeros(60), np.zeros(60), exact.round(1)], axis=1)
    result = stack(positions, (1, 0, 0, 0, 1, 0), (1, 1))
    last = result.affine @ [59, 0, 0, 1]
    assert abs(last[2] - exact[-1]) < 0.1


def test_places_coincide_within_five_micrometres() -> None:
    positions = np.array([[0, 0, 4.0], [0, 0, 0], [0, 0, 4.001], [0, 0, 2]])
    assert places(positions, (1, 0, 0, 0, 1, 0)).tolist() == [2, 0, 2, 1]


def test_one_slice_has_no_spacing() -> None:
    with pytest.raises(Misplaced) as caught:
        stack(np.zeros((1, 3)), (1, 0, 0, 0, 1, 0), (1, 1))
    assert caught.value.reason is Reason.SINGLE_SLICE
