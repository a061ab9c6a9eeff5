"""A grid of points in the patient, and the brushes that draw anatomy on it.

Every shape is a function of world position that is positive inside and near to the distance from
its surface in millimetres, so that a voxel which a surface cuts gets a mixture of both tissues.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medssl.volume import Affine, Array, spacing_of

Field = npt.NDArray[np.float32]
Point = tuple[float, float, float]

_LATTICE = 50


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: shape (D, H, W) and the 4x4 affine from index to RAS millimetres."""

    shape: tuple[int, int, int]
    affine: Affine

    @cached_property
    def points(self) -> npt.NDArray[np.float32]:
        """World position of every voxel's centre, (3, D, H, W), mm in RAS."""
        axes = np.ogrid[tuple(slice(n) for n in self.shape)]
        return np.stack(
            [
                sum((self.affine[w, a] * axes[a] for a in range(3)), self.affine[w, 3])
                for w in range(3)
            ]
        ).astype(np.float32)

    @property
    def voxel_mm(self) -> float:
        """Edge of a cube of one voxel's volume."""
        return float(np.prod(spacing_of(self.affine)) ** (1 / 3))


class SmoothNoise:
    """Random numbers of unit variance that vary over about `wavelength_mm`, anywhere in space.

    White noise on a lattice that repeats itself after ten wavelengths, low-pass filtered.
    """

    def __init__(self, rng: np.random.Generator, wavelength_mm: float) -> None:
        lattice = rng.standard_normal((_LATTICE,) * 3, dtype=np.float32)
        smooth = ndimage.gaussian_filter(lattice, 1.2, mode="wrap", truncate=3.0)
        self._values = np.asarray(smooth / smooth.std(), np.float32)
        self._wavelength_mm = wavelength_mm

    def at(self, points: npt.NDArray[np.float32]) -> Field:
        """Values at the points (3, D, H, W), mm, of a grid that may be bent smoothly.

        So smooth a field is read at every few points and joined linearly between them.
        """
        knots = []
        for axis, n in enumerate(points.shape[1:]):
            first = np.take(points, 0, axis + 1).mean(axis=(1, 2))
            last = np.take(points, n - 1, axis + 1).mean(axis=(1, 2))
            step_mm = float(np.linalg.norm(last - first)) / max(n - 1, 1)
            stride = max(1, int(self._wavelength_mm / (3 * step_mm + 1e-6)))
            knots.append(np.unique(np.append(np.arange(0, n, stride), n - 1)))
        planes, rows, columns = np.ix_(*knots)
        where = points[:, planes, rows, columns] * np.float32(5.0 / self._wavelength_mm)
        values = ndimage.map_coordinates(
            self._values, where + np.float32(_LATTICE / 2), order=1, mode="grid-wrap"
        )
        for axis, n in enumerate(points.shape[1:]):
            values = _between(values, knots[axis], n, axis)
        return np.asarray(values, np.float32)


def _between(values: Field, knots: npt.NDArray[np.intp], n: int, axis: int) -> Field:
    """Linear interpolation along one axis, from the indices `knots` to all of 0 .. n-1."""
    if len(knots) == n:
        return values
    index = np.arange(n)
    left = np.clip(np.searchsorted(knots, index, side="right") - 1, 0, len(knots) - 2)
    weight = (index - knots[left]) / (knots[left + 1] - knots[left])
    shape = [1] * values.ndim
    shape[axis] = n
    share = weight.astype(np.float32).reshape(shape)
    below = np.take(values, left, axis)
    return np.asarray(below + share * (np.take(values, left + 1, axis) - below), np.float32)


def ellipsoid(points: npt.NDArray[np.float32], centre: Point, radii: Point) -> Field:
    """Depth below the surface of an ellipsoid, mm, negative outside (first-order distance)."""
    r = np.array(radii, np.float32)
    u = [(points[a] - np.float32(centre[a])) / r[a] for a in range(3)]
    level = np.sqrt(u[0] ** 2 + u[1] ** 2 + u[2] ** 2)
    slope = np.sqrt(sum((u[a] / r[a]) ** 2 for a in range(3))) / np.maximum(level, 1e-3)
    depth = (1 - level) / np.maximum(slope, 1.0 / r.max())
    return np.asarray(depth, np.float32)


