"""SEG made by highdicom, placed on the grid of the series that it was drawn on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.archive.dicom.segmentation import Place, Segment, read_segmentation
from medssl.archive.dicom.structures import Grid, LabelFault
from medssl.archive.reasons import Reason
from medssl.archive.scan import Scan

Write = Callable[..., Path]


@pytest.fixture
def series(make_series: Callable[..., Any]) -> Any:
    """Eight slices of 12 x 10; `images` run against the order of the volume's slices."""
    return make_series()


@pytest.fixture
def grid(series: Any) -> Grid:
    (scan,) = series.judge()
    assert isinstance(scan, Scan)
    return Grid(scan.affine, (8, 12, 10))


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    liver = rng.random((8, 12, 10)) < 0.3
    tumour = liver & (rng.random((8, 12, 10)) < 0.3)
    tumour[2] = False
    return {"Liver": liver, "Tumour": tumour, "Nothing": np.zeros_like(liver)}


def drawn(one: Segment, grid: Grid) -> np.ndarray:
    found, corrections = one.draw(grid)
    assert corrections == ()
    return found


def refused(one: Segment, grid: Grid) -> Reason:
    with pytest.raises(LabelFault) as caught:
        one.draw(grid)
    return caught.value.reason


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("omit", [False, True])
def test_overlapping_and_empty_segments_lie_where_they_were_drawn(
    tmp_path: Path,
    series: Any,
    grid: Grid,
    masks: Any,
    write_segmentation: Write,
    backwards: bool,
    omit: bool,
) -> None:
    images, drawings = series.slices, masks
    if backwards:
        images = images[::-1]
        drawings = {name: mask[::-1] for name, mask in masks.items()}
    path = write_segmentation(tmp_path / "seg", images, drawings, omit_empty_frames=omit)
    segments = read_segmentation(path)
    assert [s.name for s in segments] == list(masks)
    for segment in segments:
        np.testing.assert_array_equal(drawn(segment, grid), masks[segment.name])
    assert segments[0].frame_of_reference == series.slices[0].FrameOfReferenceUID
    assert segments[0].instances == {ds.SOPInstanceUID for ds in series.slices}


def test_a_label_map_gives_each_of_its_segments(
    tmp_path: Path, series: Any, grid: Grid, masks: Any, write_segmentation: Write
) -> None:
    apart = {"Liver": masks["Liver"] & ~masks["Tumour"], "Tumour": masks["Tumour"]}
    path = write_segmentation(tmp_path / "seg", series.slices, apart, "LABELMAP")
    for segment in read_segmentation(path):
        np.testing.assert_array_equal(drawn(segment, grid), apart[segment.name])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"])
def test_compressed_label_maps_are_read(
    tmp_path: Path, series: Any, grid: Grid, masks: Any, write_segmentation: Write, syntax: str
) -> None:
    path = write_segmentation(
        tmp_path / "seg",
        series.slices,
        {"Liver": masks["Liver"]},
        "LABELMAP",
        transfer_syntax_uid=syntax,
    )
    (segment,) = read_segmentation(path)
    np.testing.assert_array_equal(drawn(segment, grid), masks["Liver"])


def test_fractions_are_cut_at_one_half_and_say_so(
    tmp_path: Path, series: Any, grid: Grid, masks: Any, write_segmentation: Write
) -> None:
    parts = np.random.default_rng(0).random((8, 12, 10))
    fractions = {"Liver": parts, "Whole": masks["Liver"].astype(float)}
    path = write_segmentation(tmp_path / "seg", series.slices, fractions, "FRACTIONAL")
    liver, whole = read_segmentation(path)
    found, corrections = liver.draw(grid)
    assert corrections == (Reason.LABEL_THRESHOLDED,)
    np.testing.assert_array_equal(found, np.round(parts * 255) / 255 >= 0.5)
    np.testing.assert_array_equal(drawn(whole, grid), masks["Liver"])

    def lower(seg: Any) -> None:
        seg.MaximumFractionalValue = 200

    path = write_segmentation(
        tmp_path / "low", series.slices, fractions, "FRACTIONAL", change=lower
    )
    assert refused(read_segmentation(path)[0], grid) is Reason.PIXEL_FORMAT_INVALID


def _shift(z_mm: float, y_mm: float = 0.0) -> Callable[[Any], None]:
    def change(seg: Any) -> None:
        for item in seg.PerFrameFunctionalGroupsSequence:
            x, y, z = item.PlanePositionSequence[0].ImagePositionPatient
            item.PlanePositionSequence[0].ImagePositionPatient = [x, y + y_mm, z + z_mm]

    return change


def test_frames_that_lie_elsewhere_are_placed_by_their_position(
    tmp_path: Path, series: Any, grid: Grid, write_segmentation: Write
) -> None:
    mask = np.zeros((8, 12, 10), dtype=bool)
    mask[2:4, 3:6, 3:6] = True
    path = write_segmentation(
        tmp_path / "seg", series.slices, {"a": mask}, change=_shift(4.0, -1.5)
    )
    (segment,) = read_segmentation(path)
    np.testing.assert_array_equal(drawn(segment, grid), np.roll(mask, (2, -1), axis=(0, 1)))


