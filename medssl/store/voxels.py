"""Voxels on disk: the scan's own integers in a Blosc2 n-d array, with slope and intercept.

Value = stored * slope + intercept, slope and intercept being one number each, or one for each slice
along the first axis (PET). Reading gives the float32 of the float64 product.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medssl.store.b2nd import ChunkedArray, damaged, open_array, read_attributes
from medssl.volume import Array, Box

if TYPE_CHECKING:
    from medssl.store.body import BodyMask

_BLOCK_EDGE = 32
_CHUNK_EDGE = 64


@dataclass(frozen=True)
class Rescale:
    """How stored numbers become values; arrays hold one number for each slice of axis 0."""

    slope: float | npt.NDArray[np.float64] = 1.0
    intercept: float | npt.NDArray[np.float64] = 0.0

    def apply(self, stored: Array, first_slice: int = 0) -> npt.NDArray[np.float32]:
        """Values as float32 of the float64 product; `stored` starts at slice `first_slice`."""
        values = stored.astype(np.float64)
        for factor, operation in ((self.slope, np.multiply), (self.intercept, np.add)):
            operand = np.asarray(factor, dtype=np.float64)
            if operand.ndim:
                operand = operand[first_slice : first_slice + stored.shape[0], None, None]
            operation(values, operand, out=values)
        return values.astype(np.float32)

    @property
    def by_slice(self) -> bool:
        return bool(np.ndim(self.slope) or np.ndim(self.intercept))


def write_voxels(
    path: Path, stored: Array, rescale: Rescale | None = None, body: BodyMask | None = None
) -> None:
    """Write (D, H, W) integers or float32 atomically: a reader never sees half a file.

    A body mask lies in the file's metadata, so that it comes, moves and goes with the voxels.
    """
    import blosc2

    rescale = rescale or Rescale()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two machines may share a folder, and have processes of the same number.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        array = blosc2.empty(
            stored.shape,
            dtype=stored.dtype,
            urlpath=str(partial),
            mode="w",
            chunks=tuple(min(_CHUNK_EDGE, n) for n in stored.shape),
            blocks=tuple(min(_BLOCK_EDGE, n) for n in stored.shape),
            cparams={"codec": blosc2.Codec.LZ4, "clevel": 5, "nthreads": 1},
        )
        # What `array[...] = stored` calls; twice as fast as blosc2.asarray. The assignment itself
        # would also keep every file that this process ever wrote in a list that it goes through.
        array.set_slice(([0] * stored.ndim, list(stored.shape)), np.ascontiguousarray(stored))
        array.schunk.vlmeta["slope"] = np.asarray(rescale.slope, dtype=np.float64).tolist()
        array.schunk.vlmeta["intercept"] = np.asarray(rescale.intercept, dtype=np.float64).tolist()
        if body is not None:
            array.schunk.vlmeta["body"] = body.packed()
        del array
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def open_stored(path: Path) -> tuple[ChunkedArray, Rescale]:
    """Stored numbers, not yet read, and how they become values.

    Raises:
        StoreError: the file is missing or damaged.
    """
    array = open_array(path)
    attributes = read_attributes(path, "slope", "intercept")
    try:
        slope, intercept = (_number_or_array(attributes[name]) for name in ("slope", "intercept"))
        return array, Rescale(slope, intercept)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error


def read_stored(path: Path, box: Box | None = None) -> tuple[Array, Rescale]:
    """The stored numbers of `box` (the whole array by default) and how they become values.

    Raises:
        StoreError: the file is missing or damaged.
    """
    array, rescale = open_stored(path)
    return array.read(box), rescale


def read_values(path: Path, box: Box | None = None) -> npt.NDArray[np.float32]:
    """The values of `box` as float32, in the units that the manifest states."""
    stored, rescale = read_stored(path, box)
    return rescale.apply(stored, first_slice=box[0][0] if box else 0)


def _number_or_array(value: Any) -> float | npt.NDArray[np.float64]:
    return np.asarray(value, dtype=np.float64) if isinstance(value, list) else float(value)
