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


@given(stacks(), st.data())
@settings(max_examples=200, deadline=None)
def test_any_slices_gone_are_seen_unless_the_rest_is_regular(
    case: dict[str, np.ndarray], data: st.DataObject
) -> None:
    """Slices gone anywhere but at the ends: refused, and the first gap named where it is plain."""
    positions = case["positions"]
    num = len(positions)
    if num < 4:
        return
    gone = sorted(data.draw(st.sets(st.integers(1, num - 2), min_size=1, max_size=num - 2)))
    kept = np.delete(np.arange(num), gone)
    order = data.draw(st.permutations(range(len(kept))))
    steps = np.diff(kept)
    if len(set(steps.tolist())) == 1:  # every second one gone: nothing can tell
        result = stack(positions[kept][order], case["orientation"], case["spacing"])
        last = (result.affine @ [len(kept) - 1, 0, 0, 1])[:3] * [-1, -1, 1]
        np.testing.assert_allclose(last, positions[-1], atol=1e-6)
        return
    with pytest.raises(Misplaced) as caught:
        stack(positions[kept][order], case["orientation"], case["spacing"])
    if np.median(steps) == 1:
        first = int(np.flatnonzero(steps > 1)[0]) + 1
        assert caught.value.reason is Reason.MISSING_SLICE
        assert f"between slices {first} and {first + 1} of {len(kept)}" in caught.value.detail
        assert f"{len(gone)} missing in all" in caught.value.detail


def jitter(data: st.DataObject, num: int, most: float) -> np.ndarray:
    """(num, 3) mm, none longer than `most`."""
    axis = st.floats(-1, 1)
    moved = np.array(data.draw(st.lists(st.tuples(axis, axis, axis), min_size=num, max_size=num)))
    return moved * most / np.sqrt(3)


@given(stacks(), st.data())
@settings(max_examples=150, deadline=None)
def test_small_jitter_is_taken_and_every_slice_is_right_to_a_tenth_of_a_millimetre(
    case: dict[str, np.ndarray], data: st.DataObject
) -> None:
    positions = case["positions"]
    along = np.linalg.norm(np.cross(*np.split(case["orientation"], 2)) @ case["step"])
    positions = positions + jitter(data, len(positions), 0.4 * min(0.1, 0.1 * along))
    order = list(case["order"])
    result = stack(positions[order], case["orientation"], case["spacing"])
    for k, i in enumerate(result.order):
        found = (result.affine @ [k, 0, 0, 1])[:3] * [-1, -1, 1]
        assert np.linalg.norm(found - positions[order][i]) <= 0.1


@given(stacks(), st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_the_jitter_a_stack_that_is_taken_is_right(
    case: dict[str, np.ndarray], data: st.DataObject
) -> None:
    """Refused exactly where some slice would lie further off its place than the tolerance."""
    along = float(np.cross(*np.split(case["orientation"], 2)) @ case["step"])
    limit = min(0.1, 0.1 * along)
    most = data.draw(st.floats(0, 4)) * limit
    positions = case["positions"] + jitter(data, len(case["positions"]), most)
    index = np.stack([np.ones(len(positions)), np.arange(len(positions))], axis=1)
    off = np.linalg.norm(
        positions - index @ np.linalg.lstsq(index, positions, rcond=None)[0], axis=1
    )
    try:
        result = stack(positions[list(case["order"])], case["orientation"], case["spacing"])
    except Misplaced:
        assert off.max() > 0.7 * limit  # its spacing is that of the jittered slices
        return
    assert off.max() <= 1.6 * limit
    for k, i in enumerate(result.order):
        found = (result.affine @ [k, 0, 0, 1])[:3] * [-1, -1, 1]
        assert np.linalg.norm(found - positions[list(case["order"])][i]) <= 0.1 + 1e-9


@given(stacks(), st.data())
@settings(max_examples=100, deadline=None)
def test_duplicates_share_their_place_whatever_the_order(
    case: dict[str, np.ndarray], data: st.DataObject
) -> None:
    positions = case["positions"]
    again = data.draw(st.lists(st.integers(0, len(positions) - 1), min_size=1, max_size=9))
    twice = np.concatenate([positions, positions[again] + jitter(data, len(again), 0.002)])
    number = np.array([*range(len(positions)), *again])
    order = data.draw(st.permutations(range(len(number))))
    found = places(twice[list(order)], case["orientation"])
    np.testing.assert_array_equal(found, number[list(order)])


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
