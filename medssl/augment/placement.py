"""Where a patch lies in the scan: spacing, rotation, shear, scale, flip and crop as one map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medssl.augment.array_sampling import Size
from medssl.augment.config import SpatialConfig
from medssl.augment.elastic import ControlLattice, draw_elastic
from medssl.augment.interpolate import snapped
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.volume import Affine

_TURNED_ALIKE = 3.0


@dataclass(frozen=True)
class Pose:
    """How a patch is turned about its centre.

    Attributes:
        rotation: (3, 3), proper, in millimetres along the scan's own axes (right, front, top).
        scale: enlargement; at 1.4 anatomy takes 1.4 times as many voxels.
        flip: axes of the patch that are mirrored.
        shear: (3, 3), upper triangular with ones, in millimetres along the patch's axes.
    """

    rotation: Vector = field(default_factory=lambda: np.eye(3))
    scale: float = 1.0
    flip: tuple[bool, bool, bool] = (False, False, False)
    shear: Vector = field(default_factory=lambda: np.eye(3))

    def parameters(self) -> dict[str, Any]:
        """What there is of it, in plain numbers: `turn_deg`, `shear_deg`, `scale`, `flip`.

        `turn_deg` is (3,), degrees about the scan's axes to the right, the front and the top, one
        turn after the other, the second within -90 ... 90: see `rotation_about`. `shear_deg` is
        (3,), of right by front, right by top and front by top. `flip` counts the mirrored axes.
        """
        found: dict[str, Any] = {}
        if not np.array_equal(self.rotation, np.eye(3)):
            found["turn_deg"] = np.rad2deg(angles_of(self.rotation))
        if not np.array_equal(self.shear, np.eye(3)):
            found["shear_deg"] = np.rad2deg(np.arctan(self.shear[np.triu_indices(3, 1)]))
        if self.scale != 1.0:
            found["scale"] = self.scale
        if any(self.flip):
            found["flip"] = tuple(axis for axis in range(3) if self.flip[axis])
        return found


def draw_pose(rng: np.random.Generator, config: SpatialConfig, spacing_mm: Vector) -> Pose:
    """A random pose.

    A patch whose voxels are more than three times as long as wide is turned about their long axis
    alone: any other turn would mix thick slices (as nnU-Net does, Isensee et al. 2021). A shear may
    slide such slices over each other, and does not tilt them.
    """
    angles = np.zeros(3)
    if rng.random() < config.rotate_probability:
        angles = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg, 3))
        for axis in range(3):
            across = np.delete(spacing_mm, axis)
            if across.max() > _TURNED_ALIKE * across.min():
                angles[axis] = 0.0
    scale = 1.0
    if rng.random() < config.scale_probability:
        scale = float(np.exp(rng.uniform(*np.log(config.scale))))
    mirrored = rng.random(3) < config.flip_probability
    x, y, z = (bool(mirrored[axis]) and axis in config.flip for axis in range(3))
    shear = np.eye(3)
    if config.shear_deg and rng.random() < config.shear_probability:
        slopes = np.tan(np.deg2rad(rng.uniform(-config.shear_deg, config.shear_deg, 3)))
        for (a, b), slope in zip(((0, 1), (0, 2), (1, 2)), slopes, strict=True):
            if spacing_mm[a] <= _TURNED_ALIKE * spacing_mm[b]:
                shear[a, b] = slope
    return Pose(rotation_about(angles), scale, (x, y, z), shear)


def draw_deformation(
    rng: np.random.Generator, config: SpatialConfig, size: Size, spacing_mm: Vector
) -> ControlLattice | None:
    """A random elastic deformation of a patch, or None where it is not deformed.

    Voxels do not move along an axis in which they are more than three times as long as in another.
    """
    if not config.elastic_probability or rng.random() >= config.elastic_probability:
        return None
    x, y, z = (bool(along <= _TURNED_ALIKE * spacing_mm.min()) for along in spacing_mm)
    return draw_elastic(
        rng,
        np.asarray(size) * spacing_mm,
        config.elastic_spacing_mm,
        config.elastic_displacement_mm,
        (x, y, z),
    )


def rotation_about(angles: Vector) -> Vector:
    """(3, 3): turns by `angles`, in radians, about the first, then the second, the third axis."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[b, a] = np.sin(angle)
        turn[a, b] = -turn[b, a]
        result = turn @ result
    return result


def angles_of(rotation: Vector) -> Vector:
    """(3,) radians that `rotation_about` makes this rotation of; the second in -pi/2 ... pi/2."""
    r = rotation
    return np.array(
        [
            np.arctan2(r[2, 1], r[2, 2]),
            np.arctan2(-r[2, 0], np.hypot(r[2, 1], r[2, 2])),
            np.arctan2(r[1, 0], r[0, 0]),
        ]
    )


def compose_map(
    scan: ScanInfo, size: Size, spacing_mm: Vector, centre_mm: Vector, pose: Pose
) -> Affine:
    """4x4, index of the patch's voxel -> index of the stored voxel.

    world = centre + frame @ rotation @ shear @ diag(spacing / scale) @ flip
    @ (index - (size - 1) / 2); stored = affine^-1 @ world. Where nothing is left to interpolate,
    the map is moved by at most half a voxel onto the scan's own voxels (`interpolate.snapped`).

    Args:
        spacing_mm: (3,), along the patch's axes.
        centre_mm: (3,), RAS millimetres of the patch's middle.
    """
    signs = np.where(pose.flip, -1.0, 1.0)
    to_world = np.eye(4)
    turned = scan.frame @ pose.rotation @ pose.shear
    to_world[:3, :3] = turned @ np.diag(spacing_mm / pose.scale * signs)
    to_world[:3, 3] = centre_mm - to_world[:3, :3] @ ((np.asarray(size) - 1) / 2)
    to_stored = np.asarray(np.linalg.solve(scan.affine, to_world), dtype=np.float64)
    # What is no turn but rounding (1e-12 of a voxel) would hide that the axes are parallel.
    to_stored[:3, :3][np.abs(to_stored[:3, :3]) < 1e-7] = 0.0
    return snapped(to_stored, size)
