"""The compiled pass and its array twin, against scipy's interpolation at coordinates worked out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medssl import kernels
from medssl.augment.interpolate import Bounds, Finish, interpolate, sample_block
from medssl.augment.placement import rotation_about

compiled = pytest.param(
    nullcontext,
    id="compiled",
    marks=pytest.mark.skipif(kernels.library() is None, reason="the loops were not compiled here"),
)
ways = pytest.mark.parametrize("way", [compiled, pytest.param(kernels.disabled, id="arrays")])

sizes = st.tuples(*[st.integers(1, 21)] * 3)
types = st.sampled_from([np.int16, np.uint16, np.uint8, np.int8, np.float32, np.int32])


@st.composite
def maps(draw: st.DrawFn) -> npt.NDArray[np.float64]:
    """Any turn, permutation, mirroring, scale and shift; often none of some of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    linear = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    if draw(st.booleans()):
        linear = rotation_about(rng.uniform(-1, 1, 3)) @ linear
    if draw(st.booleans()):
        linear = linear * rng.uniform(0.4, 1.4, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = rng.uniform(-3, 12, 3) if draw(st.booleans()) else rng.integers(-3, 12, 3)
    return matrix


def coordinates(matrix: npt.NDArray[np.float64], size: tuple[int, ...]) -> Any:
    index = np.indices(size).reshape(3, -1)
    return (matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(3, *size)


@ways
@settings(max_examples=120, deadline=None)
@given(shape=sizes, size=sizes, dtype=types, matrix=maps(), seed=st.integers(0, 2**32 - 1))
def test_a_patch_is_what_scipy_interpolates(
    way: Any, shape: Any, size: Any, dtype: Any, matrix: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 120, shape).astype(dtype)
    finish = Finish(2.5, -7.0, 10.0, 250.0, False, 3.0, 0.125, -99.0)
    image, valid = np.empty(size, np.float32), np.empty(size, np.bool_)
    with way():
        sample_block(block, matrix, size, finish, Bounds.of(shape), image, valid)
    at = coordinates(matrix, size)
    beyond = np.max(
        [np.maximum(-0.5 - a, a - (n - 0.5)) for a, n in zip(at, shape, strict=True)], 0
    )
    sure = np.abs(beyond) > 2e-4
    assert (valid == (beyond < 0))[sure].all()
    assert (image[~valid] == -99).all()
    expected = ndimage.map_coordinates(block.astype(np.float64), at, order=1, mode="nearest")
    expected = (np.clip(expected * 2.5 - 7, 10, 250) - 3) * 0.125
    np.testing.assert_allclose(image[valid], expected[valid], rtol=0, atol=6e-3)


@ways
@settings(max_examples=60, deadline=None)
@given(shape=sizes, size=sizes, dtype=types, matrix=maps(), seed=st.integers(0, 2**32 - 1))
def test_labels_are_those_of_the_nearest_voxel(
    way: Any, shape: Any, size: Any, dtype: Any, matrix: Any, seed: int
) -> None:
    block = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    with way():
        labels = interpolate(block, matrix, size, order=0)
    assert labels.dtype == block.dtype
    at = coordinates(matrix, size)
    last = np.asarray(shape).reshape(3, 1, 1, 1) - 1
    clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(0)
    clear &= (at > -0.5).all(0) & (at < last + 0.5).all(0)
    nearest = np.clip(np.rint(at), 0, last).astype(int)
    assert (labels == block[nearest[0], nearest[1], nearest[2]])[clear].all()


@ways
@settings(max_examples=40, deadline=None)
@given(shape=sizes, size=sizes, matrix=maps(), seed=st.integers(0, 2**32 - 1))
def test_a_displacement_moves_the_coordinates(
    way: Any, shape: Any, size: Any, matrix: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 900, shape).astype(np.int16)
    moved = rng.normal(0, 1.5, (3, *size)).astype(np.float32)
    image, valid = np.empty(size, np.float32), np.empty(size, np.bool_)
    with way():
        sample_block(block, matrix, size, Finish(), Bounds.of(shape), image, valid, moved)
    at = coordinates(matrix, size) + moved
    inside = np.all([(a > -0.5) & (a < n - 0.5) for a, n in zip(at, shape, strict=True)], axis=0)
    expected = ndimage.map_coordinates(block.astype(np.float64), at, order=1, mode="nearest")
    assert (valid == inside).mean() > 0.99
    both = valid & inside
    np.testing.assert_allclose(image[both], expected[both], rtol=0, atol=2e-2)


@ways
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_block_that_is_a_view_is_read_where_it_lies(way: Any, axis: int) -> None:
    """A box of a larger array, and arrays in another order, need no copy to be right."""
    whole = np.random.default_rng(1).integers(-1000, 1000, (14, 20, 18)).astype(np.int16)
    matrix = np.eye(4)
    matrix[:3, :3] = np.roll(np.eye(3), axis, axis=0) * 0.8
    matrix[:3, 3] = 0.3
    for block in (whole[3:9, 4:17, 5:16], whole.transpose(2, 0, 1)[2:9, ::2], whole[::-1, ::-1]):
        with way():
            of_view = interpolate(block, matrix, (6, 5, 7), order=1)
            of_copy = interpolate(block.copy(), matrix, (6, 5, 7), order=1)
        assert np.array_equal(of_view, of_copy)


@ways
def test_whole_numbers_that_fall_on_voxels_stay_exact(way: AbstractContextManager[Any]) -> None:
    block = np.arange(-3000, 3000, dtype=np.int16).reshape(10, 20, 30)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]])
    matrix[:3, 3] = 9, 0, 0
    image, valid = np.empty((30, 20, 10), np.float32), np.empty((30, 20, 10), np.bool_)
    finish = Finish(1.0, -1024.0)
    with way():  # type: ignore[operator]
        sample_block(block, matrix, image.shape, finish, Bounds.of(block.shape), image, valid)
    assert valid.all()
    assert (image == block[::-1].transpose(2, 1, 0).astype(np.float32) - 1024).all()


