"""Slices in space: their order, their step, and the affine of the volume they make.

Order and spacing come from ImagePositionPatient along the normal of ImageOrientationPatient, never
from InstanceNumber, SliceLocation or SliceThickness (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from medssl.archive.reasons import Reason
from medssl.volume import Affine

SAME_PLACE_MM = 0.005
_COSINE_TOLERANCE = 1e-3
_WORLD_TOLERANCE_MM = 0.1
_STEP_TOLERANCE = 0.1  # of the spacing
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Misplaced(Exception):
    """Slices that make no volume; `detail` says where, in numbers."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Stack:
    """`order` puts the slices along the normal; `affine` is (slice, row, column) to RAS mm."""

    order: list[int]
    affine: Affine


@lru_cache
def check_orientation(orientation: tuple[float, ...]) -> None:
    """Raise Misplaced unless the cosines are two perpendicular unit vectors."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    faults = np.abs([np.linalg.norm(row) - 1, np.linalg.norm(column) - 1, row @ column])
    if faults.max() > _COSINE_TOLERANCE:
        raise Misplaced(Reason.ORIENTATION_INVALID, "")


def normal_of(orientation: Sequence[float]) -> Points:
    """Unit normal of a plane, LPS: row direction cross column direction."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def places(positions: Points, orientation: Sequence[float]) -> npt.NDArray[np.int64]:
    """The number of the place of each slice, counted along the normal; equal where they coincide.

    Args:
        positions: (N, 3), LPS mm.
    """
    along = positions @ normal_of(orientation)
    order = np.argsort(along, kind="stable")
    number = np.zeros(len(order), dtype=np.int64)
    if len(order) > 1:
        apart = np.diff(along[order]) > SAME_PLACE_MM
        number[order[1:]] = np.cumsum(apart)
    return number


def stack(positions: Points, orientation: Sequence[float], spacing: Sequence[float]) -> Stack:
    """Order slices along their normal and give the affine of the volume.

    The step from slice to slice may lean out of the normal (gantry tilt): the affine is then
    sheared, and right in world space.

    Args:
        positions: (N, 3) LPS mm, no two alike.
        spacing: between rows and between columns, mm.

    Raises:
        Misplaced: fewer than two slices, a gap, or steps that are not equal.
    """
    if len(positions) < 2:
        raise Misplaced(Reason.SINGLE_SLICE, "")
    along = positions @ normal_of(orientation)
    order = np.argsort(along, kind="stable")
    placed = positions[order]
    _check_steps(placed, along[order])
    index = np.arange(len(placed), dtype=np.float64)
    centred = index - index.mean()
    step = centred @ placed / (centred @ centred)
    first = placed.mean(axis=0) - step * index.mean()
    return Stack(order.tolist(), affine_of_plane(first, step, orientation, spacing))


def affine_of_plane(
    first: Points, step: Points, orientation: Sequence[float], spacing: Sequence[float]
) -> Affine:
    """(slice, row, column) to RAS mm, by the first slice's place and the step to the next, LPS."""
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = np.array(orientation[3:]) * spacing[0]
    affine[:3, 2] = np.array(orientation[:3]) * spacing[1]
    affine[:3, 3] = first
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    return affine


def _check_steps(placed: Points, along: npt.NDArray[np.float64]) -> None:
    """Equal steps on one straight line, within 0.1 mm and a tenth of the spacing."""
    steps = np.diff(along)
    spacing = float(np.median(steps))
    ratio = steps / spacing
    missing = np.rint(ratio).astype(int) - 1
    whole = np.abs(ratio - np.rint(ratio)) <= _STEP_TOLERANCE
    if (missing > 0).any() and (missing >= 0).all() and whole.all():
        at = int(np.flatnonzero(missing)[0])
        raise Misplaced(
            Reason.MISSING_SLICE,
            f"gap of {steps[at]:.3f} mm between slices {at + 1} and {at + 2} of {len(along)}, "
            f"spacing {spacing:.3f} mm; {int(missing.sum())} missing in all",
        )
    index = np.arange(len(placed), dtype=np.float64)
    line = np.stack([np.ones_like(index), index], axis=1)
    fitted = line @ np.linalg.lstsq(line, placed, rcond=None)[0]
    off = np.linalg.norm(placed - fitted, axis=1)
    if off.max() > min(_WORLD_TOLERANCE_MM, _STEP_TOLERANCE * spacing):
        raise Misplaced(
            Reason.SPACING_IRREGULAR,
            f"steps of {steps.min():.3f} to {steps.max():.3f} mm; slice {int(off.argmax()) + 1} of "
            f"{len(placed)} is {off.max():.3f} mm off its place",
        )
