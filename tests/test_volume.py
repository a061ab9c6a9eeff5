"""Volumes: geometry stays right whatever is done to the array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.errors import GeometryError
from medssl.volume import Volume, spacing_of


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Small volumes in any orientation, with rotation, anisotropy and some shear."""
    shape = draw(st.tuples(*[st.integers(2, 5)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    basis, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = basis @ np.diag(rng.uniform(0.5, 4, 3))
    affine[:3, 2] += 0.2 * affine[:3, 0]
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    return Volume(rng.normal(size=shape).astype(np.float32), affine)


def values_by_place(volume: Volume) -> dict[tuple[float, ...], float]:
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1).reshape(-1, 3)
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    values = volume.voxels.reshape(-1)
    return {tuple(np.round(p, 4)): float(v) for p, v in zip(places, values, strict=True)}


@given(volumes())
def test_to_ras_moves_no_value_in_space(volume: Volume) -> None:
    ras = volume.to_ras()
    assert values_by_place(ras) == pytest.approx(values_by_place(volume))
    cosines = ras.affine[:3, :3] / spacing_of(ras.affine)
    order = np.abs(cosines).sum()
    assert np.trace(cosines) > 0
    assert np.trace(np.abs(cosines)) <= order


@given(volumes())
def test_to_ras_twice_changes_nothing(volume: Volume) -> None:
    once = volume.to_ras()
    assert np.array_equal(once.to_ras().voxels, once.voxels)


@given(volumes())
def test_crop_keeps_place_and_value(volume: Volume) -> None:
    part = volume.crop(((1, 2), (0, 2), (1, 2)))
    whole = values_by_place(volume)
    for place, value in values_by_place(part).items():
        near = min(whole, key=lambda p: sum((a - b) ** 2 for a, b in zip(p, place, strict=True)))
        assert whole[near] == value


def test_resampled_to_own_grid_is_the_same() -> None:
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(2, 4, 5, 6)).astype(np.float32), np.diag([-1.0, 2, 3, 1]))
    again = volume.resampled(volume.affine, volume.shape)
    np.testing.assert_allclose(again.voxels, volume.voxels, rtol=1e-5)


def test_resampled_linear_ramp_is_exact_in_world() -> None:
    index = np.stack(np.meshgrid(*[np.arange(8.0)] * 3, indexing="ij"))
    volume = Volume((index[0] * 2 + index[1]).astype(np.float64), np.eye(4))
    finer = np.diag([0.5, 0.5, 0.5, 1.0])
    fine = volume.resampled(finer, (14, 14, 14))
    np.testing.assert_allclose(fine.voxels[3, 5, 7], 1.5 * 2 + 2.5)


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3), np.diag([1.0, 1, 0, 1])]
)
def test_impossible_affine_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(GeometryError):
        Volume(np.zeros((2, 2, 2)), affine)
