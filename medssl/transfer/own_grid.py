"""From probabilities on the network's grid to classes on a scan's own grid, slab by slab."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medssl.augment.array_sampling import Size
from medssl.volume import Affine, Array

_AT_ONCE = 8  # planes of the scan interpolated at once
_STRAIGHT = 1e-6  # of a voxel: what turns or moves less is rounding

Floats = npt.NDArray[np.float32]


def classes_on_own_grid(
    slabs: Iterable[tuple[int, Floats]], axis: int, matrix: Affine, shape: Size
) -> Array:
    """The likeliest class at each of the scan's own voxels, by trilinear interpolation.

    Of equal ones the first. No more slabs are held than a plane of the scan lies in: one, or of a
    scan that is sheared as many as the shear reaches.

    Args:
        slabs: first plane and probabilities (K, D, H, W) of slabs that follow each other along
            `axis` of the network's grid.
        matrix: 4x4, index on the network's grid to index of the scan's voxel.
        shape: of the scan.

    Returns:
        `shape`, uint8 (uint16 where there are more than 256 classes).
    """
    to_network = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    stored = int(np.abs(to_network[axis, :3]).argmax())
    low, high = _reach(to_network[axis], stored, shape)
    waiting = list(np.argsort(high, kind="stable"))
    held: Floats | None = None
    begin = end = 0
    classes: Array | None = None
    for start, slab in slabs:
        if held is None:
            begin, held = start, slab
            kind = np.min_scalar_type(max(len(slab) - 1, 255))
            classes = np.empty(shape, dtype=kind)
        else:
            assert start == end
            held = np.concatenate([held, slab], axis=axis + 1)
        end = start + slab.shape[axis + 1]
        ready = [k for k in waiting if np.floor(high[k]) + 1 <= end - 1]
        waiting = waiting[len(ready) :]
        assert classes is not None
        _fill(classes, held, begin, axis, to_network, stored, ready)
        needed = int(np.floor(min((low[k] for k in waiting), default=end - 1)))
        kept = min(max(needed, begin), end - 1)
        held = held.take(range(kept - begin, end - begin), axis=axis + 1)
        begin = kept
    assert held is not None
    assert classes is not None
    _fill(classes, held, begin, axis, to_network, stored, waiting)
    return classes


def _reach(row: Affine, stored: int, shape: Size) -> tuple[Affine, Affine]:
    """Lowest and highest place along the slabs' axis of each plane of the scan."""
    along = row[stored] * np.arange(shape[stored]) + row[3]
    ends = [row[a] * (shape[a] - 1) for a in range(3) if a != stored]
    return (
        along + sum(min(end, 0.0) for end in ends),
        along + sum(max(end, 0.0) for end in ends),
    )


def _fill(
    classes: Array,
    held: Floats,
    begin: int,
    axis: int,
    to_network: Affine,
    stored: int,
    planes: list[int],
) -> None:
    """Write the classes of these planes, which follow each other, of the scan."""
    if not planes:
        return
    first, last = min(planes), max(planes) + 1
    for start in range(first, last, _AT_ONCE):
        stop = min(start + _AT_ONCE, last)
        part: list[slice] = [slice(None)] * 3
        part[stored] = slice(start, stop)
        linear, offset = to_network[:3, :3], to_network[:3, 3].copy()
        offset += linear[:, stored] * start
        offset[axis] -= begin
        target = classes[tuple(part)]
        target[...] = _likeliest(held, linear, offset, target.shape)


def _likeliest(held: Floats, linear: Affine, offset: Affine, shape: tuple[int, ...]) -> Array:
    best = np.zeros(shape, dtype=np.uint16)
    highest = np.full(shape, -np.inf, dtype=np.float32)
    source = np.abs(linear).argmax(axis=1)  # axis of the scan that runs along each network axis
    across = linear.copy()
    across[np.arange(3), source] = 0.0
    straight = np.abs(across).max() * max(shape) < _STRAIGHT
    for number, probabilities in enumerate(held):
        if straight:
            own = _interpolated(probabilities, linear, offset, shape, source)
        else:
            own = ndimage.affine_transform(
                probabilities, linear, offset, output_shape=shape, order=1, mode="nearest"
            )
        better = own > highest
        best[better], highest[better] = number, own[better]
    return best


def _interpolated(
    values: Floats, linear: Affine, offset: Affine, shape: tuple[int, ...], source: Array
) -> Floats:
    """As `affine_transform`, one axis after the other, where those of both grids are parallel."""
    for a in np.argsort([shape[s] / n for s, n in zip(source, values.shape, strict=True)]):
        length = values.shape[a]
        at = linear[a, source[a]] * np.arange(shape[source[a]]) + offset[a]
        at = np.clip(np.where(np.abs(at - np.rint(at)) < _STRAIGHT, np.rint(at), at), 0, length - 1)
        below = np.floor(at).astype(np.intp)
        share = np.expand_dims((at - below).astype(np.float32), [n for n in range(3) if n != a])
        lower = values.take(below, axis=a)
        if share.any():
            upper = values.take(np.minimum(below + 1, length - 1), axis=a)
            lower += (upper - lower) * share
        values = lower
    return values.transpose(np.argsort(source))
