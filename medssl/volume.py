"""Voxels that know where they are in space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medssl.errors import GeometryError

Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]
Modality = Literal["CT", "MR", "PT", "OT"]
Units = Literal["HU", "SUV", "BQML", "arbitrary"]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Volume:
    """Voxels with their place in space, their modality and the unit of their numbers.

    Attributes:
        voxels: (D, H, W) or (C, D, H, W).
        affine: 4x4, from the index of a voxel's centre along the array's last three axes, in that
            order, to millimetres in RAS (x to the right, y to the front, z to the top; NIfTI-1,
            method 3). A sheared affine is allowed.
        modality: CT, MR, PT, or OT where it is not known.
        units: HU, SUV, BQML (becquerel per millilitre) or arbitrary.

    Raises:
        GeometryError: the affine is not finite, not invertible, or not 4x4.
    """

    voxels: Array
    affine: Affine
    modality: Modality = "OT"
    units: Units = "arbitrary"

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=np.float64)
        object.__setattr__(self, "affine", affine)
        if self.voxels.ndim not in (3, 4):
            raise GeometryError(f"a volume has 3 or 4 axes, not {self.voxels.ndim}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("the affine is not a finite 4x4 matrix")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError("the affine is singular: a voxel would have no volume")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size along the three spatial axes, in voxels."""
        d, h, w = self.voxels.shape[-3:]
        return d, h, w

    @cached_property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Distance between neighbouring voxels along each spatial axis, (3,)."""
        return spacing_of(self.affine)

    def crop(self, box: Box) -> Volume:
        """The voxels of `box` (start, stop along each axis), at the same place in space."""
        region: tuple[Any, ...] = tuple(slice(start, stop) for start, stop in box)
        moved = self.affine.copy()
        moved[:3, 3] += self.affine[:3, :3] @ np.array([start for start, _ in box], dtype=float)
        return replace(self, voxels=self.voxels[(Ellipsis, *region)], affine=moved)

    def to_ras(self) -> Volume:
        """Axes permuted and flipped to the nearest of R, A, S; no value is changed."""
        order, flips = ras_order(self.affine)
        lead = self.voxels.ndim - 3
        voxels = np.transpose(self.voxels, (*range(lead), *(lead + a for a in order)))
        affine = self.affine.copy()
        affine[:, :3] = self.affine[:, order]
        for axis, flip in enumerate(flips):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (voxels.shape[lead + axis] - 1)
                affine[:3, axis] *= -1
                voxels = np.flip(voxels, axis=lead + axis)
        return replace(self, voxels=voxels, affine=affine)

    def resampled(
        self,
        affine: Affine,
        shape: tuple[int, int, int],
        order: Literal[0, 1] = 1,
        outside: float = 0.0,
    ) -> Volume:
        """The same scene on another grid: order 0 takes the nearest voxel, 1 is trilinear."""
        from scipy import ndimage

        to_here = np.linalg.inv(self.affine) @ affine
        channels = self.voxels.reshape(-1, *self.shape)
        sampled = [
            ndimage.affine_transform(
                c, to_here, output_shape=shape, order=order, mode="constant", cval=outside
            )
            for c in channels
        ]
        voxels = np.stack(sampled).reshape(*self.voxels.shape[:-3], *shape)
        return replace(self, voxels=voxels, affine=np.asarray(affine, dtype=np.float64))

    def corners_mm(self) -> npt.NDArray[np.float64]:
        """World coordinates of the centres of the eight corner voxels, (8, 3)."""
        ends = [(0, n - 1) for n in self.shape]
        index = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]], float)
        return np.asarray((self.affine @ index.T).T[:, :3])


def spacing_of(affine: Affine) -> npt.NDArray[np.float64]:
    """Lengths of an affine's three columns: the spacing along each array axis, mm."""
    return np.asarray(np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0))


def ras_order(affine: Affine) -> tuple[list[int], list[bool]]:
    """Which array axis lies nearest to R, A and S, and which of these then run backwards.

    Axes are assigned by the permutation with the largest sum of absolute direction cosines, so
    that two oblique axes never claim the same direction.
    """
    from itertools import permutations

    cosines = np.asarray(affine, dtype=np.float64)[:3, :3] / spacing_of(affine)
    best = max(
        permutations(range(3)), key=lambda p: round(sum(abs(cosines[w, p[w]]) for w in range(3)), 9)
    )
    return list(best), [bool(cosines[world, axis] < 0) for world, axis in enumerate(best)]
