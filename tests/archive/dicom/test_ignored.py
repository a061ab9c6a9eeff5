"""What a header offers and medssl does not apply is noted, and the values stay as they are."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medssl.archive.dicom import read_header
from medssl.archive.dicom.ignored import ignored_of, private_slope_of
from medssl.archive.reasons import Reason
from medssl.archive.scan import Scan

MakeSeries = Callable[..., Any]
PHILIPS = "Philips MR Imaging DD 001"


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def scan_of(judged: list[Any]) -> Scan:
    (scan,) = judged
    assert isinstance(scan, Scan), scan
    return scan


def scaled(slope: float, block: int = 0x10, vr: str = "FL") -> Dataset:
    ds = Dataset()
    ds.add_new((0x2005, block), "LO", PHILIPS)
    value = struct.pack("<f", slope) if vr == "UN" else slope
    ds.add_new((0x2005, block * 0x100 + 0x0E), vr, value)
    return ds


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ({"PresentationLUTShape": "INVERSE"}, Reason.PRESENTATION_LUT_IGNORED),
        ({"PresentationLUTSequence": [item(LUTExplanation="x")]}, Reason.PRESENTATION_LUT_IGNORED),
        ({"VOILUTSequence": [item(LUTExplanation="soft")]}, Reason.PRESENTATION_LUT_IGNORED),
        (
            {"RealWorldValueMappingSequence": [item(RealWorldValueIntercept=0.0)]},
            Reason.REAL_WORLD_VALUES_IGNORED,
        ),
        ({"PresentationLUTShape": "IDENTITY"}, None),
        ({"VOILUTSequence": []}, None),
        ({"PhotometricInterpretation": "MONOCHROME1"}, Reason.MONOCHROME1_KEPT),
    ],
)
def test_tables_and_mappings_are_noted_and_not_applied(
    make_series: MakeSeries, values: dict[str, Any], note: Reason | None
) -> None:
    series = make_series().set(**values)
    scan = scan_of(series.judge())
    assert scan.notes == ((note,) if note else ())
    assert scan.corrections == ()
    np.testing.assert_array_equal(scan.rescale.apply(scan.stored), series.voxels - 24)


@pytest.mark.parametrize("where", ["Shared", "PerFrame"])
def test_functional_groups_are_looked_into(where: str) -> None:
    mapped = item(RealWorldValueMappingSequence=[item(RealWorldValueIntercept=0.0)])
    shown = item(FrameVOILUTSequence=[item(VOILUTSequence=[item(LUTExplanation="x")])])
    window = item(FrameVOILUTSequence=[item(WindowCenter=40, WindowWidth=400)])
    groups = item(**{f"{where}FunctionalGroupsSequence": Sequence([window, mapped])})
    assert ignored_of(groups) == (Reason.REAL_WORLD_VALUES_IGNORED,)
    groups = item(**{f"{where}FunctionalGroupsSequence": Sequence([shown])})
    assert ignored_of(groups) == (Reason.PRESENTATION_LUT_IGNORED,)
    groups = item(**{f"{where}FunctionalGroupsSequence": Sequence([window])})
    assert ignored_of(groups) == ()


def test_philips_private_slope_is_recorded_and_not_applied(make_series: MakeSeries) -> None:
    series = make_series("MR")
    for ds in series.slices:
        ds.update(scaled(4.5))
    scan = scan_of(series.judge())
    assert scan.private_slope == 4.5
    assert scan.notes == (Reason.PRIVATE_SCALE_RECORDED,)
    np.testing.assert_array_equal(scan.rescale.apply(scan.stored), series.voxels - 24)


def test_slopes_that_differ_by_slice_leave_no_number(make_series: MakeSeries) -> None:
    series = make_series("MR")
    for i, ds in enumerate(series.slices):
        ds.update(scaled(4.5 + i))
    scan = scan_of(series.judge())
    assert math.isnan(scan.private_slope)
    assert scan.notes == (Reason.PRIVATE_SCALE_RECORDED,)
    del series.slices[0][0x2005, 0x100E]
    series.write()
    scan = scan_of(series.judge())
    assert math.isnan(scan.private_slope)
    assert scan.notes == (Reason.PRIVATE_SCALE_RECORDED,)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize(("block", "vr"), [(0x10, "FL"), (0x12, "FL"), (0x10, "UN")])
def test_private_slope_in_every_encoding(
    make_series: MakeSeries, syntax: str, block: int, vr: str
) -> None:
    series = make_series("MR", num=1)
    series.slices[0].update(scaled(0.25, block, vr))
    assert read_header(series.write(syntax)[0]).frames[0].private_slope == 0.25


def test_private_slope_of_a_frame_and_of_other_makers() -> None:
    frame, shared = Dataset(), Dataset()
    frame.add_new((0x2005, 0x140F), "SQ", [scaled(3.0)])
    shared.add_new((0x2005, 0x140E), "SQ", [scaled(7.0)])
    assert private_slope_of(frame, shared) == 3.0
    assert private_slope_of(Dataset(), shared) == 7.0
    assert private_slope_of(Dataset(), None) is None
    other = scaled(3.0)
    other[0x2005, 0x10].value = "SOMEBODY ELSE"
    assert private_slope_of(other) is None
    assert private_slope_of(scaled(0.0)) is None


def test_pet_without_suv_says_so(make_series: MakeSeries) -> None:
    series = make_series("PT").set(Units="BQML", RescaleIntercept=0)
    scan = scan_of(series.judge())
    assert (scan.units, scan.notes) == ("BQML", (Reason.NO_SUV,))
    series = make_series("PT").set(Units="GML", SUVType="BW", RescaleIntercept=0)
    scan = scan_of(series.judge())
    assert (scan.units, scan.notes) == ("SUV", ())
