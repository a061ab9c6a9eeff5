"""Elastic deformation: small random displacements of a coarse lattice, smooth in between.

A free-form deformation with uniform cubic B-splines (Rueckert et al., IEEE Trans. Med. Imaging 18,
1999). It moves the coordinates at which a patch is sampled, and costs no interpolation of its own:
the voxel p of a patch comes from `matrix @ (p + u(p))`.

Displacements stay below 0.4 of the distance of control points, under which such a map folds nowhere
in three dimensions (Choi and Lee, Graphical Models 62, 2000: 1 / 2.479).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medssl.augment.array_sampling import Size
from medssl.augment.config import LARGEST_SHARE
from medssl.errors import GeometryError
from medssl.volume import Affine

Vector = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]
MOST_CELLS = 13
"""Between control points along an axis of a patch; so 16 points are the most."""

_NEAR_ENOUGH = 1e-4
_MOST_STEPS = 500


@dataclass(frozen=True)
class ControlLattice:
    """Displacements at control points.

    Attributes:
        displacement_mm: (3, gD, gH, gW) float32, along the patch's axes. Along each axis the second
            control point and the last but one lie on the patch's outer faces; one more on either
            side completes the spline.
        spacing_mm: distances of control points along the patch's axes.
    """

    displacement_mm: Field
    spacing_mm: tuple[float, float, float]

    @property
    def largest_mm(self) -> Vector:
        """(3,) No voxel moves further than this along each of the patch's axes."""
        return np.asarray(np.abs(self.displacement_mm).max(axis=(1, 2, 3)), dtype=np.float64)

    def reach(self, matrix: Affine, spacing_mm: Vector) -> Vector:
        """(3,) Stored voxels that a patch under `matrix` may reach further along each axis."""
        return np.asarray(np.abs(matrix[:3, :3]) @ (self.largest_mm / spacing_mm))


def draw_elastic(
    rng: np.random.Generator,
    extent_mm: Vector,
    control_spacing_mm: tuple[float, float],
    displacement_mm: float,
    moved: tuple[bool, bool, bool] = (True, True, True),
) -> ControlLattice:
    """A random deformation of a patch.

    Args:
        extent_mm: (3,), between the patch's outer faces.
        control_spacing_mm: range of the distance of control points; it is widened to divide the
            patch evenly, and into no more than 13 along an axis.
        displacement_mm: the most that a control point moves along an axis. How much of it is used
            is drawn too.
        moved: axes along which voxels move; across thick slices they should not.

    Raises:
        GeometryError: displacements so large beside their distance could fold the patch.
    """
    if displacement_mm >= LARGEST_SHARE * control_spacing_mm[0]:
        raise GeometryError(
            f"displacements of {displacement_mm:g} mm at control points "
            f"{control_spacing_mm[0]:g} mm apart could fold the patch; stay below "
            f"{LARGEST_SHARE * control_spacing_mm[0]:g} mm, or set the control points further apart"
        )
    apart = rng.uniform(*control_spacing_mm)
    largest = rng.uniform(0, displacement_mm)
    cells = np.clip(np.floor(extent_mm / apart), 1, MOST_CELLS).astype(int)
    x, y, z = (float(c) for c in np.maximum(extent_mm / cells, apart))
    drawn = rng.uniform(-largest, largest, (3, *(cells + 3)))
    drawn *= np.reshape(moved, (3, 1, 1, 1))
    return ControlLattice(drawn.astype(np.float32), (x, y, z))


def dense_displacement(
    lattice: ControlLattice, size: Size, spacing_mm: Vector, matrix: Affine | None = None
) -> Field:
    """How far each voxel of a patch moves.

    Args:
        spacing_mm: (3,), of the patch.
        matrix: 4x4, index of the patch's voxel to index in a block.

    Returns:
        (3, D, H, W) in the patch's voxels along its axes; with `matrix` in the block's, to be added
        to `matrix @ p`.
    """
    d, h, w = (
        _basis(np.arange(n), lattice.displacement_mm.shape[1 + a], spacing_mm[a] / c).astype("f4")
        for a, (n, c) in enumerate(zip(size, lattice.spacing_mm, strict=True))
    )
    points = _in_voxels(lattice, spacing_mm, matrix)
    points = h @ (points @ w.T)
    along_first = points.reshape(3, points.shape[1], -1)
    return np.asarray(np.matmul(d, along_first).reshape(3, *size))


