"""What pydicom and nibabel say of the same bytes: the reading that a taken volume has to equal."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Scan

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_WORLD_MM = 0.1
_GROUPS = ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation")
_PLUGINS = ("gdcm", "pylibjpeg", "pyjpegls", "pydicom", "")


@dataclass
class Plane:
    """One frame by pydicom: where it lies (LPS mm) and its values."""

    position: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing: tuple[float, float]
    slope: float
    intercept: float
    stored: list[np.ndarray] = field(default_factory=list)  # as each decoder reads it

    def at(self, i: float, j: float) -> np.ndarray:
        """RAS mm of row i, column j (PS3.3 C.7.6.2.1.1)."""
        lps = self.position + self.column * self.spacing[0] * i + self.row * self.spacing[1] * j
        return lps * _LPS_TO_RAS


class Disagrees(Exception):
    """The volume is not what the independent reading says."""


class PlaceUnknown(Exception):
    """The values are right, but nibabel does not read the place of a mosaic."""


def planes_of(path: Path) -> list[Any]:
    """The frames of a file; none of medssl's code takes part."""
    return _planes(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _planes(path: Path, _changed: int) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = _complete(pydicom.dcmread(path, force=True))
        stored = _stored(ds)
        if "PerFrameFunctionalGroupsSequence" not in ds or not _sop_class(ds).endswith(".4.1"):
            return [_plane(ds, ds, ds, ds, [array[0] for array in stored])]
        shared = (ds.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        planes: list[Any] = []
        for n, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            groups = [_group(frame, shared, name) for name in _GROUPS]
            try:
                planes.append(_plane(*groups, [array[n] for array in stored]))
            except (AttributeError, ValueError, TypeError):
                planes.append(None)  # in no volume, then, or as in the undamaged file
        return planes


def _group(frame: Dataset, shared: Dataset, name: str) -> Dataset:
    for source in (frame, shared):
        items = source.get(f"{name}Sequence")
        if items:
            return items[0]
    return Dataset()


def _plane(
    where: Dataset, turned: Dataset, measures: Dataset, scale: Dataset, stored: list[np.ndarray]
) -> Plane:
    cosines = np.array(turned.ImageOrientationPatient, dtype=np.float64)
    slope, intercept = scale.get("RescaleSlope"), scale.get("RescaleIntercept")
    if len(where.ImagePositionPatient) != 3 or len(cosines) != 6 or len(measures.PixelSpacing) != 2:
        raise ValueError("another number of values")
    return Plane(
        np.array(where.ImagePositionPatient, dtype=np.float64),
        cosines[:3],
        cosines[3:],
        (float(measures.PixelSpacing[0]), float(measures.PixelSpacing[1])),
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        stored,
    )


def _complete(ds: Dataset) -> Dataset:
    """With what pydicom does not read pixels without, though the rest of the file decides it.

    The encoding as pydicom found it; one sample and MONOCHROME2, which change no number of a file
    whose pixels have exactly the length of one sample.
    """
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if not syntax:
        implicit, little = ds.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        syntax = syntax if little else ExplicitVRBigEndian
    ds.file_meta.TransferSyntaxUID = UID(str(syntax).strip("\0 "))
    if not ds.get("SamplesPerPixel"):
        ds.SamplesPerPixel = 1
    if not ds.get("PhotometricInterpretation"):
        ds.PhotometricInterpretation = "MONOCHROME2"
    return ds


def _sop_class(ds: Dataset) -> str:
    stated = ds.get("SOPClassUID") or ds.file_meta.get("MediaStorageSOPClassUID")
    return str(stated).strip("\0 ")


def _stored(ds: Dataset) -> list[np.ndarray]:
    """(frames, rows, columns) by every decoder that reads them, the stored bits alone."""
    native = not ds.file_meta.TransferSyntaxUID.is_encapsulated
    found: list[np.ndarray] = []
    problem: Exception | None = None
    for plugin in ("",) if native else _PLUGINS:
        try:
            array = pixel_array(ds, decoding_plugin=plugin, raw=True)
        except Exception as error:
            problem = error
            continue
        found.append(_significant(ds, _native(ds) if native else array))
    if not found:
        raise problem or ValueError("no decoder")
    return found


def _native(ds: Dataset) -> np.ndarray:
    """All bits of uncompressed pixels; pydicom cuts them as though HighBit were BitsStored - 1."""
    size = int(ds.BitsAllocated) // 8
    big = ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    count = int(ds.get("NumberOfFrames") or 1) * int(ds.Rows) * int(ds.Columns)
    values = np.frombuffer(ds.PixelData, f"{'>' if big else '<'}u{size}", count)
    return values.reshape(-1, int(ds.Rows), int(ds.Columns))


def _significant(ds: Dataset, array: np.ndarray) -> np.ndarray:
    array = array if array.ndim == 3 else array[None]
    stored = int(ds.BitsStored)
    try:
        low = int(ds.HighBit) - stored + 1
    except (AttributeError, TypeError, ValueError):  # absent or unreadable: HighBit is implied
        low = 0
    whole = array.astype(np.int64) & ((1 << 8 * array.dtype.itemsize) - 1)
    whole = (whole >> low) & ((1 << stored) - 1)
    if ds.PixelRepresentation == 1:
        half = 1 << (stored - 1)
        whole = (whole ^ half) - half
    return whole


def compare_dicom(scan: Scan) -> None:
    """Raise where a volume is not what pydicom reads from its files.

    Raises:
        Disagrees: in values, in place, or in the number of slices.
        PlaceUnknown: the place of a mosaic is to be held against that of the undamaged one.
        Exception: pydicom refuses a file.
    """
    values = scan.rescale.apply(scan.stored)
    depth, rows, columns = values.shape
    per_file = [planes_of(path) for path in scan.source.files]
    if depth == 1:
        raise Disagrees("one slice alone")
    if all(len(planes) == 1 for planes in per_file) and len(per_file) == depth:
        planes = [planes[0] for planes in per_file]
    elif len(per_file) == 1 and len(per_file[0]) == 1:
        _compare_mosaic(scan, values, per_file[0][0])
        return
    else:
        planes = _planes_by_place(scan, [p for planes in per_file for p in planes])
    for k, plane in enumerate(planes):
        _compare_place(scan, k, plane, rows, columns)
        if not any(np.array_equal(values[k], _scaled(plane, s)) for s in plane.stored):
            raise Disagrees(f"values of slice {k + 1} of {depth}")
    if len({tuple(np.round(p.position, 2)) for p in planes}) != depth:
        raise Disagrees("two slices at one position")


def _scaled(plane: Plane, stored: np.ndarray) -> np.ndarray:
    return (stored.astype(np.float64) * plane.slope + plane.intercept).astype(np.float32)


def _compare_place(scan: Scan, k: int, plane: Plane, rows: int, columns: int) -> None:
    if plane.stored[0].shape != (rows, columns):
        raise Disagrees(f"size of slice {k + 1}")
    for i, j in ((0, 0), (rows - 1, 0), (0, columns - 1), (rows - 1, columns - 1)):
        off = np.linalg.norm((scan.affine @ [k, i, j, 1])[:3] - plane.at(i, j))
        limit = _WORLD_MM * (1 if (i, j) == (0, 0) else 1.5)
        if not off <= limit:
            raise Disagrees(f"slice {k + 1} is {off:.3f} mm off its place")


def _planes_by_place(scan: Scan, planes: list[Plane | None]) -> list[Any]:
    """Of all frames of enhanced files, the one of each slice: at its place, with its values."""
    values = scan.rescale.apply(scan.stored)
    hidden = sum(plane is None for plane in planes)
    planes = [plane for plane in planes if plane is not None]
    chosen = []
    for k, image in enumerate(values):
        place = (scan.affine @ [k, 0, 0, 1])[:3]
        near = [p for p in planes if np.linalg.norm(p.at(0, 0) - place) <= _WORLD_MM]
        same = [p for p in near if any(np.array_equal(image, _scaled(p, s)) for s in p.stored)]
        if not same and hidden:
            raise ValueError(f"{hidden} frames cannot be placed")
        if not same:
            raise Disagrees(f"no frame is slice {k + 1}: {len(near)} lie there")
        chosen.append(same[0])
    return chosen


def _compare_mosaic(scan: Scan, values: np.ndarray, matrix: Plane) -> None:
    """Tiles by their order in the matrix; places by nibabel's reading of the CSA header."""
    from nibabel.nicom.dicomwrappers import wrapper_from_data

    depth, rows, columns = values.shape
    across = matrix.stored[0].shape[1] // columns
    for k in range(depth):
        top, left = k // across * rows, k % across * columns
        tiles = [_scaled(matrix, s[top : top + rows, left : left + columns]) for s in matrix.stored]
        if not any(np.array_equal(values[k], tile) for tile in tiles):
            raise Disagrees(f"values of tile {k + 1}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapped = wrapper_from_data(pydicom.dcmread(scan.source.files[0], force=True))
            affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ wrapped.affine  # LPS to RAS
            tiles_by_nibabel = wrapped.image_shape[2], *wrapped.image_shape[:2]
    except Exception as error:
        raise PlaceUnknown(type(error).__name__) from error
    if (depth, rows, columns) != tiles_by_nibabel:
        raise PlaceUnknown("other tiles by nibabel")
    for k, i, j in ((0, 0, 0), (depth - 1, 0, 0), (0, rows, 0), (depth - 1, rows, columns)):
        off = np.linalg.norm((scan.affine @ [k, i, j, 1] - affine @ [i, j, k, 1])[:3])
        if not off <= 1.5 * _WORLD_MM:  # nibabel believes SpacingBetweenSlices, medssl the protocol
            raise PlaceUnknown(f"tile {k + 1} is {off:.3f} mm off its place by nibabel")


def compare_nifti(judged: list[Judged], path: Path) -> None:
    """Raise where taken volumes are not what nibabel reads from the same file.

    Raises:
        Disagrees: in values or affine.
        Exception: nibabel refuses the file.
    """
    scans = [j for j in judged if isinstance(j, Scan)]
    if not scans:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image: Any = nib.load(path)
        stored = np.asarray(image.dataobj.get_unscaled())
    proxy = image.dataobj
    shape = list(stored.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    stored = stored.reshape(shape if len(shape) == 4 else (*shape, 1))
    if len(judged) != stored.shape[3]:
        raise Disagrees(f"{len(judged)} volumes of {stored.shape[3]}")
    for t, scan in enumerate(judged):
        if isinstance(scan, Scan):
            _compare_volume(scan, stored[..., t], float(proxy.slope), float(proxy.inter))
            _compare_affine(scan, image)


def _compare_volume(scan: Scan, stored: np.ndarray, slope: float, intercept: float) -> None:
    with np.errstate(all="ignore"):
        expected = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    finite = np.isfinite(expected)
    if not finite.all():
        if Reason.NAN_MASKED not in scan.corrections:
            raise Disagrees("not finite, and not told")
        expected[~finite] = expected[finite].min()
    found = scan.rescale.apply(scan.stored)
    if found.shape != expected.shape or not np.array_equal(found, expected):
        raise Disagrees("values")


def _compare_affine(scan: Scan, image: Any) -> None:
    expected = np.array(image.affine, dtype=np.float64)
    if Reason.SPATIAL_UNIT_CONVERTED in scan.corrections:
        expected[:3] *= {1: 1000.0, 3: 0.001}[int(image.header["xyzt_units"]) & 7]
    if not np.allclose(scan.affine, expected, rtol=1e-6, atol=1e-6):
        raise Disagrees("affine")
