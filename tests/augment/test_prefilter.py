"""The windows before coarse patches: what they let through, where their averages lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medssl.augment.array_sampling import interpolated
from medssl.augment.placement import rotation_about
from medssl.augment.prefilter import Window, prefilter, sample_straight, window, windows
from medssl.volume import Affine

STEPS = [1.5, 1.7, 2.0, 2.19, 2.3, 2.6, 3.0, 3.3, 3.7, 4.0, 5.5]


def affine(linear: Any, shift: Any = (0.0, 0.0, 0.0)) -> Affine:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = linear, shift
    return result


def coarse(values: Any, its: Window, step: float, phase: float, n: int) -> Any:
    """A line of a patch: averages of `values` (L,), interpolated `step` apart."""
    block = np.broadcast_to(values[:, None, None], (len(values), 2, 2)).astype(np.float32)
    averages = prefilter(block, (its, Window(), Window()))[:, 0, 0]
    at = (40 + phase + step * np.arange(n) - (its.factor - 1) / 2) / its.factor
    return np.interp(at, np.arange(len(averages)), averages)


def left_of(frequency: float, its: Window, step: float) -> float:
    """The amplitude that is left of a wave, whatever it has become."""
    n, x = 60, np.arange(600)
    parts = []
    for phase in np.linspace(0, step, 5, endpoint=False):
        for wave in (np.cos, np.sin):
            parts.append(coarse(wave(2 * np.pi * frequency * x), its, step, phase, n))
    return float(np.sqrt(2 * np.mean(np.square(parts))))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("turned", [False, True])
def test_half_of_nyquist_is_kept_and_what_does_not_fit_is_not(step: float, turned: bool) -> None:
    its = windows(affine(rotation_about(np.array([0.2 * turned, 0, 0])) * step))[0]
    assert left_of(0.25 / step, its, step) > 0.76
    too_fine = np.arange(1.5 * 0.5 / step, 0.5, 0.02)
    if len(too_fine):
        plain = [left_of(f, Window(), step) for f in too_fine]
        filtered = [left_of(f, its, step) for f in too_fine]
        assert max(filtered) < 0.36
        assert np.mean(np.square(filtered)) < 0.25 * np.mean(np.square(plain))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_window_and_tent_together_are_as_wide_as_a_tent_of_the_step(
    step: float, factor: int
) -> None:
    if step < 1.2 * factor:
        return
    its = window(step, factor)
    weights = np.array(its.weights)
    place = np.arange(len(weights)) - (len(weights) - 1) / 2
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights, weights[::-1])
    assert (len(weights) - factor) % 2 == 0
    variance = (weights * place**2).sum() + factor**2 / 6
    assert variance == pytest.approx(step**2 / 6)


def test_windows_grow_without_jumps_and_are_none_for_fine_patches() -> None:
    assert windows(affine(np.diag([1.0, 0.3, 1.49]))) == (Window(), Window(), Window())
    responses = []
    for step in np.arange(1.5, 6, 0.01):
        weights = np.array(window(step).weights)
        place = np.arange(len(weights)) - (len(weights) - 1) / 2
        responses.append(np.cos(2 * np.pi * np.outer(np.linspace(0, 0.5, 21), place)) @ weights)
    assert np.abs(np.diff(responses, axis=0)).max() < 0.05


@settings(max_examples=60, deadline=None)
@given(st.floats(1.0, 9.0), st.floats(30.0, 31.0), st.booleans())
def test_interpolation_reaches_no_further_than_the_margin(
    step: float, place: float, turned: bool
) -> None:
    """Voxels from the two around a place and `margin` on; the last one is needed for some place."""
    its = windows(affine(rotation_about(np.array([0, 0, 0.1 * turned])) * step))[0]
    low, high = int(np.floor(place)) - its.margin, int(np.ceil(place)) + its.margin
    values = np.zeros(80)
    values[:low], values[high + 1 :] = 1e6, 1e6
    averages = prefilter(
        np.broadcast_to(values[:, None, None], (80, 1, 1)), (its, Window(), Window())
    )[:, 0, 0]
    at = (place - (its.factor - 1) / 2) / its.factor
    assert np.interp(at, np.arange(len(averages)), averages) == 0


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_averages_lie_where_the_window_says(factor: int) -> None:
    """The averages of a ramp are the ramp at their centres, away from the edges."""
    its = window(1.3 * factor + 1, factor)
    ramp = np.arange(40.0, dtype=np.float32)
    block = np.broadcast_to(ramp[None, :, None], (3, 40, 4))
    averages = prefilter(block, (Window(), its, Window()))
    assert averages.shape == (3, its.length(40), 4)
    centres = np.arange(its.length(40)) * factor + (factor - 1) / 2
    inner = slice(3, -3)
    np.testing.assert_allclose(averages[1, inner, 2], centres[inner], atol=1e-4)


def test_an_edge_between_air_and_skin_gets_no_rim() -> None:
    block = np.full((50, 50, 50), -1000, dtype=np.int16)
    block[21:] = 60
    for step in STEPS:
        averages = prefilter(block, windows(affine(rotation_about(np.full(3, 0.2)) * step)))
        assert averages.min() >= -1000.001
        assert averages.max() <= 60.001


@settings(max_examples=50, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.tuples(*[st.sampled_from([0.7, 1.0, 1.6, 2.0, 3.1])] * 3),
    st.tuples(*[st.floats(-0.5, 2.0)] * 3),
)
def test_one_pass_is_the_window_and_then_the_interpolation(
    order: list[int], signs: Any, steps: Any, shift: Any
) -> None:
    block = np.random.default_rng(3).integers(-1000, 2000, (23, 25, 27)).astype(np.int16)
    size = (6, 7, 5)
    linear = np.zeros((3, 3))
    for axis in range(3):
        linear[order[axis], axis] = signs[axis] * steps[axis]
    back = np.where(np.sign(linear).sum(axis=1) < 0, np.array(block.shape) - 1.0, 0.0)
    matrix = affine(linear, back + np.sign(linear).sum(axis=1) * np.array(shift))
    axes = windows(matrix)
    assert all(its.factor == 1 for its in axes)
    averages: Any = block.astype(np.float64)
    for axis, its in enumerate(axes):
        averages = ndimage.convolve1d(averages, its.weights, axis, mode="nearest")
    expected = interpolated(averages.astype(np.float32), matrix, size, 1)
    np.testing.assert_allclose(sample_straight(block, matrix, size, axes), expected, atol=2e-3)


def test_a_turned_map_cannot_be_summed_axis_by_axis() -> None:
    turned = affine(rotation_about(np.full(3, 0.2)))
    with pytest.raises(ValueError, match="turns"):
        sample_straight(np.zeros((4, 4, 4)), turned, (2, 2, 2), windows(turned))
