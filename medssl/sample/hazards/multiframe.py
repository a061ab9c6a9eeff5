"""Enhanced multi-frame images out of a clean series, and Siemens mosaics."""

from __future__ import annotations

import struct
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medssl.sample.hazards.clean import Clean, set_pixels, write_file
from medssl.volume import Array

_STORAGE = "1.2.840.10008.5.1.4.1.1."
ENHANCED = {"CT": _STORAGE + "2.1", "MR": _STORAGE + "4.1", "PT": _STORAGE + "130"}
_MOVED = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "RescaleSlope", "RescaleIntercept", "RescaleType",
)  # fmt: skip


def item(**elements: Any) -> Dataset:
    """A data set of these elements."""
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def group(**elements: Any) -> Sequence:
    """A functional group: a sequence of one item."""
    return Sequence([item(**elements)])


def write_enhanced(
    series: Items[Clean], frames: Items[Dataset], shared: Dataset, order: Array
) -> Path:
    """One enhanced file that holds the slices of all `series`, in any order of frames.

    Args:
        series: the first gives the common header.
        frames: functional groups of each slice, series after series; positions are added.
        shared: functional groups that all share; orientation and spacing are added.
        order: of the frames in the file.
    """
    slices = [ds for one in series for ds in one.slices]
    stored = np.concatenate([one.stored for one in series])
    whole = Dataset()
    whole.update(series[0].slices[0])
    for keyword in _MOVED:
        if keyword in whole:
            delattr(whole, keyword)
    whole.SOPClassUID = ENHANCED[series[0].modality]
    whole.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    whole.NumberOfFrames = len(order)
    shared.PlaneOrientationSequence = group(
        ImageOrientationPatient=slices[0].ImageOrientationPatient
    )
    shared.PixelMeasuresSequence = group(PixelSpacing=slices[0].PixelSpacing, SliceThickness="9")
    for ds, frame in zip(slices, frames, strict=True):
        frame.PlanePositionSequence = group(ImagePositionPatient=ds.ImagePositionPatient)
    whole.SharedFunctionalGroupsSequence = Sequence([shared])
    whole.PerFrameFunctionalGroupsSequence = Sequence([frames[k] for k in order])
    set_pixels(whole, stored[order])
    path = series[0].place.folder / "enhanced"
    write_file(path, whole)
    return path


def rescale_group(slope: float, intercept: float, kind: str = "HU") -> Sequence:
    return group(RescaleSlope=str(slope), RescaleIntercept=str(intercept), RescaleType=kind)


def write_mosaic(series: Clean, with_protocol: bool) -> Path:
    """All slices side by side in one matrix, as Siemens' Numaris 4 writes them.

    `with_protocol` adds the private elements that tell where each slice lies.
    """
    count, rows, columns = series.stored.shape
    across = int(np.ceil(np.sqrt(count)))
    matrix = np.zeros((across * rows, across * columns), "<u2")
    for k, tile in enumerate(series.stored):
        y, x = divmod(k, across)
        matrix[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns] = tile
    ds = Dataset()
    ds.update(series.slices[0])
    ds.Manufacturer, ds.ImageType = "SIEMENS", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    to_lps = np.diag([-1.0, -1.0, 1.0])
    step, down, right = (to_lps @ series.affine[:3, axis] for axis in range(3))
    first = to_lps @ series.affine[:3, 3]
    half_tile = down * rows / 2 + right * columns / 2
    corner = first + half_tile - (down * matrix.shape[0] + right * matrix.shape[1]) / 2
    ds.ImagePositionPatient = [f"{x:.4f}" for x in corner]
    set_pixels(ds, matrix)
    if with_protocol:
        block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        normal = step / np.linalg.norm(step)
        block.add_new(0x10, "OB", _csa_header(count, normal))
        centres = [first + half_tile + k * step for k in range(count)]
        block.add_new(0x20, "OB", _protocol(centres))
    path = series.place.folder / "mosaic"
    write_file(path, ds)
    return path


def _csa_header(count: int, normal: Array) -> bytes:
    """The two elements of a CSA image header (format SV10) that a mosaic needs."""
    tags = [
        ("NumberOfImagesInMosaic", "US", [str(count)]),
        ("SliceNormalVector", "FD", [f"{x:.8f}" for x in normal]),
    ]
    out = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, vr, values in tags:
        out += struct.pack("<64si4s3i", name.encode(), len(values), vr.encode(), 0, len(values), 77)
        for value in values:
            data = value.encode() + b"\0"
            out += struct.pack("<4i", len(data), len(data), 77, len(data))
            out += data + b"\0" * (-len(data) % 4)
    return out + b"\0" * (len(out) % 2)


def _protocol(centres: list[Array]) -> bytes:
    lines = [
        f"sSliceArray.asSlice[{k}].sPosition.d{axis} = {centre[a]:.6f}"
        for k, centre in enumerate(centres)
        for a, axis in enumerate(("Sag", "Cor", "Tra"))
    ]
    text = "\n".join(["### ASCCONV BEGIN ###", *lines, "### ASCCONV END ###", ""]).encode()
    return text + b"\0" * (len(text) % 2)
