"""A low-pass before a patch that is coarser than its scan, so that fine detail does not fold back.

Trilinear interpolation weighs stored voxels by a tent two voxels wide, whatever the step between
the patch's voxels is; what the patch's grid cannot hold comes back as false coarse detail. So the
scan is first averaged along each axis over a window that grows with the step without jumps, and
where it is wide enough only every n-th average is kept. No weight is negative: nothing is left that
the scan does not hold, no bright rim beside the skin.

Its width is chosen for window and tent together to have the variance step^2 / 6, which is that of a
tent as wide as the patch's step. So a patch of any step loses what interpolation itself loses at a
step of one voxel, and no more. (Cardoso et al., Scale factor point spread function matching: beyond
aliasing in image resampling, MICCAI 2015, match widths in the same way, at step^2 / 5.5.) What this
keeps, and what it lets through, is measured in docs/explanation/one-interpolation.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.augment.array_sampling import Size, source_axes
from medssl.augment.separable import Sums, separable
from medssl.volume import Affine, Array

Vector = npt.NDArray[np.float64]

SHORTEST_STEP = 1.5
"""Below it, what is lost by smoothing is more than what folds back without."""


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

    def sums(self, voxels: int) -> Sums:
        """The kept averages of so many voxels."""
        ahead = (len(self.weights) - self.factor) // 2
        return Sums.even(self.length(voxels), -ahead, self.factor, self.weights)


Windows = tuple[Window, Window, Window]


def windows(matrix: Affine, moved: bool = False) -> Windows:
    """One window for each stored axis, for a patch under this map (patch index to stored index).

    A step through the patch is as many stored voxels as the row of the map is long; for a turned
    patch that is the root of the sum of squares over its axes. Averages are only left out for a
    patch that is turned or `moved` about: any other is summed axis by axis (`sample_straight`),
    where that would save nothing.
    """
    turned = moved or source_axes(matrix) is None
    steps = np.linalg.norm(matrix[:3, :3], axis=1)
    d, h, w = (window(float(s), _kept_of(float(s)) if turned else 1) for s in steps)
    return d, h, w


def window(step: float, factor: int = 1) -> Window:
    """The window for voxels of a patch that are `step` stored voxels apart.

    A mean of `factor` voxels, so that none is passed over, of [1 2 1] / 4, which lets nothing
    through of the finest stripes that the scan can hold, and of as many voxels as are left to
    average; near a step of 1.5 there is no room for all three, and the last one stands alone.
    """
    if step < SHORTEST_STEP:
        return Window()
    # Variances of the whole, of a tent of n voxels either way (n^2 / 6), of a mean of n voxels
    # ((n^2 - 1) / 12), and of [1 2 1] / 4.
    least = (factor**2 - 1) / 12
    variance = max((step**2 - factor**2) / 6, least)
    if variance < least + 0.5:
        return Window(factor, tuple(_mean(variance, factor).tolist()))
    weights = np.convolve(np.full(factor, 1 / factor), [0.25, 0.5, 0.25])
    return Window(factor, tuple(np.convolve(weights, _mean(variance - least - 0.5, 1)).tolist()))


def _mean(variance: float, fewest: int) -> Vector:
    """A mean of this variance: of `fewest` voxels or an even number more, the outermost two of
    which count less."""
    whole, end = fewest, 0.0
    while variance > (whole**2 - 1) / 12 + 1e-6:
        # One voxel of weight w more at either end: variance * (whole + 2 w) is the second moment.
        reach = (whole + 1) ** 2 / 2 - 2 * variance
        end = whole * (variance - (whole**2 - 1) / 12) / reach if reach > 0 else math.inf
        if end <= 1:
            break
        whole, end = whole + 2, 0.0
    weights = np.array([end, *[1.0] * whole, end] if end else [1.0] * whole)
    return np.asarray(weights / weights.sum())


def _kept_of(step: float) -> int:
    """One average in how many is kept: they stay denser than the patch."""
    return max(1, int(step / 1.1))


def prefilter(block: Array, axes: Windows) -> npt.NDArray[np.float32]:
    """The kept averages of a block; beyond its faces the outermost voxel goes on.

    Args:
        block: (D, H, W), stored numbers of any type, in any memory layout.
        axes: one window each for D, H and W.

    Returns:
        as many averages along each axis as its window's `length`.
    """
    d, h, w = (its.sums(n) for its, n in zip(axes, block.shape, strict=True))
    return separable(block, (d, h, w))


def sample_straight(
    block: Array, matrix: Affine, size: Size, axes: Windows
) -> npt.NDArray[np.float32]:
    """Averages of a block interpolated under a map that does not turn, both in one pass.

    Args:
        block: (D, H, W), stored numbers of any type.
        matrix: 4x4, index of the patch's voxel to index in the block; each axis of the patch runs
            along one of the block, either way.
        axes: one window for each axis of the block, all of which keep every average.
    """
    sources = source_axes(matrix)
    if sources is None or any(its.factor > 1 for its in axes):
        raise ValueError("a map that turns, or averages left out, cannot be summed axis by axis")
    sums: list[Sums] = []
    for axis in range(3):
        along = sources.index(axis)
        at = np.arange(size[along]) * matrix[axis, along] + matrix[axis, 3]
        if axis == 1 and matrix[axis, along] < 0:  # rows are taken in their order
            block = np.flip(block, axis)
            at = block.shape[axis] - 1 - at
        sums.append(Sums.linear(at, block.shape[axis], axes[axis].weights))
    values = separable(block, (sums[0], sums[1], sums[2]))
    return np.ascontiguousarray(values.transpose(sources))
