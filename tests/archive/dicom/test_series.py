"""One clean series, damaged in the ways of an archive: each damage has its own end."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from medssl.archive.dicom import Unreadable, group_by_series, read_header, read_series
from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan
from medssl.volume import Volume

MakeSeries = Callable[..., Any]


def scan_of(judged: list[Judged]) -> Scan:
    assert [type(j).__name__ for j in judged] == ["Scan"], judged
    scan = judged[0]
    assert isinstance(scan, Scan)
    return scan


def reasons(judged: list[Judged]) -> list[Reason]:
    assert not [j for j in judged if isinstance(j, Scan)]
    return [j.reason for j in judged if isinstance(j, Rejection)]


def values_of(scan: Scan) -> np.ndarray:
    return scan.rescale.apply(scan.stored)


# --- what is read exactly ------------------------------------------------------------------------


def test_clean_series_is_exact(make_series: MakeSeries) -> None:
    series = make_series()
    scan = scan_of(series.judge())
    assert scan.corrections == ()
    assert (scan.modality, scan.units, scan.source_format) == ("CT", "HU", "DICOM")
    np.testing.assert_array_equal(scan.stored, series.voxels)
    assert scan.stored.dtype == np.int16
    np.testing.assert_array_equal(values_of(scan), series.voxels.astype(np.float32) - 24)
    expected = np.array(
        [[0, 0, -1, 20], [0, -1.5, 0, 30], [2, 0, 0, 100], [0, 0, 0, 1]], dtype=np.float64
    )
    np.testing.assert_allclose(scan.affine, expected, atol=1e-9)
    assert scan.source.patient == ("P1", "")
    assert len(scan.source.files) == len(scan.source.instances) == 8
    assert scan.source.part == ""


@pytest.mark.parametrize("numbers", [[7] * 8, [3, 1, 8, 2, 7, 5, 6, 4], [None] * 8])
def test_instance_number_never_orders_slices(make_series: MakeSeries, numbers: list[Any]) -> None:
    series = make_series()
    for ds, number in zip(series.slices, numbers, strict=True):
        ds.InstanceNumber = number
    np.testing.assert_array_equal(scan_of(series.judge()).stored, series.voxels)


X, Y = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])


@pytest.mark.parametrize(
    ("position", "row", "column"),
    [
        ("HFS", X, Y),
        ("HFP", -X, -Y),
        ("HFDR", Y, -X),
        ("HFDL", -Y, X),
        ("FFS", -X, Y),
        ("FFP", X, -Y),
        ("FFDR", -Y, -X),
        ("FFDL", Y, X),
    ],
)
def test_every_position_of_the_patient_lies_right_in_the_world(
    make_series: MakeSeries, position: str, row: np.ndarray, column: np.ndarray
) -> None:
    """The same tissue on the same square grid, however its rows and columns are turned."""
    plain, turned = make_series().set(PixelSpacing=[1.5, 1.5]), make_series()
    for ds, pixels in zip(plain.slices, plain.voxels, strict=True):
        ds.ImageOrientationPatient = [*X, *Y]
        places = np.stack(np.meshgrid(np.arange(12), np.arange(10), indexing="ij"), axis=-1)
        lps = np.array(ds.ImagePositionPatient, dtype=float) + 1.5 * (
            places[..., :1] * Y + places[..., 1:] * X
        )
        other = turned.slices[plain.slices.index(ds)]
        along = lps[..., :2] @ np.stack([column[:2], row[:2]], axis=1) / 1.5
        index = np.rint(along - along.min(axis=(0, 1))).astype(int)
        stored = np.zeros(index.max(axis=(0, 1)) + 1, np.int16)
        stored[index[..., 0], index[..., 1]] = pixels
        corner = lps[(index == 0).all(axis=-1)][0]
        other.Rows, other.Columns = stored.shape
        other.ImagePositionPatient = corner.tolist()
        other.ImageOrientationPatient = [*row, *column]
        other.PixelSpacing, other.PatientPosition = [1.5, 1.5], position
        other.PixelData = stored.tobytes()
    one, two = (scan_of(s.judge()) for s in (plain, turned))
    first = Volume(values_of(one), one.affine).to_ras()
    second = Volume(values_of(two), two.affine).to_ras()
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-9)
    np.testing.assert_array_equal(first.voxels, second.voxels)


def test_two_frames_of_reference_keep_each_its_own_place(make_series: MakeSeries) -> None:
    """Slices that would interleave into one stack are two, each where its own header says."""
    series = make_series()
    for i, ds in enumerate(series.slices):
        ds.FrameOfReferenceUID = "1.2.3" if i % 2 else "1.2.4"
    scans = [j for j in series.judge() if isinstance(j, Scan)]
    heights = sorted(float(scan.affine[2, 3]) for scan in scans)
    assert heights == [100.0, 102.0]
    assert all(scan.stored.shape == (4, 12, 10) for scan in scans)
    assert all(scan.affine[2, 0] == pytest.approx(4.0) for scan in scans)


def test_gantry_tilt_keeps_its_sheared_affine(make_series: MakeSeries) -> None:
    series = make_series()
    tilt = np.deg2rad(15)
    for ds in series.slices:
        ds.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(tilt)), float(-np.sin(tilt))]
        ds.GantryDetectorTilt = 15
    scan = scan_of(series.judge())
    assert scan.corrections == ()
    np.testing.assert_allclose(scan.affine[:3, 0], [0, 0, 2], atol=1e-9)
    corner = scan.affine @ [7, 11, 9, 1]
    expected = np.array([-20 + 9, -30 + 11 * 1.5 * np.cos(tilt), 114 - 11 * 1.5 * np.sin(tilt)])
    np.testing.assert_allclose(corner[:3], expected * [-1, -1, 1], atol=1e-6)


def test_rescale_of_each_slice_is_kept(make_series: MakeSeries) -> None:
    series = make_series("PT").set(Units="BQML", RescaleIntercept=0)
    for i, ds in enumerate(series.slices):
        ds.RescaleSlope = 0.1 + 0.01 * i
    scan = scan_of(series.judge())
    assert scan.units == "BQML"  # no dose, no SUV
    slope = np.array([float(ds.RescaleSlope) for ds in series.slices])
    np.testing.assert_array_equal(scan.rescale.slope, slope)
    expected = (series.voxels * slope[:, None, None]).astype(np.float32)
    np.testing.assert_array_equal(values_of(scan), expected)


def test_bits_above_high_bit_are_masked_and_the_sign_extended(make_series: MakeSeries) -> None:
    series = make_series().set(BitsStored=12, HighBit=11)
    for ds, pixels in zip(series.slices, series.voxels, strict=True):
        overlay = np.uint16(0xA000)
        ds.PixelData = ((pixels.view(np.uint16) & np.uint16(0x0FFF)) | overlay).tobytes()
    np.testing.assert_array_equal(scan_of(series.judge()).stored, series.voxels)


def test_unsigned_is_not_read_as_signed(make_series: MakeSeries) -> None:
    series = make_series().set(PixelRepresentation=0)
    scan = scan_of(series.judge())
    assert scan.stored.dtype == np.uint16
    np.testing.assert_array_equal(scan.stored, series.voxels.view(np.uint16))


def test_signed_and_unsigned_slices_share_a_type_that_holds_both(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices[2].PixelRepresentation = 0
    series.slices[2].PixelData = np.full((12, 10), 60000, np.uint16).tobytes()
    scan = scan_of(series.judge())
    assert scan.stored[2].min() == 60000
    np.testing.assert_array_equal(scan.stored[3], series.voxels[3])


def test_monochrome1_is_kept_as_stored_and_recorded(make_series: MakeSeries) -> None:
    series = make_series().set(PhotometricInterpretation="MONOCHROME1")
    scan = scan_of(series.judge())
    assert scan.corrections == ()
    assert scan.notes == (Reason.MONOCHROME1_KEPT,)
    np.testing.assert_array_equal(scan.stored, series.voxels)


def test_no_preamble_and_no_meta_header(make_series: MakeSeries) -> None:
    series = make_series()
    for path in series.write(ImplicitVRLittleEndian):
        content = path.read_bytes()
        start = content.index(b"\x08\x00\x08\x00", 132)  # ImageType, the first of the data set
        path.write_bytes(content[start:])
    np.testing.assert_array_equal(scan_of(series.judge()).stored, series.voxels)


def test_slice_thickness_is_never_spacing(make_series: MakeSeries) -> None:
    series = make_series().set(SliceThickness=9.0, SpacingBetweenSlices=9.0)
    np.testing.assert_allclose(scan_of(series.judge()).affine[:3, 0], [0, 0, 2])


def test_derived_alone_is_no_reason_to_refuse(make_series: MakeSeries) -> None:
    scan_of(make_series().set(ImageType=["DERIVED", "SECONDARY", "AXIAL"]).judge())


def test_ct_without_rescale_is_not_called_hounsfield(make_series: MakeSeries) -> None:
    series = make_series()
    for ds in series.slices:
        del ds.RescaleSlope, ds.RescaleIntercept
    assert scan_of(series.judge()).units == "arbitrary"


# --- what is corrected ---------------------------------------------------------------------------


def test_same_instance_twice_is_dropped_once(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices.append(copy.deepcopy(series.slices[3]))
    scan = scan_of(series.judge())
    assert scan.corrections == (Reason.DUPLICATE_DROPPED,)
    np.testing.assert_array_equal(scan.stored, series.voxels)


def test_same_position_with_the_same_pixels_is_dropped_once(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices.append(copy.deepcopy(series.slices[3]))
    series.slices[-1].SOPInstanceUID = generate_uid()
    series.slices[-1].InstanceNumber = 99
    series.slices[-1].AcquisitionNumber = 5
    scan = scan_of(series.judge())
    assert scan.corrections == (Reason.DUPLICATE_DROPPED,)
    np.testing.assert_array_equal(scan.stored, series.voxels)


def test_whole_series_sent_twice_under_new_instance_uids(make_series: MakeSeries) -> None:
    series = make_series()
    for ds in copy.deepcopy(series.slices):
        ds.SOPInstanceUID = generate_uid()
        series.slices.append(ds)
    scan = scan_of(series.judge())
    assert scan.corrections == (Reason.DUPLICATE_DROPPED,)
    np.testing.assert_array_equal(scan.stored, series.voxels)


def test_damaged_copy_of_an_instance_does_not_cost_the_series(make_series: MakeSeries) -> None:
    series = make_series()
    paths = series.write()
    (series.folder / "copy").write_bytes(paths[3].read_bytes()[:-50])
    judged = series.judge()
    scan = scan_of([j for j in judged if isinstance(j, Scan)])
    np.testing.assert_array_equal(scan.stored, series.voxels)
    assert [j.reason for j in judged if isinstance(j, Rejection)] == [Reason.PIXEL_DATA_LENGTH]


# --- what is quarantined -------------------------------------------------------------------------


def test_missing_slice_is_found_and_placed(make_series: MakeSeries) -> None:
    series = make_series()
    del series.slices[3]
    (rejection,) = series.judge()
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.MISSING_SLICE
    assert "between slices 3 and 4 of 7" in rejection.detail
    assert "gap of 4.000 mm" in rejection.detail
    assert len(rejection.source.files) == 7


def test_same_position_with_different_pixels(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices.append(copy.deepcopy(series.slices[3]))
    series.slices[-1].SOPInstanceUID = generate_uid()
    series.slices[-1].PixelData = series.slices[4].PixelData
    assert reasons(series.judge()) == [Reason.SAME_POSITION_DIFFERS]


def test_same_instance_with_different_pixels(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices.append(copy.deepcopy(series.slices[3]))
    series.slices[-1].PixelData = series.slices[4].PixelData
    (refused,) = series.judge()
    assert reasons([refused]) == [Reason.SAME_INSTANCE_DIFFERS]
    assert len(refused.source.files) == len(list(series.folder.iterdir()))


def test_spacing_that_changes(make_series: MakeSeries) -> None:
    series = make_series()
    for i, ds in enumerate(series.slices):
        ds.ImagePositionPatient = [-20, -30, 2.0 * i if i < 4 else 8 + 3.1 * (i - 4)]
    assert reasons(series.judge()) == [Reason.SPACING_IRREGULAR]


def test_one_slice_out_of_line(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices[3].ImagePositionPatient = [-15, -30, 106]
    assert reasons(series.judge()) == [Reason.SPACING_IRREGULAR]


@pytest.mark.parametrize("at", [0, 3, 7])
@pytest.mark.parametrize("bytes_left", [-50, -245, -2])
def test_truncated_file_is_a_missing_slice_even_at_the_end(
    make_series: MakeSeries, at: int, bytes_left: int
) -> None:
    series = make_series()
    path = series.write()[at]
    path.write_bytes(path.read_bytes()[:bytes_left])
    found = reasons(series.judge())
    assert sorted(found) in (
        sorted([Reason.MISSING_SLICE, Reason.PIXEL_DATA_LENGTH]),
        sorted([Reason.MISSING_SLICE, Reason.PIXEL_DATA_MISSING]),
    )


def test_file_cut_off_in_its_header_after_the_series_uid(make_series: MakeSeries) -> None:
    series = make_series()
    path = series.write()[7]
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x20\x00\x32\x00DS") + 12])
    assert sorted(reasons(series.judge())) == sorted(
        [Reason.MISSING_SLICE, Reason.PIXEL_DATA_MISSING]
    )


@pytest.mark.parametrize("at", [0, 4, 7])
@pytest.mark.parametrize("keyword", ["Rows", "PixelSpacing", "RescaleType", "Columns"])
def test_file_that_loses_the_end_of_its_header_is_missed_at_its_place(
    make_series: MakeSeries, at: int, keyword: str
) -> None:
    """It never becomes a part of its own, which would leave the others to pass for whole."""
    series = make_series().set(RescaleType="HU")
    tag = Tag(keyword)
    path = series.write()[at]
    content = path.read_bytes()
    start = content.index(struct.pack("<HH", tag.group, tag.elem))
    path.write_bytes(content[:start])
    assert sorted(reasons(series.judge())) == [Reason.MISSING_SLICE, Reason.PIXEL_DATA_MISSING]


def test_damaged_size_is_missed_by_both_volumes_of_other_sizes(make_series: MakeSeries) -> None:
    series, other = make_series(), make_series()
    for ds in other.slices:
        ds.SeriesInstanceUID = series.slices[0].SeriesInstanceUID
        ds.StudyInstanceUID = series.slices[0].StudyInstanceUID
        ds.Rows, ds.PixelData = 6, ds.PixelData[:120]
    series.slices[-1].Rows = 0
    series.slices += other.slices
    found = reasons(series.judge())
    assert sorted(found) == [*[Reason.MISSING_SLICE] * 2, Reason.PIXEL_FORMAT_INVALID]


def test_damaged_localizer_costs_no_slice(make_series: MakeSeries) -> None:
    series = make_series()
    scout = copy.deepcopy(series.slices[0])
    scout.SOPInstanceUID = generate_uid()
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    del scout.ImagePositionPatient
    scout.PixelData = scout.PixelData[:-20]
    scout.Rows = 0
    series.slices.append(scout)
    judged = series.judge()
    scan = scan_of([j for j in judged if isinstance(j, Scan)])
    np.testing.assert_array_equal(scan.stored, series.voxels)
    assert [j.reason for j in judged if isinstance(j, Rejection)] == [Reason.PIXEL_FORMAT_INVALID]


def test_file_cut_off_before_its_uids(make_series: MakeSeries) -> None:
    series = make_series()
    path = series.write()[0]
    path.write_bytes(path.read_bytes()[:360])
    with pytest.raises(Unreadable) as caught:
        read_header(path)
    assert caught.value.reason is Reason.DICOM_HEADER_DAMAGED


def test_longer_pixel_data_than_the_header_says(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices[2].PixelData += b"\1" * 10
    assert sorted(reasons(series.judge())) == sorted(
        [Reason.MISSING_SLICE, Reason.PIXEL_DATA_LENGTH]
    )


@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"II*\0" + b"x" * 300, b"\x08\0" * 300])
def test_what_is_no_dicom(make_series: MakeSeries, content: bytes) -> None:
    series = make_series()
    path = series.write()[0]
    path.write_bytes(content)
    with pytest.raises(Unreadable) as caught:
        read_header(path)
    assert caught.value.reason in (
        Reason.EMPTY_FILE,
        Reason.UNKNOWN_FORMAT,
        Reason.DICOM_HEADER_DAMAGED,
    )
    assert (caught.value.reason is Reason.EMPTY_FILE) == (content == b"")


def test_absurd_size_is_refused_by_the_header(make_series: MakeSeries) -> None:
    series = make_series().set(Rows=65535, Columns=65535)
    assert set(reasons(series.judge())) == {Reason.DICOM_TOO_LARGE, Reason.TOO_LARGE}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"PixelSpacing": None}, Reason.PIXEL_SPACING_MISSING),
        ({"PixelSpacing": [0, 0]}, Reason.PIXEL_SPACING_MISSING),
        ({"ImagePositionPatient": None}, Reason.POSITION_MISSING),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, Reason.ORIENTATION_INVALID),
        ({"RescaleSlope": 0}, Reason.RESCALE_INVALID),
        ({"RescaleSlope": None}, Reason.RESCALE_INVALID),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Reason.LOCALIZER),
        ({"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, Reason.PROJECTION),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, Reason.PROJECTION),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, Reason.REFORMAT),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, Reason.SCREEN_SAVE),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, Reason.SIEMENS_MOSAIC),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN_ANNOTATION),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOUR_IMAGE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.SECONDARY_CAPTURE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, Reason.SECONDARY_CAPTURE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6"}, Reason.OTHER_DICOM_OBJECT),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"}, Reason.RT_STRUCTURE_SET),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, Reason.RT_OBJECT),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, Reason.SEGMENTATION_OBJECT),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"}, Reason.STRUCTURED_REPORT),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.59"}, Reason.KEY_OBJECT),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, Reason.PRESENTATION_STATE),
    ],
)
def test_each_kind_of_refusal_has_its_code(
    make_series: MakeSeries, values: dict[str, Any], reason: Reason
) -> None:
    judged = make_series().set(**values).judge()
    assert set(reasons(judged)) == {reason}
    assert sum(len(j.source.files) for j in judged) == 8


def test_unparsable_rescale_is_not_taken_for_an_absent_one(make_series: MakeSeries) -> None:
    series = make_series()
    for path in series.write():
        content = path.read_bytes()
        for tag in (b"\x28\x00\x52\x10DS", b"\x28\x00\x53\x10DS"):
            at = content.index(tag)
            size = int.from_bytes(content[at + 6 : at + 8], "little")
            content = content[: at + 8] + b"x" * size + content[at + 8 + size :]
        path.write_bytes(content)
    assert reasons(series.judge()) == [Reason.RESCALE_INVALID]


def test_dicomdir_is_skipped(make_series: MakeSeries) -> None:
    series = make_series()
    path = series.set(SOPClassUID="1.2.840.10008.1.3.10").write()[0]
    with pytest.raises(Unreadable) as caught:
        read_header(path)
    assert caught.value.reason is Reason.DICOMDIR


def test_single_slice_is_refused_whatever_its_thickness(make_series: MakeSeries) -> None:
    assert reasons(make_series(num=1).set(SpacingBetweenSlices=2).judge()) == [Reason.SINGLE_SLICE]


def test_pet_that_declares_more_slices_than_came(make_series: MakeSeries) -> None:
    series = make_series("PT").set(Units="BQML", NumberOfSlices=9)
    assert reasons(series.judge()) == [Reason.MISSING_SLICE]


# --- one series, several volumes -----------------------------------------------------------------


def twice(series: Any, change: Callable[[Dataset, int], None]) -> Any:
    """Every slice again, with other pixels and one field changed."""
    for i, ds in enumerate(copy.deepcopy(series.slices)):
        ds.SOPInstanceUID = generate_uid()
        ds.InstanceNumber = 100 + i
        ds.PixelData = (series.voxels[i] + 1).tobytes()
        change(ds, i)
        series.slices.append(ds)
    return series


def _set(keyword: str, value: Any) -> Callable[[Dataset, int], None]:
    return lambda ds, _: setattr(ds, keyword, value)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({"EchoTime": 4.6}, _set("EchoTime", 9.2)),
        ({"DiffusionBValue": 0.0}, _set("DiffusionBValue", 1000.0)),
        (
            {"DiffusionGradientOrientation": [1.0, 0.0, 0.0], "DiffusionBValue": 1000.0},
            _set("DiffusionGradientOrientation", [0.0, 1.0, 0.0]),
        ),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "M"]},
            _set("ImageType", ["ORIGINAL", "PRIMARY", "P"]),
        ),
        ({"TemporalPositionIdentifier": 1}, _set("TemporalPositionIdentifier", 2)),
        ({"AcquisitionNumber": 1}, _set("AcquisitionNumber", 2)),
        ({"FrameOfReferenceUID": "1.2.3"}, _set("FrameOfReferenceUID", "1.2.4")),
        ({}, _set("ImageOrientationPatient", [0, 1, 0, 0, 0, -1])),
        ({}, _set("PixelSpacing", [3, 3])),
        ({}, lambda ds, i: None),  # nothing tells them apart: InstanceNumber gives the time
    ],
)
def test_two_volumes_in_one_series_are_split(
    make_series: MakeSeries, before: dict[str, Any], change: Callable[[Dataset, int], None]
) -> None:
    series = twice(make_series("MR").set(**before), change)
    if series.slices[-1].ImageOrientationPatient == [0, 1, 0, 0, 0, -1]:
        for i, ds in enumerate(series.slices[8:]):
            ds.ImagePositionPatient = [5.0 - 2.0 * i, 0, 0]
    judged = series.judge()
    scans = [j for j in judged if isinstance(j, Scan)]
    assert len(scans) == len(judged) == 2
    parts = {scan.source.part for scan in scans}
    assert len(parts) == 2
    assert "" not in parts
    found = sorted((scan.stored for scan in scans), key=lambda stored: int(stored[0, 0, 0]))
    np.testing.assert_array_equal(found[0], series.voxels)
    np.testing.assert_array_equal(found[1], series.voxels + 1)


def test_mixed_sizes_are_judged_apart(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices[3].Rows, series.slices[3].Columns = 6, 20
    assert sorted(reasons(series.judge())) == sorted([Reason.MISSING_SLICE, Reason.SINGLE_SLICE])


def test_a_missing_slice_costs_its_own_echo_only(make_series: MakeSeries) -> None:
    series = twice(make_series("MR").set(EchoTime=4.6), _set("EchoTime", 9.2))
    del series.slices[11]
    judged = series.judge()
    assert sum(isinstance(j, Scan) for j in judged) == 1
    assert [j.reason for j in judged if isinstance(j, Rejection)] == [Reason.MISSING_SLICE]


def test_time_by_instance_number_position_by_position(make_series: MakeSeries) -> None:
    series = twice(make_series("MR"), lambda ds, i: None)
    for i in range(8):
        series.slices[i].InstanceNumber = 2 * i + 1
        series.slices[8 + i].InstanceNumber = 2 * i + 2
    first, second = series.judge()
    assert isinstance(first, Scan)
    assert isinstance(second, Scan)
    assert (first.source.part, second.source.part) == ("time=1", "time=2")
    np.testing.assert_array_equal(first.stored, series.voxels)
    np.testing.assert_array_equal(second.stored, series.voxels + 1)


def test_scrambled_instance_numbers_do_not_order_time(make_series: MakeSeries) -> None:
    series = twice(make_series("MR"), lambda ds, i: None)
    numbers = np.random.default_rng(1).permutation(16)
    for ds, number in zip(series.slices, numbers, strict=True):
        ds.InstanceNumber = int(number)
    assert reasons(series.judge()) == [Reason.SAME_POSITION_DIFFERS]


def test_acquisition_times_order_time_before_instance_numbers(make_series: MakeSeries) -> None:
    series = twice(
        make_series("MR").set(AcquisitionDate="20200101", AcquisitionTime="120000"),
        lambda ds, i: setattr(ds, "AcquisitionTime", f"12000{1 + i % 2}.5"),
    )
    for i, ds in enumerate(series.slices):
        ds.InstanceNumber = 1 + i % 8
    first, second = series.judge()
    assert isinstance(first, Scan)
    assert isinstance(second, Scan)
    np.testing.assert_array_equal(first.stored, series.voxels)
    np.testing.assert_array_equal(second.stored, series.voxels + 1)


def test_one_localizer_in_a_series_is_left_out(make_series: MakeSeries) -> None:
    series = make_series()
    scout = copy.deepcopy(series.slices[0])
    scout.SOPInstanceUID = generate_uid()
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    series.slices.append(scout)
    judged = series.judge()
    scan = scan_of([j for j in judged if isinstance(j, Scan)])
    np.testing.assert_array_equal(scan.stored, series.voxels)
    assert [j.reason for j in judged if isinstance(j, Rejection)] == [Reason.LOCALIZER]


def test_two_patients_under_one_series_uid_are_never_mixed(make_series: MakeSeries) -> None:
    series = make_series()
    for ds in series.slices[4:]:
        ds.PatientID = "P2"
    headers = [read_header(path) for path in series.write()]
    groups = group_by_series(headers)
    assert [len(g) for g in groups] == [4, 4]
    assert all(len({h.patient for h in g}) == 1 for g in groups)


def test_order_of_the_files_does_not_matter(make_series: MakeSeries) -> None:
    series = twice(make_series("MR").set(EchoTime=4.6), _set("EchoTime", 9.2))
    headers = [read_header(path) for path in series.write()]
    one, other = read_series(headers), read_series(headers[::-1])
    for a, b in zip(one, other, strict=True):
        assert isinstance(a, Scan)
        assert isinstance(b, Scan)
        assert a.source == b.source
        np.testing.assert_array_equal(a.stored, b.stored)


def test_cut_off_copy_whose_original_is_there_costs_nothing(make_series: MakeSeries) -> None:
    series = make_series()
    content = series.write()[7].read_bytes()
    cut = content.index(b"\x20\x00\x32\x00DS") + 12
    (series.folder / "copy").write_bytes(content[:cut])
    judged = series.judge()
    scan = scan_of([j for j in judged if isinstance(j, Scan)])
    np.testing.assert_array_equal(scan.stored, series.voxels)
    assert [j.reason for j in judged if isinstance(j, Rejection)] == [Reason.PIXEL_DATA_MISSING]


@pytest.mark.parametrize("seed", range(30))
def test_corrupt_bytes_never_crash_the_reader(make_series: MakeSeries, seed: int) -> None:
    """Every file of a series with a corrupt header ends in a scan or in a rejection."""
    series = make_series(num=3)
    paths = series.write()
    generator = np.random.default_rng(seed)
    content = bytearray(paths[1].read_bytes())
    for at in generator.integers(128, len(content) - 240, size=5):
        content[at] = generator.integers(256)
    paths[1].write_bytes(content)
    headers, refused = [], 0
    for path in paths:
        try:
            headers.append(read_header(path))
        except Unreadable:
            refused += 1
    judged = [j for group in group_by_series(headers) for j in read_series(group)]
    files = {path for j in judged for path in j.source.files}
    assert len(files) + refused == 3