def capsule(
    points: npt.NDArray[np.float32],
    a: Point | Field,
    b: Point | Field,
    ra: float,
    rb: float,
) -> Field:
    """Depth inside a rod from `a` to `b` whose radius goes from `ra` to `rb`, mm."""
    start, end = np.asarray(a, np.float32), np.asarray(b, np.float32)
    axis = end - start
    offset = points - start[:, None, None, None]
    unit = axis / max(float(np.dot(axis, axis)), 1e-6)
    along = offset[0] * unit[0] + offset[1] * unit[1] + offset[2] * unit[2]
    np.clip(along, 0, 1, out=along)
    offset -= axis[:, None, None, None] * along
    np.square(offset, out=offset)
    distance = np.sqrt(offset.sum(axis=0))
    return np.asarray(ra + (rb - ra) * along - distance, np.float32)


def tube(points: npt.NDArray[np.float32], path: list[Point], radius: float) -> Field:
    """Depth inside a bent rod through the points of `path`."""
    depth = capsule(points, path[0], path[1], radius, radius)
    for a, b in pairwise(path[1:]):
        depth = np.maximum(depth, capsule(points, a, b, radius, radius))
    return depth


class Canvas:
    """Values on a grid, painted from back to front."""

    def __init__(self, grid: Grid, background: float, points: npt.NDArray[np.float32]) -> None:
        self.values = np.full(grid.shape, background, np.float32)
        self.points = points
        self.softness = np.float32(grid.voxel_mm)

    def cover(self, depth: Array) -> Field:
        """Share of each voxel that lies inside a shape, 0 to 1."""
        return np.asarray(np.clip(depth / self.softness + np.float32(0.5), 0, 1), np.float32)

    def paint(self, depth: Array, value: float | Array) -> None:
        """Lay `value` over what is there, mixed where the surface cuts a voxel."""
        self.values += self.cover(depth) * (np.asarray(value, np.float32) - self.values)

    def paint_rods(self, rods: npt.NDArray[np.float32], value: float, inside: Field) -> None:
        """Paint many thin rods, each in the small box round it, where `inside` is positive.

        A rod thinner than a voxel is painted faintly, by its share of the voxel's section.

        Args:
            rods: (n, 8): start (3), end (3), radius at the start and at the end, mm.
        """
        reach = rods[:, 6:].max(axis=1) + self.softness
        low = np.minimum(rods[:, :3], rods[:, 3:6]) - reach[:, None]
        high = np.maximum(rods[:, :3], rods[:, 3:6]) + reach[:, None]
        hits = [
            ((least[None] <= high[:, :, None]) & (greatest[None] >= low[:, :, None])).all(axis=1)
            for least, greatest in self._ranges
        ]
        for i, rod in enumerate(rods):
            along = [np.flatnonzero(hit[i]) for hit in hits]
            if any(planes.size == 0 for planes in along):
                continue
            box = tuple(slice(int(planes[0]), int(planes[-1]) + 1) for planes in along)
            part = self.points[(slice(None), *box)]
            thin = min(1.0, float(2 * rod[6:].max() / self.softness) ** 0.8)
            share = self.cover(capsule(part, rod[:3], rod[3:6], rod[6], rod[7])) * np.float32(thin)
            share *= inside[box] > 0
            self.values[box] += share * (np.float32(value) - self.values[box])

    @cached_property
    def _ranges(self) -> list[tuple[Field, Field]]:
        """Least and greatest world coordinates (3, n) of each plane of each array axis."""
        others = [(2, 3), (1, 3), (1, 2)]
        return [(self.points.min(axis=o), self.points.max(axis=o)) for o in others]
