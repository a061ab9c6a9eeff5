"""Padding becomes a mask and stays out of every judgement; the numbers stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medssl.archive.dicom.padding import as_stored, padding_of, padding_of_volume
from medssl.archive.judge import judge_values
from medssl.archive.reasons import Reason
from medssl.archive.scan import Rejection, Scan

MakeSeries = Callable[..., Any]


def padded(make_series: MakeSeries, number: int = -2000, **header: Any) -> Any:
    """A series with a corner of padding in every slice, and the header that says so."""
    series = make_series()
    series.set(**(header or {"PixelPaddingValue": number}))
    for ds, pixels in zip(series.slices, series.voxels, strict=True):
        pixels[:4, :3] = number
        if "PixelPaddingValue" in ds:
            ds["PixelPaddingValue"].VR = "US" if ds.PixelPaddingValue > 0x7FFF else "SS"
        ds.PixelData = pixels.tobytes()
    return series


def only_scan(judged: list[Any]) -> Scan:
    (scan,) = judged
    assert isinstance(scan, Scan), scan
    return scan


@pytest.mark.parametrize("written", [-2000, 63536])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_padding_is_found_whatever_vr_it_was_written_in(
    make_series: MakeSeries, written: int, syntax: str
) -> None:
    series = padded(make_series, PixelPaddingValue=written)
    series.write(syntax)
    scan = only_scan(series.judge())
    assert scan.padding == (-2000, -2000)
    assert scan.notes == (Reason.PADDING_MASKED,)
    assert scan.corrections == ()
    np.testing.assert_array_equal(scan.stored, series.voxels)


def test_a_range_of_padding(make_series: MakeSeries) -> None:
    series = padded(make_series, -2000, PixelPaddingValue=-1990, PixelPaddingRangeLimit=-2048)
    for ds in series.slices:
        ds["PixelPaddingRangeLimit"].VR = "SS"
    assert only_scan(series.judge()).padding == (-2048, -1990)


def test_padding_that_no_voxel_holds_is_none(make_series: MakeSeries) -> None:
    series = make_series().set(PixelPaddingValue=-2000)
    for ds in series.slices:
        ds["PixelPaddingValue"].VR = "SS"
    scan = only_scan(series.judge())
    assert (scan.padding, scan.notes) == (None, ())


@pytest.mark.parametrize(
    ("number", "bits", "signed", "stored"),
    [
        (-2000, 16, True, -2000),
        (63536, 16, True, -2000),
        (63536, 16, False, 63536),
        (-2000, 16, False, 63536),
        (63536, 12, True, -2000),  # 16 bits, of which the pixels keep 12
        (2096, 12, True, -2000),  # 12 bits without their sign
        (0x8000, 12, True, None),  # its 12 bits are 0, which is a measurement
        (63536, 12, False, None),
        (4095, 12, False, 4095),
        (0, 16, True, 0),
        (255, 8, False, 255),
        (70000, 16, True, None),
    ],
)
def test_a_number_as_the_pixels_hold_it(
    number: int, bits: int, signed: bool, stored: int | None
) -> None:
    assert as_stored(number, bits, signed) == stored


def test_a_range_of_which_one_end_cannot_be_read_is_no_range() -> None:
    ds = Dataset()
    ds.add_new("PixelPaddingValue", "SS", -2000)
    assert padding_of(ds, 16, True) == (-2000, -2000)
    ds.add_new("PixelPaddingRangeLimit", "SS", -32768)
    assert padding_of(ds, 12, True) is None
    assert padding_of(Dataset(), 16, True) is None


def test_slices_must_agree_and_not_all_can_be_padding() -> None:
    stored = np.array([[[0, 1], [5, 9]]], dtype=np.int16)
    assert padding_of_volume([(0, 0)], stored) == (0, 0)
    assert padding_of_volume([(0, 0), None], stored) is None
    assert padding_of_volume([(0, 0), (1, 1)], stored) is None
    assert padding_of_volume([(-100, 100)], stored) is None
    assert padding_of_volume([(0, 0)], np.zeros((1, 2, 2), np.int16)) == (0, 0)


def test_padding_stays_out_of_the_judgement_of_values(make_series: MakeSeries) -> None:
    far = padded(make_series, -32768)
    scan = only_scan(far.judge())
    assert np.percentile(scan.rescale.apply(scan.stored), 1) < -4096
    assert judge_values(scan) is scan
    blank = padded(make_series)
    for ds, pixels in zip(blank.slices, blank.voxels, strict=True):
        pixels[pixels != -2000] = 7
        ds.PixelData = pixels.tobytes()
    judged = judge_values(only_scan(blank.judge()))
    assert isinstance(judged, Rejection)
    assert (judged.reason, judged.detail) == (Reason.CONSTANT_VOLUME, "value -17")
