"""Slices at unequal steps along one line, taken to equal steps from their true positions.

The new step is the median of the true ones: where a stack is regular but for a few slices it keeps
those untouched, and where it is finer at one end it invents no more detail than most of it has.
Values are interpolated linearly between the two neighbours of each new slice, never beyond the
first or the last slice, and never across a gap in which a whole slice may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.archive.dicom.geometry import (
    Misplaced,
    Points,
    Stack,
    affine_of_plane,
    normal_of,
    stack,
)
from medssl.archive.dicom.policy import Policy
from medssl.archive.reasons import Reason
from medssl.store.padding import valid_voxels
from medssl.store.voxels import Rescale
from medssl.volume import Affine, Array

_LINE_TOLERANCE_MM = 0.1
_GAP = 1.9  # times the median step: room for one more slice, within a tenth of a step


@dataclass(frozen=True)
class Respacing:
    """New slices between old ones.

    Attributes:
        order: of the old slices along the normal.
        below: the old slice (by its place in `order`) at or before each new one.
        share: how far each new one lies from it towards the next, 0 to 1.
        affine: (new slice, row, column) to RAS mm.
        detail: steps in mm.
    """

    order: list[int]
    below: npt.NDArray[np.int64]
    share: npt.NDArray[np.float64]
    affine: Affine
    detail: str


def stack_or_respace(
    positions: Points, orientation: Sequence[float], spacing: Sequence[float], policy: Policy
) -> tuple[Stack, Respacing | None]:
    """Slices as they are where their steps are equal, else respaced where that is allowed.

    Raises:
        Misplaced: as `stack`, and as `respace` where the policy lets it.
    """
    try:
        return stack(positions, orientation, spacing), None
    except Misplaced as problem:
        allowed = policy.irregular_spacing == "resample"
        if problem.reason is not Reason.SPACING_IRREGULAR or not allowed:
            raise
    respacing = respace(positions, orientation, spacing)
    return Stack(respacing.order, respacing.affine), respacing


def respace(positions: Points, orientation: Sequence[float], spacing: Sequence[float]) -> Respacing:
    """Equal steps for slices that lie on one line but not at equal steps.

    Args:
        positions: (N, 3) LPS mm, no two alike.
        spacing: between rows and between columns, mm.

    Raises:
        Misplaced: MISSING_SLICE where a gap has room for a slice, SPACING_IRREGULAR where the
            slices lie on no straight line.
    """
    along = positions @ normal_of(orientation)
    order = np.argsort(along, kind="stable")
    placed, along = positions[order], along[order]
    steps = np.diff(along)
    step = float(np.median(steps))
    if steps.max() >= _GAP * step:
        at = int(steps.argmax())
        raise Misplaced(
            Reason.MISSING_SLICE,
            f"gap of {steps[at]:.3f} mm between slices {at + 1} and {at + 2} of {len(along)}, "
            f"median step {step:.3f} mm",
        )
    line = np.stack([np.ones_like(along), along], axis=1)
    start, direction = np.linalg.lstsq(line, placed, rcond=None)[0]
    off = np.linalg.norm(placed - line @ np.stack([start, direction]), axis=1)
    if off.max() > _LINE_TOLERANCE_MM:
        raise Misplaced(
            Reason.SPACING_IRREGULAR,
            f"slice {int(off.argmax()) + 1} of {len(along)} is {off.max():.3f} mm off the line",
        )
    new = along[0] + step * np.arange(int((along[-1] - along[0]) / step + 1e-6) + 1)
    below = np.clip(np.searchsorted(along, new, side="right") - 1, 0, len(along) - 2)
    share = np.clip((new - along[below]) / steps[below], 0.0, 1.0)
    affine = affine_of_plane(start + direction * along[0], direction * step, orientation, spacing)
    detail = f"steps of {steps.min():.3f} to {steps.max():.3f} mm taken to {step:.3f} mm"
    return Respacing(order.tolist(), below, share, affine, detail)


def interpolate(
    stored: Array, rescale: Rescale, respacing: Respacing, padding: tuple[float, float] | None
) -> tuple[npt.NDArray[np.float32], tuple[float, float] | None]:
    """Values of the new slices as float32, and the value that stands for padding in them.

    A new voxel is padding where either of the voxels it lies between is.

    Args:
        stored: (old slices, rows, columns) in the order of `respacing`.
    """
    values = rescale.apply(stored)
    below, share = respacing.below, respacing.share
    out = np.empty((len(below), *stored.shape[1:]), dtype=np.float32)
    valid = valid_voxels(stored, padding) if padding else None
    mark = float(rescale.apply(np.full((1, 1, 1), padding[0]))[0, 0, 0]) if padding else 0.0
    for new, (low, part) in enumerate(zip(below, share, strict=True)):
        one, other = values[low].astype(np.float64), values[low + 1].astype(np.float64)
        out[new] = one + part * (other - one)
        if valid is not None:
            touched = (~valid[low] & (part < 1)) | (~valid[low + 1] & (part > 0))
            out[new][touched] = mark
    return out, (mark, mark) if padding else None
