"""DICOM SEG: the voxels of each segment, placed on a volume's grid.

highdicom reads the object and its frames. A frame whose pixels fall on voxels of the grid, in any
order, flipped or turned, is placed exactly: that is what highdicom's `match_geometry` does with a
tolerance of 0.01, done frame by frame, so that sheared stacks and single frames are placed too. A
segmentation on another grid is taken to the volume's by the nearest voxel (LABEL_RESAMPLED).

A FRACTIONAL segmentation is cut at one half, and says so (LABEL_THRESHOLDED): half occupied is what
"the centre lies inside" means for a border, and half probable is the likelier of the two classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydicom.config import disable_value_validation
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from medssl.archive.dicom import elements
from medssl.archive.dicom.frames import Frame, enhanced_frames
from medssl.archive.dicom.label_reference import source_instances
from medssl.archive.dicom.structures import Drawn, Grid, LabelFault, to_index, to_ras
from medssl.archive.labels import INSIDE_SHARE, Mask, fit_mask
from medssl.archive.nifti import NiftiFault
from medssl.archive.reasons import Reason
from medssl.errors import CodecError
from medssl.volume import spacing_of

if TYPE_CHECKING:
    from highdicom.seg import Segmentation

_SAME_GRID_VOXELS = 0.1
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")
_Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        frames: those that may hold it, with their places.
        kind: BINARY, FRACTIONAL or LABELMAP.
        whole: the number that stands for a voxel that is filled, where fractional.
        is_coarse: whether the frames are thicker than the slices of a grid.
    """

    name: str
    frame_of_reference: str
    instances: frozenset[str]
    number: int
    frames: tuple[Frame, ...]
    source: Segmentation
    kind: str
    whole: int
    is_coarse: Callable[[Grid], bool]

    def draw(self, grid: Grid) -> tuple[Drawn, tuple[Reason, ...]]:
        """The voxels of the segment, (D, H, W); none for a segment that is empty.

        Raises:
            LabelFault: LABEL_GRID_MISMATCH, PIXEL_DATA_DAMAGED, PIXEL_FORMAT_INVALID.
        """
        if self.frames and self.is_coarse(grid):
            return self._resampled(grid)
        drawn = np.zeros(grid.shape, dtype=np.bool_)
        inside = marked = 0
        cut = False
        for frame in self.frames:
            pixels, of_fractions = self._pixels(frame.index)
            if not pixels.any():
                continue
            cut |= of_fractions
            place = _place(frame, grid, pixels.shape)
            if place is None:
                return self._resampled(grid)
            inside += place.draw(pixels, drawn)
            marked += int(pixels.sum())
        if inside < INSIDE_SHARE * marked:
            raise LabelFault(Reason.LABEL_GRID_MISMATCH, f"{inside / marked:.3f} inside the image")
        return drawn, (Reason.LABEL_THRESHOLDED,) if cut else ()

    def _pixels(self, index: int) -> tuple[Drawn, bool]:
        """Where a frame holds this segment, and whether fractions had to be cut for it."""
        try:
            stored = self.source.get_stored_frame(index, as_index=True)
        except MemoryError:
            raise
        except Exception as error:  # each decoder has its own errors for damaged pixels
            raise LabelFault(Reason.PIXEL_DATA_DAMAGED, type(error).__name__) from error
        if self.kind == "LABELMAP":
            return np.asarray(stored == self.number), False
        if self.kind == "FRACTIONAL":
            if (stored > self.whole).any():
                raise LabelFault(Reason.PIXEL_FORMAT_INVALID, "fractions above their maximum")
            parts = (stored > 0) & (stored < self.whole)
            return np.asarray(2 * stored.astype(np.int64) >= self.whole), bool(parts.any())
        return np.asarray(stored > 0), False

    def _resampled(self, grid: Grid) -> tuple[Drawn, tuple[Reason, ...]]:
        """By the nearest voxel, from the segmentation's own grid."""
        try:
            own = self.source.get_volume(segment_numbers=[self.number], rtol=0.01)
            affine = np.asarray(own.affine, dtype=np.float64)
            values = np.asarray(own.array)[..., 0]
        except MemoryError:
            raise
        except Exception as error:  # highdicom says by several kinds that there is no regular grid
            raise LabelFault(Reason.LABEL_GRID_MISMATCH, "no regular grid of its own") from error
        affine[:3] = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
        cut = bool(((values > 0) & (values < 1)).any())
        try:
            fitted, corrections = fit_mask(
                Mask((values >= 0.5).astype(np.uint8), affine), grid.affine, grid.shape
            )
        except NiftiFault as fault:
            raise LabelFault(fault.reason, fault.detail) from fault
        return fitted.classes > 0, (*corrections, *((Reason.LABEL_THRESHOLDED,) if cut else ()))


