"""Elastic deformations against the spline written out, and against folding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from medssl.augment.config import LARGEST_SHARE
from medssl.augment.elastic import (
    ControlLattice,
    before_deformation,
    dense_displacement,
    dense_displacements,
    displacement_at,
    draw_elastic,
)
from medssl.augment.interpolate import interpolate
from medssl.augment.placement import rotation_about
from medssl.errors import GeometryError

SIZE, SPACING = (20, 14, 9), np.array([1.0, 1.5, 3.0])
EXTENT = np.array(SIZE) * SPACING


def drawn(seed: int, apart: float = 8.0, share: float = 0.39) -> ControlLattice:
    rng = np.random.default_rng(seed)
    return draw_elastic(rng, EXTENT, (apart, 1.4 * apart), share * apart)


def at_the_bound(seed: int) -> ControlLattice:
    """Control points as far from each other as they may move: where folding would show."""
    lattice = drawn(seed)
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], lattice.displacement_mm.shape)
    bound = LARGEST_SHARE * np.reshape(lattice.spacing_mm, (3, 1, 1, 1))
    return ControlLattice((signs * bound).astype(np.float32), lattice.spacing_mm)


def written_out(lattice: ControlLattice) -> Any:
    """The tensor-product spline in mm at the voxels' centres, by scipy."""
    values: Any = lattice.displacement_mm.astype(np.float64)
    for axis in range(3):
        apart = lattice.spacing_mm[axis]
        g = values.shape[axis + 1]
        knots = (np.arange(g + 4) - 3) * apart
        at = (np.arange(SIZE[axis]) + 0.5) * SPACING[axis]
        values = BSpline(knots, np.moveaxis(values, axis + 1, 0), 3)(at)
        values = np.moveaxis(values, 0, axis + 1)
    return values


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_cubic_spline_through_its_lattice(seed: int) -> None:
    lattice = drawn(seed)
    field = dense_displacement(lattice, SIZE, SPACING)
    assert field.dtype == np.float32
    assert field.shape == (3, *SIZE)
    expected = written_out(lattice) / SPACING.reshape(3, 1, 1, 1)
    np.testing.assert_allclose(field, expected, atol=1e-5)
    at = np.indices(SIZE).reshape(3, -1).T.astype(float)
    np.testing.assert_allclose(
        displacement_at(lattice, at, SPACING), expected.reshape(3, -1).T, atol=1e-5
    )


def test_in_the_voxels_of_a_block_it_moves_what_the_patch_moves() -> None:
    lattice = drawn(3)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_about(np.array([0.2, -0.4, 0.1])) @ np.diag([1.3, -0.8, 2.0])
    field = dense_displacement(lattice, SIZE, SPACING)
    expected = np.einsum("ab,bxyz->axyz", matrix[:3, :3], field)
    moved = dense_displacement(lattice, SIZE, SPACING, matrix)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    assert (np.abs(moved).max(axis=(1, 2, 3)) <= lattice.reach(matrix, SPACING)).all()


