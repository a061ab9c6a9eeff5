"""A low-pass before a patch that is coarser than its scan, so that fine detail does not fold back.

Trilinear interpolation weighs stored voxels by a tent two voxels wide, whatever the step between
the patch's voxels is; what the patch's grid cannot hold comes back as false coarse detail. So the
scan is first averaged along each axis over a window, and where the window is wide enough only every
n-th average is kept. The window has whole weights but for its two outermost voxels, which count
less: it grows with the step without jumps, and having no negative weight it leaves no bright rim
beside the skin.

Its width is chosen for window and tent together to have the variance step^2 / 7. How much is lost
and what folds back are then the same share at every step, and the sum of both is the least, or
within 3 % of it, on CT and MR at steps from 1.5 to 4 (docs/explanation/one-interpolation.md).
Matching the widths of both grids so follows Cardoso et al., Scale factor point spread function
matching: beyond aliasing in image resampling, MICCAI 2015, who take step^2 / 5.5.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.kernels import library
from medssl.volume import Affine, Array

SHORTEST_STEP = 1.5
"""Below it, what is lost by smoothing is more than what folds back without."""

_VARIANCE = 1 / 6
_COMPILED = {
    np.dtype(np.int16): "medssl_prefilter_i16",
    np.dtype(np.uint16): "medssl_prefilter_u16",
    np.dtype(np.uint8): "medssl_prefilter_u8",
    np.dtype(np.float32): "medssl_prefilter_f32",
}


@dataclass(frozen=True)
class Window:
    """Averages along one axis, of which one in `factor` is kept.

    Average j is centred on stored index `j * factor + (factor - 1) / 2`, so a stored index is
    `(index - (factor - 1) / 2) / factor` among the averages.

    Attributes:
        factor: stored voxels from one kept average to the next.
        weights: symmetric, their sum 1; even in number where `factor` is, else odd.
    """

    factor: int = 1
    weights: tuple[float, ...] = (1.0,)

    @property
    def margin(self) -> int:
        """Stored voxels that interpolating reaches beyond the two around a place, either way."""
        return math.ceil(self.factor + (len(self.weights) - 1) / 2) - 1

    def length(self, voxels: int) -> int:
        """Averages that are kept of so many voxels, the last of which may stand for fewer."""
        return -(-voxels // self.factor)


Windows = tuple[Window, Window, Window]


def windows(matrix: Affine) -> Windows:
    """One window for each stored axis, for a patch under this map (patch index to stored index).

    A step through the patch is as many stored voxels as the row of the map is long; for a turned
    patch that is the root of the sum of squares over its axes.
    """
    d, h, w = (window(float(step)) for step in np.linalg.norm(matrix[:3, :3], axis=1))
    return d, h, w


def window(step: float) -> Window:
    """The window for voxels of a patch that are `step` stored voxels apart."""
    if step < SHORTEST_STEP:
        return Window()
    # Variances: of the window sought, of a tent n voxels either way (n^2 / 6), and of n voxels
    # alike ((n^2 - 1) / 12), which is the least that a window has to have to pass over none.
    factor = max(1, int(step / 1.25))
    variance = _VARIANCE * step**2 - factor**2 / 6
    whole = factor
    while (end := _end_weight(variance, whole)) > 1:
        whole += 2
    sides = (end,) if end > 0 else ()
    total = whole + 2 * max(end, 0.0)
    return Window(factor, tuple(w / total for w in (*sides, *(1.0,) * whole, *sides)))


def _end_weight(variance: float, whole: int) -> float:
    """What one voxel more at either end of `whole` voxels has to weigh for this variance."""
    reach = (whole + 1) ** 2 / 2 - 2 * variance
    if reach <= 0:
        return math.inf
    return whole * (variance - (whole**2 - 1) / 12) / reach


def prefilter(block: Array, axes: Windows) -> npt.NDArray[np.float32]:
    """The kept averages of a block; beyond its faces the outermost voxel goes on.

    Args:
        block: (D, H, W), stored numbers of any type, in any memory layout.
        axes: one window each for D, H and W.

    Returns:
        as many averages along each axis as its window's `length`.
    """
    if all(axis.weights == (1.0,) for axis in axes):
        return np.ascontiguousarray(block, dtype=np.float32)
    loops = library()
    if loops is not None and block.size:
        return _compiled(loops, block, axes)
    values = block.astype(np.float32)
    for axis, its in enumerate(axes):
        values = _averaged(values, axis, its)
    return np.ascontiguousarray(values)


def _averaged(values: npt.NDArray[np.float32], axis: int, its: Window) -> npt.NDArray[np.float32]:
    if its.weights == (1.0,):
        return values
    number, ahead = its.length(values.shape[axis]), (len(its.weights) - its.factor) // 2
    last = values.shape[axis] - 1
    result = np.zeros((), dtype=np.float32)
    for k, weight in enumerate(its.weights):
        at = np.clip(np.arange(number) * its.factor - ahead + k, 0, last)
        result = result + np.take(values, at, axis=axis) * np.float32(weight)
    return result


def _compiled(loops: ctypes.CDLL, block: Array, axes: Windows) -> npt.NDArray[np.float32]:
    if block.dtype not in _COMPILED or block.strides[2] != block.itemsize:
        kept = block.dtype if block.dtype in _COMPILED else np.dtype(np.float32)
        block = np.ascontiguousarray(block, dtype=kept)
    d, h, w = (axis.length(n) for axis, n in zip(axes, block.shape, strict=True))
    result = np.empty((d, h, w), dtype=np.float32)
    numbers = (
        *block.shape,
        *(stride // block.itemsize for stride in block.strides[:2]),
        *(axis.factor for axis in axes),
        *(len(axis.weights) for axis in axes),
    )
    weights = np.array([w for axis in axes for w in axis.weights], dtype=np.float32)
    run = loops[_COMPILED[block.dtype]]
    run.restype = ctypes.c_int
    failed = run(
        ctypes.c_void_p(block.ctypes.data),
        (ctypes.c_int64 * len(numbers))(*numbers),
        ctypes.c_void_p(weights.ctypes.data),
        ctypes.c_void_p(result.ctypes.data),
    )
    if failed:
        raise MemoryError(f"no memory for filtering rows of {block.shape[2]} voxels")
    return result