def read_segmentation(path: Path) -> list[Segment]:
    """The segments of a SEG, in the order of the file.

    Raises:
        LabelFault: DICOM_HEADER_DAMAGED, PIXEL_DATA_LENGTH, PIXEL_FORMAT_INVALID.
        CodecError: the decoder of its pixels is not installed.
    """
    try:
        with disable_value_validation():
            return _segments(path)
    except (LabelFault, CodecError, MemoryError, OSError):
        raise
    except Exception as error:  # highdicom raises many kinds for objects that break the standard
        raise LabelFault(Reason.DICOM_HEADER_DAMAGED, type(error).__name__) from error


def _segments(path: Path) -> list[Segment]:
    from highdicom.seg import segread

    source = segread(path)
    frames = enhanced_frames(source)
    _check_pixels(source, len(frames))
    names = _names(source)
    numbers: dict[int, list[int]] = defaultdict(list)
    instances: dict[int, set[str]] = defaultdict(set)
    for number, index, found in _held(source, names):
        numbers[number].append(index)
        instances[number] |= found
    return [
        Segment(
            name=name,
            frame_of_reference=elements.text(source, "FrameOfReferenceUID"),
            instances=frozenset(instances[number] - {""}),
            number=number,
            frames=tuple(frames[i] for i in numbers[number]),
            source=source,
            kind=str(source.SegmentationType),
            whole=int(source.get("MaximumFractionalValue", 1)),
            is_coarse=partial(_is_coarse, _stated_step(source), frames),
        )
        for number, name in names.items()
    ]


def _names(source: Segmentation) -> dict[int, str]:
    """Segment labels by number; background of a label map is no segment."""
    return {
        int(item.SegmentNumber): elements.text(item, "SegmentLabel")
        for item in source.SegmentSequence
        if int(item.SegmentNumber) > 0
    }


def _held(source: Segmentation, names: dict[int, str]) -> Iterator[tuple[int, int, set[str]]]:
    """(segment, frame, source instances); every frame of a label map may hold every segment."""
    shared = source.SharedFunctionalGroupsSequence[0]
    for index, item in enumerate(source.PerFrameFunctionalGroupsSequence):
        instances = {*source_instances(item)} or {*source_instances(shared)}
        if source.SegmentationType == "LABELMAP":
            found = list(names)
        else:
            which = elements.first_item(item, "SegmentIdentificationSequence")
            which = which or elements.first_item(shared, "SegmentIdentificationSequence")
            found = [int(which.ReferencedSegmentNumber)] if which is not None else []
        for number in found:
            if number not in names:
                raise ValueError("a frame of a segment that is not described")
            yield number, index, instances


def _check_pixels(source: Segmentation, described: int) -> None:
    frames, bits = int(source.NumberOfFrames), int(source.BitsAllocated)
    if frames != described or int(source.SamplesPerPixel) != 1:
        raise LabelFault(Reason.PIXEL_FORMAT_INVALID, f"{frames} frames, {described} described")
    syntax = str(source.file_meta.TransferSyntaxUID)
    if syntax in _NATIVE:
        expected = (frames * int(source.Rows) * int(source.Columns) * bits + 7) // 8
        if len(source.PixelData) < expected:
            raise LabelFault(
                Reason.PIXEL_DATA_LENGTH, f"{len(source.PixelData)} bytes of {expected}"
            )
    elif not get_decoder(UID(syntax)).is_available:
        raise CodecError(f"{UID(syntax).name}: its decoder is not installed; see medssl doctor")


