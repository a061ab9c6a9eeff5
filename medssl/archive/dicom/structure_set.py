"""RTSTRUCT: contours of each ROI, and what they enclose on a volume's grid (PS3.3 C.8.8.6).

A voxel belongs to an ROI where its centre lies inside an odd number of the ROI's contours on its
slice. So a hole is a hole, whether it was drawn as a contour of its own or through a keyhole, whose
two banks cancel out. A centre that lies on a contour belongs to it on the side of the first row and
column alone, so that two ROIs that share a border never share a voxel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from medssl.archive.dicom import elements
from medssl.archive.dicom.label_reference import contour_instances
from medssl.archive.dicom.structures import Drawn, Grid, LabelFault, Points, to_index
from medssl.archive.reasons import Reason
from medssl.volume import spacing_of

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_PLANAR_SLICES = 0.1  # how far points may lie out of the plane of their contour
_PLANAR_MM = 0.05  # what two decimals of a coordinate can make, where slices are thin
_ONE_PLANE_SLICES = 0.2  # contours that are further apart are drawn on two planes
_HALF_SLICE = 0.5 + 1e-4
_FAR_VOXELS = 1e6
_DECIMALS = 6  # of a voxel: finer differences are of the arithmetic, not of the contour
_TAGS: list[BaseTag] = [
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet",
        "FrameOfReferenceUID",
        "ReferencedFrameOfReferenceSequence",
        "StructureSetROISequence",
        "ROIContourSequence",
    )
]
_CONTOUR_DATA = Tag("ContourData")


@dataclass(frozen=True)
class Contour:
    """Corners of one polygon, (N, 3) LPS mm, None where they are no list of numbers.

    `kind` is its ContourGeometricType.
    """

    points: Points | None
    kind: str


@dataclass(frozen=True)
class Roi:
    """One ROI of a structure set, with all its contours."""

    name: str
    frame_of_reference: str
    instances: frozenset[str]
    contours: tuple[Contour, ...]

    def draw(self, grid: Grid) -> tuple[Drawn, tuple[Reason, ...]]:
        """The voxels whose centres the contours enclose, (D, H, W).

        Raises:
            LabelFault: LABEL_CONTOUR_INVALID, LABEL_OFF_SLICE, or LABEL_GRID_MISMATCH where no
                voxel of the volume is enclosed.
        """
        if not grid.true_slices:
            raise LabelFault(Reason.LABEL_OFF_SLICE, "the volume was resampled")
        drawn = np.zeros(grid.shape, dtype=np.bool_)
        for at, polygons in self._by_slice(grid).items():
            drawn[at] = enclosed(polygons, grid.shape[1:])
        if not drawn.any():
            raise LabelFault(Reason.LABEL_GRID_MISMATCH, "no voxel enclosed")
        return drawn, ()

    def _by_slice(self, grid: Grid) -> dict[int, list[Points]]:
        """(row, column) of the polygons of each slice."""
        spacing = float(spacing_of(grid.affine)[0])
        flat = max(_PLANAR_SLICES, _PLANAR_MM / spacing)
        slices: dict[int, list[Points]] = defaultdict(list)
        planes: dict[int, list[float]] = defaultdict(list)
        for number, contour in enumerate(self.contours, 1):
            index = to_index(grid.affine, _checked(contour, number))
            if np.abs(index).max() > _FAR_VOXELS:
                raise LabelFault(Reason.LABEL_CONTOUR_INVALID, f"contour {number}: far away")
            plane = float(np.median(index[:, 0]))
            if np.abs(index[:, 0] - plane).max() > flat:
                raise LabelFault(Reason.LABEL_CONTOUR_INVALID, f"contour {number}: not planar")
            at = int(np.clip(np.rint(plane), 0, grid.shape[0] - 1))
            if abs(plane - at) > _HALF_SLICE:
                off = abs(plane - at)
                raise LabelFault(
                    Reason.LABEL_OFF_SLICE, f"contour {number}: {off:.2f} slices outside"
                )
            slices[at].append(index[:, 1:])
            planes[at].append(plane)
        shared = [at for at, found in planes.items() if max(found) - min(found) > _ONE_PLANE_SLICES]
        if shared:
            raise LabelFault(
                Reason.LABEL_OFF_SLICE, f"{len(shared)} slices with contours of two planes"
            )
        return slices


def read_structure_set(path: Path) -> list[Roi]:
    """The ROIs of an RTSTRUCT that were drawn, in the order of the file.

    An ROI without contours was planned and not drawn: it is left out. What is wrong with a contour
    is told when its ROI is drawn.

    Raises:
        LabelFault: DICOM_HEADER_DAMAGED.
    """
    try:
        with disable_value_validation():
            ds = pydicom.dcmread(path, force=True, specific_tags=_TAGS)
            return list(_rois(ds))
    except (MemoryError, OSError):
        raise
    except Exception as error:  # pydicom raises many kinds for bytes that are no data set
        raise LabelFault(Reason.DICOM_HEADER_DAMAGED, type(error).__name__) from error


def enclosed(polygons: Sequence[Points], shape: tuple[int, int]) -> Drawn:
    """Even-odd rule at voxel centres over all polygons of a slice, by crossings along each row.

    Args:
        polygons: (N, 2) (row, column) of corners, whole numbers at voxel centres; the last corner
            is joined to the first.

    Returns:
        (rows, columns), True inside.
    """
    rows, columns = shape
    corners = [np.round(p, _DECIMALS) for p in polygons]
    starts = np.concatenate(corners)
    ends = np.concatenate([np.roll(p, -1, axis=0) for p in corners])
    upward = (starts[:, 0] > ends[:, 0])[:, None]
    # Every edge runs down the rows, so that the two banks of a keyhole give the same numbers.
    upper, lower = np.where(upward, ends, starts), np.where(upward, starts, ends)
    first = np.clip(np.ceil(upper[:, 0]), 0, rows).astype(np.int64)
    stop = np.clip(np.ceil(lower[:, 0]), 0, rows).astype(np.int64)
    count = stop - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - first, count)
    slope = np.divide(
        lower[:, 1] - upper[:, 1],
        lower[:, 0] - upper[:, 0],
        out=np.zeros(len(upper)),
        where=lower[:, 0] > upper[:, 0],
    )
    crossing = np.round(upper[edge, 1] + (row - upper[edge, 0]) * slope[edge], _DECIMALS)
    column = np.clip(np.ceil(crossing), 0, columns).astype(np.int64)
    out = np.zeros(shape, dtype=np.bool_)
    if len(row):
        top, bottom = int(row.min()), int(row.max()) + 1
        left, right = int(column.min()), int(column.max())
        size = (bottom - top, right - left + 1)
        at = (row - top) * size[1] + column - left
        crossings = np.bincount(at, minlength=size[0] * size[1]).reshape(size).astype(np.uint8)
        passed = np.cumsum(crossings, axis=1, dtype=np.uint8)  # overflows by an even number
        out[top:bottom, left:right] = (passed[:, :-1] & 1).view(np.bool_)
    return out


def _rois(ds: Dataset) -> Iterator[Roi]:
    frames = [
        elements.text(item, "FrameOfReferenceUID")
        for item in elements.items(ds, "ReferencedFrameOfReferenceSequence")
    ]
    common = frames[0] if len(set(frames)) == 1 else elements.text(ds, "FrameOfReferenceUID")
    drawn: dict[str, list[Dataset]] = defaultdict(list)
    for item in elements.items(ds, "ROIContourSequence"):
        drawn[elements.text(item, "ReferencedROINumber")] += elements.items(item, "ContourSequence")
    for item in elements.items(ds, "StructureSetROISequence"):
        contours = drawn.get(elements.text(item, "ROINumber"))
        if contours:
            yield Roi(
                name=elements.text(item, "ROIName"),
                frame_of_reference=elements.text(item, "ReferencedFrameOfReferenceUID") or common,
                instances=frozenset(i for c in contours for i in contour_instances(c)) - {""},
                contours=tuple(_contour(c) for c in contours),
            )


def _contour(item: Dataset) -> Contour:
    stated = elements.integer(item, "NumberOfContourPoints")
    values = _contour_data(item)
    points = None
    if values is not None and len(values) % 3 == 0 and stated in (None, len(values) // 3):
        points = values.reshape(-1, 3)
    return Contour(points, elements.text(item, "ContourGeometricType").upper())


def _contour_data(item: Dataset) -> Points | None:
    """The numbers of ContourData, parsed at once: pydicom would make an object of each."""
    try:
        element: Any = item.get_item(_CONTOUR_DATA)
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
            text = element.value.rstrip(b" \0")
            return np.array(text.split(b"\\") if text else [], dtype=np.bytes_).astype(np.float64)
        return np.array(element.value if element else [], dtype=np.float64)
    except (TypeError, ValueError, AttributeError):
        return None


def _checked(contour: Contour, number: int) -> Points:
    """The points of a contour that is closed, finite and has an area."""
    what = f"contour {number}"
    if contour.kind not in _CLOSED:
        known = contour.kind in ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
        kind = contour.kind if known else "kind unknown"
        raise LabelFault(Reason.LABEL_CONTOUR_INVALID, f"{what}: {kind}")
    if contour.points is None or not np.isfinite(contour.points).all():
        raise LabelFault(Reason.LABEL_CONTOUR_INVALID, f"{what}: coordinates")
    if len(contour.points) < 3:
        raise LabelFault(
            Reason.LABEL_CONTOUR_INVALID, f"{what}: {len(contour.points)} points, not 3"
        )
    return contour.points
