"""Siemens mosaics: all slices of a volume side by side in one matrix (Numaris 4).

ImagePositionPatient points at the corner of the whole matrix, and the slice distance is written
nowhere but in SpacingBetweenSlices. So the true centre of each slice is taken from the scan
protocol in the CSA series header, and has to agree with the corner and with the slice normal of the
CSA image header; a mosaic that does not say so, or contradicts itself, is not unfolded.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from math import isqrt

import numpy as np
from pydicom.dataset import Dataset

from medssl.archive.dicom import elements
from medssl.volume import Array

_TOLERANCE_MM = 0.1
_AXES = {"Sag": 0, "Cor": 1, "Tra": 2}
_CENTRE = re.compile(
    r"^sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*([-+.\deE]+)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Tiles in the order of the matrix, row by row; `positions` of their first voxels, LPS mm."""

    rows: int
    columns: int
    across: int
    positions: tuple[tuple[float, ...], ...]

    def unfold(self, matrix: Array) -> Array:
        """(1, across * rows, across * columns) into (slices, rows, columns)."""
        grid = matrix.reshape(self.across, self.rows, self.across, self.columns)
        tiles = grid.transpose(0, 2, 1, 3).reshape(-1, self.rows, self.columns)
        return np.ascontiguousarray(tiles[: len(self.positions)])


def mosaic_of(ds: Dataset) -> Mosaic | None:
    """How to unfold a mosaic, or None where its header does not say beyond doubt."""
    count, normal = _csa_image(ds)
    centres = _slice_centres(ds)
    corner = np.array(elements.numbers(ds, "ImagePositionPatient"))
    cosines = np.array(elements.numbers(ds, "ImageOrientationPatient"))
    spacing = elements.numbers(ds, "PixelSpacing")
    rows, columns = elements.integer(ds, "Rows") or 0, elements.integer(ds, "Columns") or 0
    if not count or normal is None or centres is None or len(centres) != count:
        return None
    across = isqrt(count - 1) + 1
    if corner.shape != (3,) or cosines.shape != (6,) or len(spacing) != 2:
        return None
    if not rows or rows % across or columns % across:
        return None
    along_row, along_column = cosines[:3] * spacing[1], cosines[3:] * spacing[0]
    tile_rows, tile_columns = rows // across, columns // across
    half_tile = along_row * tile_columns / 2 + along_column * tile_rows / 2
    first_centre = corner + along_row * columns / 2 + along_column * rows / 2
    if (centres[-1] - centres[0]) @ normal < 0:
        centres = centres[::-1]
    if np.linalg.norm(centres[0] - first_centre) > _TOLERANCE_MM:
        return None
    positions = tuple(tuple(float(x) for x in centre - half_tile) for centre in centres)
    return Mosaic(tile_rows, tile_columns, across, positions)


def _csa_image(ds: Dataset) -> tuple[int, Array | None]:
    """Number of slices, and the direction in which they follow each other, from (0029,1010)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel.nicom says at import that it is young
        from nibabel.nicom import csareader

    packed = elements.raw(ds, (0x0029, 0x1010))
    if not isinstance(packed, bytes):
        return 0, None
    try:
        csa = csareader.read(packed)
        count, normal = csareader.get_n_mosaic(csa), csareader.get_slice_normal(csa)
    except Exception:  # nibabel raises struct, key and CSA errors for a header that is cut off
        return 0, None
    return int(count or 0), None if normal is None else np.asarray(normal, dtype=np.float64)


def _slice_centres(ds: Dataset) -> Array | None:
    """Centre of each slice in LPS mm, (slices, 3), from the protocol in (0029,1020)."""
    packed = elements.raw(ds, (0x0029, 0x1020))
    if not isinstance(packed, bytes):
        return None
    protocol = packed.decode("latin-1")
    begin = protocol.find("### ASCCONV BEGIN")
    end = protocol.find("### ASCCONV END", begin)
    found = _CENTRE.findall(protocol[begin:end]) if begin >= 0 else []
    if not found:
        return None
    centres = np.zeros((max(int(index) for index, _, _ in found) + 1, 3))
    try:
        for index, axis, value in found:
            centres[int(index), _AXES[axis]] = float(value)
    except ValueError:
        return None
    return centres