def test_a_batch_on_a_device_is_patch_by_patch() -> None:
    lattices = [drawn(0), drawn(1, apart=5.0), drawn(2, apart=30.0)]
    spacings = np.stack([SPACING, SPACING * 1.1, SPACING * 0.7])
    batch = dense_displacements(lattices, SIZE, spacings)
    assert batch.dtype == torch.float32
    for lattice, spacing, field in zip(lattices, spacings, batch, strict=True):
        np.testing.assert_allclose(
            field.numpy(), dense_displacement(lattice, SIZE, spacing), atol=1e-5
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_nothing_folds(seed: int, worst: bool) -> None:
    """The Jacobian determinant of p + u(p) is positive, by differences over a fine grid."""
    lattice = at_the_bound(seed) if worst else drawn(seed)
    fine = tuple(4 * n for n in SIZE)
    field = dense_displacement(lattice, fine, SPACING / 4) * (SPACING / 4).reshape(3, 1, 1, 1)
    jacobian = np.stack([np.stack(np.gradient(u, *(SPACING / 4))) for u in field])
    jacobian += np.eye(3).reshape(3, 3, 1, 1, 1)
    determinant = np.linalg.det(jacobian.reshape(3, 3, -1).transpose(2, 0, 1))
    assert determinant.min() > 0


def test_larger_displacements_would_fold() -> None:
    """The bound says something: where two halves run into each other, a little more folds."""
    lattice = drawn(0)
    shape = lattice.displacement_mm.shape
    diagonal = sum(np.indices(shape[1:]) - (np.reshape(shape[1:], (3, 1, 1, 1)) - 1) / 2)
    size = 1.25 * LARGEST_SHARE * np.reshape(lattice.spacing_mm, (3, 1, 1, 1))
    colliding = ControlLattice(
        (np.where(diagonal > 0, -size, size)).astype(np.float32), lattice.spacing_mm
    )
    at = np.indices(SIZE).reshape(3, -1).T.astype(float)
    step = 1e-3
    columns = []
    for axis in range(3):
        ends = [
            displacement_at(colliding, at + s * np.eye(3)[axis], SPACING) for s in (-step, step)
        ]
        columns.append((ends[1] - ends[0]) / (2 * step) + np.eye(3)[axis])
    assert np.linalg.det(np.stack(columns, axis=-1)).min() < 0


@pytest.mark.parametrize("seed", range(6))
def test_it_can_be_undone(seed: int) -> None:
    for lattice in (drawn(seed), at_the_bound(seed)):
        rng = np.random.default_rng(seed)
        voxels = rng.uniform(3, np.array(SIZE) - 4, (200, 3))
        moved = voxels + displacement_at(lattice, voxels, SPACING)
        back = before_deformation(lattice, moved, SPACING)
        again = back + displacement_at(lattice, back, SPACING)
        assert np.abs(again - moved).max() < 1e-4
        np.testing.assert_allclose(back, voxels, atol=5e-3)


def test_undoing_a_fold_is_refused() -> None:
    lattice = ControlLattice(at_the_bound(0).displacement_mm * 12, drawn(0).spacing_mm)
    at = np.random.default_rng(0).uniform(0, 9, (300, 3))
    with pytest.raises(GeometryError, match="cannot be undone"):
        before_deformation(lattice, at, SPACING)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(4, 200), st.tuples(*[st.booleans()] * 3))
def test_draws_stay_within_their_ranges(seed: int, apart: float, moved: Any) -> None:
    rng = np.random.default_rng(seed)
    lattice = draw_elastic(rng, EXTENT, (apart, 2 * apart), 0.3 * apart, moved)
    assert (lattice.largest_mm <= 0.3 * apart).all()
    assert ((lattice.largest_mm > 0) == np.array(moved)).all()
    cells = np.array(lattice.displacement_mm.shape[1:]) - 3
    assert (np.array(lattice.spacing_mm) >= apart).all()
    assert (cells * lattice.spacing_mm >= EXTENT - 1e-9).all()
    field = dense_displacement(lattice, SIZE, SPACING)
    assert (np.abs(field).max(axis=(1, 2, 3)) * SPACING <= lattice.largest_mm + 1e-5).all()


def test_settings_that_could_fold_are_refused() -> None:
    with pytest.raises(GeometryError, match="below 8 mm"):
        draw_elastic(np.random.default_rng(0), EXTENT, (20.0, 40.0), 8.0)


def test_the_same_seed_draws_the_same() -> None:
    assert (drawn(5).displacement_mm == drawn(5).displacement_mm).all()
    assert drawn(5).spacing_mm == drawn(5).spacing_mm


def test_a_ramp_comes_from_where_its_voxels_moved() -> None:
    """Sampled at moved coordinates, a linear ramp tells each voxel's source."""
    slopes = np.array([2.0, -3.0, 5.0])
    block = np.tensordot(slopes, np.indices((40, 40, 40)), 1).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_about(np.array([0.1, 0.2, -0.1])) * 0.9
    matrix[:3, 3] = 12.0
    lattice = drawn(1)
    moved = dense_displacement(lattice, SIZE, SPACING, matrix)
    found = interpolate(block, matrix, SIZE, 1, moved)
    p = np.indices(SIZE) + dense_displacement(lattice, SIZE, SPACING)
    at = np.einsum("ab,bxyz->axyz", matrix[:3, :3], p) + 12.0
    inner = ((at >= 0) & (at <= 39)).all(axis=0)
    assert inner.mean() > 0.8
    np.testing.assert_allclose(found[inner], np.tensordot(slopes, at, 1)[inner], atol=2e-3)
