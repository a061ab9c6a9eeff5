"""Looking for the body in a scan, for its mask of coarse blocks (`medssl.store.body`)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medssl.store.body import Blocks, BodyMask, Edge
from medssl.store.describe import CT_BODY_HU, exceeding, rising, sub_grid
from medssl.store.padding import valid_voxels
from medssl.store.voxels import Rescale
from medssl.volume import Array, Modality, Volume, ras_order

_SAMPLE_MM = 1.5
_BLOCK_MM = 6.0
_FEWEST_BLOCKS = 32  # along an axis of as many voxels
_BODY_SHARE = 1 / 8  # of a block's voxels; the widening covers what this cuts
_SPECK = 1 / 500  # of the largest part
_THICK_SHARE = 0.2  # of a part's blocks
_FROM_THICK = 2  # blocks: what is thin and farther from anything thick is a table's shell
_OPEN_AIR_HU = -925.0  # air round the patient lies below; lungs, cut by the field of view, above
_LEVELS = {"PT": 0.03}
_LEVEL = 0.1


def find_body(
    volume: Volume, rescale: Rescale | None = None, padding: tuple[float, float] | None = None
) -> BodyMask:
    """The body in a (D, H, W) volume of stored numbers, with all that it encloses.

    Of a CT, blocks are taken of which an eighth is denser than -500 HU; elsewhere those whose mean
    lies above a tenth of the 99th percentile (3 % in PET). Of these, small parts that lie apart
    (noise) go, and in CT thin ones (a table's shell, tubes). Holes are filled slice by slice along
    the axis nearest to the top: lungs, bowel gas and sinuses are body. In CT so are lungs that the
    field of view cuts, which are denser than the air round a patient. At last the mask grows by
    one block, so that skin is never cut. Padding is no body. A volume without any body counts as a
    whole.

    Every second or third voxel is looked at where they lie closer than 1.5 mm.
    """
    step, edge = block_edge(volume)
    stored, rescale = volume.voxels, rescale or Rescale()
    grid = tuple(slice(0, None, s) for s in step)
    if rescale.by_slice:
        rescale = Rescale(
            *(f[grid[0]] if np.ndim(f) else f for f in (rescale.slope, rescale.intercept))  # type: ignore[index]
        )
    few = np.ascontiguousarray(stored[grid])
    numbers, back = rising(few, rescale)
    valid = valid_voxels(few, padding) if padding else None
    per_block: Edge = tuple(e // s for e, s in zip(edge, step, strict=True))  # type: ignore[assignment]
    seen = _samples(numbers.shape, per_block) if valid is None else _sums(valid, per_block)
    measured = seen > 0
    if volume.units == "HU":
        level = (CT_BODY_HU - float(back.intercept)) / float(back.slope)
        dense = exceeding(numbers, level)
        found = _sums(dense if valid is None else dense & valid, per_block)
        tissue = measured & (found >= _BODY_SHARE * seen)
    else:
        level = _level(numbers, volume.modality, valid)
        sums = _sums(numbers if valid is None else np.where(valid, numbers, 0), per_block)
        tissue = measured & (sums > level * seen)
    top = ras_order(volume.affine)[0][2]
    if volume.units == "HU":
        tissue, air = _without_table(tissue, top), _air(numbers, back, valid, per_block)
    else:
        tissue, air = _large_parts(tissue, tissue), None
    blocks = widened(_with_holes_filled(tissue, measured, top, air)) & measured
    return BodyMask(blocks, edge) if blocks.any() else BodyMask.whole(volume.shape)


def block_edge(volume: Volume) -> tuple[Edge, Edge]:
    """Voxels between those that are looked at, and voxels of a block, along each axis.

    Blocks are about 6 mm long and a whole number of steps; shorter in a volume of which there
    would else be fewer than 32 along an axis.
    """
    steps, edges = [], []
    for n, spacing in zip(volume.shape, volume.spacing_mm, strict=True):
        most = max(1, n // _FEWEST_BLOCKS)
        step = min(max(1, round(_SAMPLE_MM / spacing)), most)
        times = min(max(1, round(_BLOCK_MM / (step * spacing))), most // step)
        steps.append(step)
        edges.append(step * times)
    return (steps[0], steps[1], steps[2]), (edges[0], edges[1], edges[2])


def widened(blocks: Blocks, times: int = 1) -> Blocks:
    """With all neighbours, across edges and corners too, `times` over."""
    for _ in range(times):
        for axis in range(3):
            result = blocks.copy()
            here, there = (np.moveaxis(x, axis, 0) for x in (result, blocks))
            here[1:] |= there[:-1]
            here[:-1] |= there[1:]
            blocks = result
    return blocks


def _level(numbers: Array, modality: Modality, valid: Blocks | None) -> float:
    """What means of blocks with body lie above, where values have no unit to tell."""
    few = sub_grid(numbers.shape)
    values = numbers[few] if valid is None else numbers[few][valid[few]]
    if values.size == 0:
        return math.inf
    lowest, high = float(values.min()), float(np.percentile(values, 99))
    return lowest + _LEVELS.get(modality, _LEVEL) * (high - lowest)


def _sums(samples: Array, per_block: Edge) -> Array:
    """Sums over each block. Those of booleans fit into bytes: a block has 6 samples an axis."""
    is_bool = samples.dtype == np.bool_
    sums: Array = samples.view(np.uint8) if is_bool else samples
    for axis, times in enumerate(per_block):
        lines = np.moveaxis(sums, axis, 0)
        total: Array = lines[::times].astype(np.uint8 if is_bool else np.float32)
        for k in range(1, times):
            part = lines[k::times]
            total[: len(part)] += part
        sums = np.moveaxis(total, 0, axis)
    return sums


def _samples(shape: tuple[int, ...], per_block: Edge) -> Array:
    """How many samples each block has."""
    lines = [
        np.diff(np.append(np.arange(0, n, times), n))
        for n, times in zip(shape, per_block, strict=True)
    ]
    return np.asarray(lines[0][:, None, None] * lines[1][:, None] * lines[2])


def _air(
    numbers: Array, back: Rescale, valid: Blocks | None, per_block: Edge
) -> npt.NDArray[np.float32]:
    """The value in the middle of each block; NaN where that is padding."""
    middles = np.ix_(
        *(
            np.minimum(np.arange(0, n, times) + times // 2, n - 1)
            for n, times in zip(numbers.shape, per_block, strict=True)
        )
    )
    values = back.apply(numbers[middles])
    if valid is not None:
        values[~valid[middles]] = np.nan
    return values


def _without_table(tissue: Blocks, top: int) -> Blocks:
    """What is near to parts that are three blocks thick in the slices across `top`.

    A table is a shell of one or two, round foam that may be as dense as a lung.
    """
    thick = tissue.copy()
    for axis in {0, 1, 2} - {top}:
        here, there = (np.moveaxis(x, axis, 0) for x in (thick, tissue))
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
    if not thick.any():
        return tissue
    part = _large_parts(tissue, thick, _THICK_SHARE)
    return part & widened(thick & part, _FROM_THICK)


def _large_parts(tissue: Blocks, counted: Blocks, share: float = 0.0) -> Blocks:
    """Connected parts with a `share` of `counted` blocks, and not far fewer than the largest."""
    from scipy import ndimage

    labels, number = ndimage.label(tissue)
    sizes = np.bincount(labels.ravel(), minlength=number + 1)
    numbers = np.bincount(labels[counted], minlength=number + 1)
    numbers[0] = 0
    large = (numbers >= max(1.0, _SPECK * numbers.max())) & (numbers >= share * sizes)
    kept: Blocks = large[labels]
    return kept


def _with_holes_filled(
    tissue: Blocks, measured: Blocks, top: int, air: npt.NDArray[np.float32] | None
) -> Blocks:
    """With what tissue encloses within slices across `top`, and regions denser than open air."""
    from scipy import ndimage

    within = np.zeros((3, 3, 3), dtype=bool)
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)
    within[tuple(1 if axis == top else slice(None) for axis in range(3))] = cross
    labels, number = ndimage.label(measured & ~tissue, within)
    is_open = np.zeros(number + 1, dtype=bool)
    for axis in {0, 1, 2} - {top}:
        lines, there = (np.moveaxis(x, axis, 0) for x in (labels, measured))
        is_open[lines[0]] = True
        is_open[lines[-1]] = True
        is_open[lines[1:][~there[:-1]]] = True
        is_open[lines[:-1][~there[1:]]] = True
    if air is not None:
        known = np.isfinite(air)
        sums = np.bincount(labels[known], air[known], number + 1)
        is_open &= sums <= _OPEN_AIR_HU * np.bincount(labels[known], minlength=number + 1)
    is_open[0] = False
    filled: Blocks = tissue | ((labels > 0) & ~is_open[labels])
    return filled
