"""Sums along each axis against the sum written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medssl import kernels
from medssl.augment.separable import Sums, separable


def written_out(block: Any, axes: tuple[Sums, Sums, Sums]) -> Any:
    values = block.astype(np.float64)
    for axis, its in enumerate(axes):
        matrix = np.zeros((len(its.starts), values.shape[axis]))
        for place, (start, weights) in enumerate(zip(its.starts, its.weights, strict=True)):
            for k, weight in enumerate(weights):
                matrix[place, min(max(start + k, 0), values.shape[axis] - 1)] += weight
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    return values


@st.composite
def sums(draw: Any, rising: bool) -> Sums:
    n, k = draw(st.integers(1, 9)), draw(st.integers(1, 11))
    starts = np.array(draw(st.lists(st.integers(-12, 30), min_size=n, max_size=n)), dtype=np.int32)
    weights = np.random.default_rng(n * 100 + k).normal(size=(n, k)).astype(np.float32)
    return Sums(np.sort(starts) if rising else starts, weights)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 20)] * 3),
    st.sampled_from(["<i2", ">i2", "u2", "u1", "i4", "f4", "f8"]),
    st.sampled_from([(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (2, 3, 1)]),
    st.tuples(sums(rising=False), sums(rising=True), sums(rising=False)),
    st.booleans(),
)
def test_sums_are_those_written_out(
    shape: tuple[int, int, int], dtype: str, steps: Any, axes: Any, compiled: bool
) -> None:
    whole = np.random.default_rng(sum(shape)).integers(0, 250, shape).astype(dtype)
    block = whole[tuple(slice(None, None, step) for step in steps)]
    expected = written_out(block, axes)
    if compiled:
        found = separable(block, axes)
    else:
        with kernels.disabled():
            found = separable(block, axes)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * (1 + abs(expected).max()))


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_even_sums_take_every_nth(step: int) -> None:
    block = np.random.default_rng(0).integers(-999, 999, (11, 14, 40)).astype(np.int16)
    even = tuple(Sums.even(-(-n // step), -1, step, (0.2, 0.5, 0.3)) for n in block.shape)
    np.testing.assert_allclose(separable(block, even), written_out(block, even), atol=1e-2)


def test_linear_sums_are_linear_interpolation() -> None:
    block = np.random.default_rng(0).normal(size=(7, 9, 12)).astype(np.float32)
    at = [np.linspace(-0.5, n - 0.5, 15) for n in block.shape]
    found = separable(block, tuple(Sums.linear(a, n) for a, n in zip(at, block.shape, strict=True)))
    expected = ndimage.map_coordinates(
        block, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest"
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_long_sums_are_done_too() -> None:
    block = np.random.default_rng(0).normal(size=(3, 100, 5)).astype(np.float32)
    wide = Sums.even(100, -50, 1, (1 / 101,) * 101)
    axes = (Sums.even(3, 0, 1, (1.0,)), wide, Sums.even(5, 0, 1, (1.0,)))
    np.testing.assert_allclose(separable(block, axes), written_out(block, axes), atol=1e-5)
