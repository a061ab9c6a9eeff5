"""A matrix along an axis of a patch: what smoothing, averaging and truncation have in common."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medssl.augment.intensity.compiled import loops, run
from medssl.augment.intensity.device import on_device

Matrix = npt.NDArray[np.float32]
"""(size, size): row i holds the weights of the voxels whose sum voxel i becomes."""

_TILE, _BLOCK, _ROWS = 64, 16, 4
"""See intensity_along.c."""


def along(image: Tensor, matrices: Sequence[Matrix], axes: Sequence[int]) -> Tensor:
    """Each view (C, D, H, W) of (N, C, D, H, W) times its matrix along its axis of 0, 1, 2.

    In place on the CPU, anew elsewhere. There every diagonal that is not zero takes an operation,
    which is for narrow bands; the bits of a matrix product may depend on how many views there are.
    """
    library = loops(image)
    if image.device.type == "cpu":
        for view, matrix, axis in zip(image, matrices, axes, strict=True):
            if library is not None:
                _loop(library, view, matrix, axis)
            else:
                view.copy_(_product(view, torch.from_numpy(matrix), axis))
        return image
    if len(set(axes)) == 1:
        return _diagonals(image, matrices, axes[0])
    result = torch.empty_like(image)
    for axis in set(axes):
        rows = [row for row, own in enumerate(axes) if own == axis]
        at = on_device(np.array(rows), image.device)
        result[at] = _diagonals(image[at], [matrices[row] for row in rows], axis)
    return result


def gaussian(size: int, sigma: float, reach: int) -> Matrix:
    """Weights of a Gaussian of `sigma` voxels up to `reach` voxels away; edges are repeated."""
    offsets = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    voxel = np.arange(size)[:, None]
    matrix = np.zeros((size, size))
    np.add.at(matrix, (voxel, np.clip(voxel + offsets, 0, size - 1)), taps / taps.sum())
    return matrix.astype(np.float32)


def _loop(library: ctypes.CDLL, view: Tensor, matrix: Matrix, axis: int) -> None:
    channels, *sizes = view.shape
    size = sizes[axis]
    if axis < 2:
        outer, inner = channels * int(np.prod(sizes[:axis])), int(np.prod(sizes[axis + 1 :]))
        scratch = np.empty(size * _TILE, dtype=np.float32)
        run(library, "along", view, outer, size, inner, matrix, _ranges(matrix != 0), scratch)
        return
    blocks = -(-size // _BLOCK)
    columns = np.zeros((size, blocks * _BLOCK), dtype=np.float32)
    columns[:, :size] = matrix.T
    used = np.any(columns.reshape(size, blocks, _BLOCK) != 0, axis=2).T
    scratch = np.empty(_ROWS * size, dtype=np.float32)
    run(library, "along_last", view, view.numel() // size, size, columns, _ranges(used), scratch)


def _ranges(used: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """(len(used), 2): the first place in use of each row, and one past the last."""
    first, last = used.argmax(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1)
    return np.stack([first, np.where(used.any(axis=1), last, first)], axis=1).astype(np.int32)


def _product(view: Tensor, matrix: Tensor, axis: int) -> Tensor:
    if axis == 2:
        return view @ matrix.T
    if axis == 1:
        return matrix @ view
    return (matrix @ view.flatten(2)).view_as(view)


def _diagonals(image: Tensor, matrices: Sequence[Matrix], axis: int) -> Tensor:
    dim = axis + 2
    size = image.shape[dim]
    together = np.stack(matrices)
    _, rows, columns = np.nonzero(together)
    reach = int(np.abs(columns - rows).max(initial=0))
    padded = np.pad(together, ((0, 0), (0, 0), (reach, reach)))
    voxel, offset = np.arange(size)[:, None], np.arange(2 * reach + 1)
    bands = on_device(padded[:, voxel, voxel + offset], image.device)  # (N, size, offset)
    shape = [len(matrices), 1, 1, 1, 1]
    shape[dim] = size
    # What lies beyond the edges has no weight.
    index = torch.arange(-reach, size + reach, device=image.device).clamp_(0, size - 1)
    source = image.index_select(dim, index)
    result = source.narrow(dim, 0, size) * bands[:, :, 0].reshape(shape)
    for k in range(1, 2 * reach + 1):
        result.addcmul_(source.narrow(dim, k, size), bands[:, :, k].reshape(shape))
    return result
