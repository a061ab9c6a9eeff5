"""Masks as NIfTI, on the grid of the scan that they are of."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from medssl.volume import Affine, Array, spacing_of

# What says where voxels lie; texts, extensions and times stay behind: they may name a patient.
_PLACE = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def write_like(path: Path, mask: Array, scan: Path) -> None:
    """Write a mask with the grid of the NIfTI file `scan`, to the last bit of its header.

    Args:
        mask: (x, y, z), in the order of the file's voxels.
    """
    from nibabel.nifti1 import Nifti1Header, Nifti1Image
    from nibabel.nifti2 import Nifti2Header, Nifti2Image

    with scan.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with (gzip.open if packed else open)(scan, "rb") as content:
        head: Any = content.read(544)
    is_two = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind, size = (Nifti2Header, 540) if is_two else (Nifti1Header, 348)
    of_scan = kind(head[:size], check=False)
    header = kind()
    header.set_data_dtype(mask.dtype)
    header.set_data_shape(mask.shape)
    for name in _PLACE:
        header[name] = of_scan[name]
    _save(path, (Nifti2Image if is_two else Nifti1Image)(mask, None, header=header))


def write_on_grid(path: Path, mask: Array, affine: Affine) -> None:
    """Write a mask with an affine: index of its voxel to RAS millimetres.

    A sheared grid is in the sform alone: a qform cannot say it.
    """
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image(mask, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    columns = affine[:3, :3] / spacing_of(affine)
    straight = np.abs(columns.T @ columns - np.eye(3)).max() < 1e-5
    image.set_qform(affine if straight else None, code=int(straight))
    _save(path, image)


def read_mask(path: Path) -> Array:
    """The voxels of a mask that was written here, (x, y, z)."""
    from nibabel.nifti1 import Nifti1Image

    return np.asarray(Nifti1Image.from_filename(path).dataobj)


def _save(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{path.name}")
    try:
        image.to_filename(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