def dense_displacements(
    lattices: Sequence[ControlLattice],
    size: Size,
    spacing_mm: Vector,
    device: torch.device | str = "cpu",
) -> Tensor:
    """As `dense_displacement` for a batch, on a device.

    Args:
        lattices: one for each patch, of any shapes.
        spacing_mm: (N, 3), of each patch.

    Returns:
        (N, 3, D, H, W) float32, in the patches' voxels.
    """
    number = len(lattices)
    most = np.max([lattice.displacement_mm.shape[1:] for lattice in lattices], axis=0)
    points = np.zeros((number, 3, *most), dtype=np.float32)
    bases = [np.zeros((number, n, g), dtype=np.float32) for n, g in zip(size, most, strict=True)]
    for i, lattice in enumerate(lattices):
        shape = lattice.displacement_mm.shape[1:]
        points[i, :, : shape[0], : shape[1], : shape[2]] = _in_voxels(lattice, spacing_mm[i])
        for a, basis in enumerate(bases):
            ratio = spacing_mm[i, a] / lattice.spacing_mm[a]
            basis[i, :, : shape[a]] = _basis(np.arange(size[a]), shape[a], ratio)
    d, h, w = (torch.from_numpy(basis).to(device)[:, None] for basis in bases)
    moved = h[:, None] @ (torch.from_numpy(points).to(device) @ w.transpose(-1, -2)[:, None])
    return (d @ moved.flatten(3)).reshape(number, 3, *size)


def displacement_at(lattice: ControlLattice, at: Vector, spacing_mm: Vector) -> Vector:
    """(M, 3) How far points `at` (M, 3) move, both in the patch's voxels.

    Beyond the patch's outer faces a point moves as the nearest one on them.
    """
    x, y, z = (
        _basis(at[:, a], lattice.displacement_mm.shape[1 + a], spacing_mm[a] / c)
        for a, c in enumerate(lattice.spacing_mm)
    )
    points = _in_voxels(lattice, spacing_mm).astype(np.float64)
    return np.asarray(np.einsum("cdhw,md,mh,mw->mc", points, x, y, z, optimize=True))


def before_deformation(lattice: ControlLattice, at: Vector, spacing_mm: Vector) -> Vector:
    """(M, 3) The voxels p for which p + u(p) is `at` (M, 3), to a ten thousandth of a voxel.

    By fixed-point iteration (Chen et al., Med. Phys. 35, 2008), of half steps, which converge where
    whole ones may not.

    Raises:
        GeometryError: there is no such voxel for some point: the lattice folds.
    """
    found = at - displacement_at(lattice, at, spacing_mm)
    for _ in range(_MOST_STEPS):
        missed = found + displacement_at(lattice, found, spacing_mm) - at
        if np.abs(missed).max(initial=0.0) < _NEAR_ENOUGH:
            return found
        found = found - missed / 2
    raise GeometryError("the deformation cannot be undone: its displacements are too large")


def control_points(lattice: ControlLattice, spacing_mm: Vector) -> tuple[Field, Vector, Vector]:
    """What `views.by_spline` needs of a lattice.

    Returns:
        (3, 16, 16, 16) displacements in the patch's voxels, zero beyond the lattice; (3,) cells;
        (3,) cells in a voxel.
    """
    points = _in_voxels(lattice, spacing_mm)
    padded = np.zeros((3, *[MOST_CELLS + 3] * 3), dtype=np.float32)
    padded[(slice(None), *(slice(n) for n in points.shape[1:]))] = points
    cells = np.array(points.shape[1:], dtype=np.float64) - 3
    return padded, cells, spacing_mm / np.array(lattice.spacing_mm)


def _in_voxels(lattice: ControlLattice, spacing_mm: Vector, matrix: Affine | None = None) -> Field:
    """Control points' displacements in voxels of the patch, or of a block: the spline is linear."""
    linear = np.diag(1 / np.asarray(spacing_mm, dtype=np.float64))
    if matrix is not None:
        linear = matrix[:3, :3] @ linear
    moved = np.einsum("ab,bdhw->adhw", linear, lattice.displacement_mm)
    return np.asarray(moved, dtype=np.float32)


def _basis(at: npt.NDArray[np.generic], points: int, ratio: float) -> Vector:
    """(n, points) Weights of control points at voxels `at` (n,); a voxel is `ratio` cells long."""
    cells = points - 3
    place = np.clip((np.asarray(at, dtype=np.float64) + 0.5) * ratio, 0, cells)
    first = np.minimum(np.floor(place), cells - 1)
    t = place - first
    weights = [
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    ]
    basis = np.zeros((len(place), points))
    for k, weight in enumerate(weights):
        basis[np.arange(len(place)), first.astype(int) + k] = weight
    return basis