@ways
@pytest.mark.parametrize("size", [(2, 3, 1500), (1500, 2, 3)])
def test_a_whole_scan_of_many_slices_is_sampled_too(way: Any, size: tuple[int, int, int]) -> None:
    """A body from head to foot, at a millimetre, is longer than any patch."""
    block = np.random.default_rng(0).integers(0, 900, size).astype(np.int16)
    matrix = np.diag([0.7, 0.7, 0.7, 1.0])
    image, valid = np.empty(size, np.float32), np.empty(size, np.bool_)
    with way():
        sample_block(block, matrix, size, Finish(), Bounds.of(size), image, valid)
        labels = interpolate(block, matrix, size, order=0)
    expected = ndimage.map_coordinates(
        block.astype(np.float64), coordinates(matrix, size), order=1, mode="nearest"
    )
    assert valid.all()
    np.testing.assert_allclose(image, expected, atol=2e-2)
    assert np.isin(labels, block).all()


@pytest.mark.skipif(kernels.library() is None, reason="the loops were not compiled here")
@settings(max_examples=60, deadline=None)
@given(shape=sizes, size=sizes, matrix=maps(), seed=st.integers(0, 2**32 - 1))
def test_compiled_and_array_code_agree(shape: Any, size: Any, matrix: Any, seed: int) -> None:
    block = np.random.default_rng(seed).integers(0, 2000, shape).astype(np.int16)
    finish = Finish(0.01, 0.0, 0.0, 20.0, True, 0.0, 1.0, 0.0)
    images = []
    for way in (nullcontext, kernels.disabled):
        image, valid = np.empty(size, np.float32), np.empty(size, np.bool_)
        with way():
            sample_block(block, matrix, size, finish, Bounds.of(shape), image, valid)
        images.append((image, valid))
    (one, valid), (other, same) = images
    assert (valid == same).mean() > 0.995
    both = valid & same
    np.testing.assert_allclose(one[both], other[both], rtol=0, atol=6e-3)