def test_frames_that_are_flipped_and_turned_are_placed_by_their_orientation(
    tmp_path: Path, series: Any, grid: Grid, masks: Any, write_segmentation: Write
) -> None:
    def flip(seg: Any) -> None:
        for item in seg.PerFrameFunctionalGroupsSequence:
            z = item.PlanePositionSequence[0].ImagePositionPatient[2]
            item.PlanePositionSequence[0].ImagePositionPatient = [-20 + 9, -30 + 1.5 * 11, z]
        shared = seg.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]

    turned = {name: mask[:, ::-1, ::-1] for name, mask in masks.items()}
    path = write_segmentation(tmp_path / "seg", series.slices, turned, change=flip)
    for segment in read_segmentation(path):
        np.testing.assert_array_equal(drawn(segment, grid), masks[segment.name])

    def stand(seg: Any) -> None:  # each frame along a row of the volume
        seg.Rows, seg.Columns = 8, 10
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing = [2.0, 1.0]
        shared = seg.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, 1]
        for row, item in enumerate(seg.PerFrameFunctionalGroupsSequence):
            item.PlanePositionSequence[0].ImagePositionPatient = [-20, -30 + 1.5 * row, 100]
        standing = masks["Liver"][:, :8].transpose(1, 0, 2)
        seg.PixelData = np.packbits(standing.ravel(), bitorder="little").tobytes()

    path = write_segmentation(
        tmp_path / "standing", series.slices, {"a": np.ones((8, 12, 10), bool)}, change=stand
    )
    expected = masks["Liver"].copy()
    expected[:, 8:] = False
    np.testing.assert_array_equal(drawn(read_segmentation(path)[0], grid), expected)


def test_frames_outside_the_volume_are_refused(
    tmp_path: Path, series: Any, grid: Grid, masks: Any, write_segmentation: Write
) -> None:
    path = write_segmentation(tmp_path / "seg", series.slices, masks, change=_shift(6.0))
    assert refused(read_segmentation(path)[0], grid) is Reason.LABEL_GRID_MISMATCH


def test_a_grid_between_the_slices_is_resampled_and_says_so(
    tmp_path: Path, series: Any, grid: Grid, write_segmentation: Write
) -> None:
    mask = np.zeros((8, 12, 10), dtype=bool)
    mask[2:5, 3:6, 3:6] = True
    path = write_segmentation(tmp_path / "seg", series.slices, {"a": mask}, change=_shift(0.6))
    found, corrections = read_segmentation(path)[0].draw(grid)
    assert corrections == (Reason.LABEL_RESAMPLED,)
    np.testing.assert_array_equal(found, mask)


def test_thick_frames_fill_the_slices_between_them(
    tmp_path: Path, series: Any, grid: Grid, write_segmentation: Write
) -> None:
    mask = np.zeros((8, 12, 10), dtype=bool)
    mask[2:8:2, 3:6, 3:6] = True

    def thicken(seg: Any) -> None:
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SpacingBetweenSlices = 4.0

    thick = write_segmentation(tmp_path / "thick", series.slices, {"a": mask}, change=thicken)
    found, corrections = read_segmentation(thick)[0].draw(grid)
    assert corrections == (Reason.LABEL_RESAMPLED,)
    assert found[2:7, 4, 4].all()
    sparse = write_segmentation(tmp_path / "sparse", series.slices, {"a": mask})
    np.testing.assert_array_equal(drawn(read_segmentation(sparse)[0], grid), mask)


@pytest.mark.parametrize("tilt", [0.0, 0.4])
def test_oblique_and_sheared_series_are_placed_frame_by_frame(
    tmp_path: Path, series: Any, masks: Any, write_segmentation: Write, tilt: float
) -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    for i, ds in enumerate(series.slices):
        ds.ImageOrientationPatient = [f"{x:.12f}"[:16] for x in (*axes[:, 0], *axes[:, 1])]
        step = 2.0 * axes[:, 2] + tilt * axes[:, 1]
        ds.ImagePositionPatient = [f"{x:.12f}"[:16] for x in i * step]
    (scan,) = series.judge()
    assert isinstance(scan, Scan)
    path = write_segmentation(tmp_path / "seg", series.slices, masks)
    for segment in read_segmentation(path):
        here = Grid(scan.affine, (8, 12, 10))
        np.testing.assert_array_equal(drawn(segment, here), masks[segment.name])


@pytest.mark.parametrize("lost", [2, 200])
def test_pixels_that_break_off_are_never_filled_up(
    tmp_path: Path, series: Any, masks: Any, write_segmentation: Write, lost: int
) -> None:
    path = write_segmentation(tmp_path / "seg", series.slices, masks)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(LabelFault):
        read_segmentation(path)


def test_an_object_that_breaks_the_standard_is_refused(
    tmp_path: Path, series: Any, masks: Any, write_segmentation: Write
) -> None:
    def break_it(seg: Any) -> None:
        seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[
            0
        ].ReferencedSegmentNumber = 77

    path = write_segmentation(tmp_path / "seg", series.slices, masks, change=break_it)
    with pytest.raises(LabelFault) as caught:
        read_segmentation(path)
    assert caught.value.reason is Reason.DICOM_HEADER_DAMAGED


@pytest.mark.parametrize("seed", range(40))
def test_a_frame_lies_where_each_of_its_pixels_lies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, column = rng.permutation(3)[:2]
    steps = np.zeros((2, 3), dtype=np.int64)
    steps[0, row], steps[1, column] = rng.choice([-1, 1], 2)
    first = rng.integers(-3, 9, 3)
    pixels = rng.random((5, 6)) < 0.5
    expected, inside = np.zeros((7, 6, 5), dtype=bool), 0
    for r, c in np.argwhere(pixels):
        at = first + r * steps[0] + c * steps[1]
        if (at >= 0).all() and (at < expected.shape).all():
            expected[tuple(at)] = True
            inside += 1
    found = np.zeros_like(expected)
    assert Place(first, steps).draw(pixels, found) == inside
    np.testing.assert_array_equal(found, expected)