def _stated_step(source: Segmentation) -> float | None:
    """SpacingBetweenSlices, mm."""
    shared = elements.first_item(source, "SharedFunctionalGroupsSequence")
    measures = elements.first_item(shared, "PixelMeasuresSequence")
    return elements.number(measures, "SpacingBetweenSlices") if measures is not None else None


def _is_coarse(stated: float | None, frames: tuple[Frame, ...], grid: Grid) -> bool:
    """Whether the frames are thicker than the slices of the grid, so that slices lie between them.

    Frames of empty slices are left out of most segmentations, so gaps alone do not tell: the stated
    step has to be a multiple of the grid's, and every frame has to lie on such a multiple.
    """
    placed = [f.position for f in frames if f.position]
    if stated is None or not placed or not frames[0].orientation:
        return False
    steps = spacing_of(grid.affine)
    normal = np.cross(frames[0].orientation[:3], frames[0].orientation[3:])
    normal_axis = int(np.abs(to_ras(grid.affine[:3, :3].T) @ normal / steps).argmax())
    times = stated / steps[normal_axis]
    if times < 1.5 or abs(times - np.rint(times)) > 0.01 * times:
        return False
    at = np.rint(to_index(grid.affine, np.array(placed))[:, normal_axis])
    return bool(((at - at[0]) % np.rint(times) == 0).all())


@dataclass(frozen=True)
class Place:
    """Where a frame lies in a grid: the voxel of its first pixel, and the step to the next row and
    to the next column, each along one axis of the grid."""

    first: _Index
    steps: _Index

    def draw(self, pixels: Drawn, drawn: Drawn) -> int:
        """Fill the voxels that are marked; how many of them lie in the grid."""
        axes = np.abs(self.steps).argmax(axis=1)
        fixed = 3 - int(axes.sum())
        if not 0 <= self.first[fixed] < drawn.shape[fixed]:
            return 0
        of_frame: list[slice] = []
        of_grid: list[Any] = [int(self.first[fixed])] * 3
        for axis, count, step in zip(axes, pixels.shape, self.steps, strict=True):
            start, size = int(self.first[axis]), drawn.shape[axis]
            if step[axis] > 0:
                low, high = max(0, -start), min(count, size - start)
                of_grid[axis] = slice(start + low, start + high)
            else:
                low, high = max(0, start - size + 1), min(count, start + 1)
                stop = start - high
                of_grid[axis] = slice(start - low, stop if stop >= 0 else None, -1)
            if low >= high:
                return 0
            of_frame.append(slice(low, high))
        view = drawn[tuple(of_grid)]
        cut = pixels[tuple(of_frame)]
        view |= cut if axes[0] < axes[1] else cut.T
        return int(cut.sum())


def _place(frame: Frame, grid: Grid, shape: tuple[int, ...]) -> Place | None:
    """Where the pixels of a frame coincide with voxels of the grid; None where they do not."""
    if not (frame.position and frame.orientation and frame.spacing):
        raise LabelFault(Reason.LABEL_GRID_MISMATCH, "a frame without a place")
    origin = np.array(frame.position)
    along_column = np.array(frame.orientation[3:]) * frame.spacing[0]
    along_row = np.array(frame.orientation[:3]) * frame.spacing[1]
    ends = np.stack([origin, origin + along_column, origin + along_row])
    start, down, across = to_index(grid.affine, ends)
    steps = np.stack([down - start, across - start])
    whole_start, whole_steps = np.rint(start), np.rint(steps)
    reach = np.abs(steps - whole_steps) * (np.array(shape)[:, None] - 1)
    off = np.abs(start - whole_start) + reach.sum(axis=0)
    if off.max() > _SAME_GRID_VOXELS or (np.abs(whole_steps).sum(axis=1) != 1).any():
        return None
    axes = np.abs(whole_steps).argmax(axis=1)
    if axes[0] == axes[1]:
        return None
    return Place(whole_start.astype(np.int64), whole_steps.astype(np.int64))
