"""A slice at the end of a stack whose header is damaged is missed, though no gap shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan

MakeSeries = Callable[..., Any]


def ends(judged: list[Judged]) -> list[str]:
    return sorted(j.reason.value if isinstance(j, Rejection) else "taken" for j in judged)


@pytest.mark.parametrize("which", [0, 7])
@pytest.mark.parametrize(
    ("values", "own"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.9998, 0.02]}, Reason.SINGLE_SLICE),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 7, 0]}, Reason.ORIENTATION_INVALID),
        ({"PixelSpacing": [1.5, 1.1]}, Reason.SINGLE_SLICE),
        ({"PixelSpacing": None}, Reason.PIXEL_SPACING_MISSING),
        ({"FrameOfReferenceUID": "1.2"}, Reason.SINGLE_SLICE),
        ({"EchoTime": 80}, Reason.SINGLE_SLICE),
        ({"ImagePositionPatient": None}, Reason.POSITION_MISSING),
        ({"ImageOrientationPatient": None}, Reason.POSITION_MISSING),
    ],
)
def test_an_end_slice_that_fell_out_is_missed(
    make_series: MakeSeries, which: int, values: dict[str, Any], own: Reason
) -> None:
    series = make_series("MR")
    for keyword, value in values.items():
        setattr(series.slices[which], keyword, value)
    judged = series.judge()
    assert ends(judged) == sorted(["MISSING_SLICE", own.value])
    (refused,) = (j for j in judged if j.reason is Reason.MISSING_SLICE)  # type: ignore[union-attr]
    assert len(refused.source.files) == 7


def test_a_single_slice_elsewhere_costs_nothing(make_series: MakeSeries) -> None:
    series = make_series("MR")
    series.slices[7].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    series.slices[7].ImagePositionPatient = [0, -30, 200]
    judged = series.judge()
    assert ends(judged) == ["SINGLE_SLICE", "taken"]
    (scan,) = (j for j in judged if isinstance(j, Scan))
    assert scan.stored.shape[0] == 7


def test_an_image_of_another_kind_without_a_place_costs_nothing(make_series: MakeSeries) -> None:
    series = make_series("MR")
    series.slices[7].ImagePositionPatient = None
    series.slices[7].ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    assert ends(series.judge()) == ["POSITION_MISSING", "taken"]


def test_a_file_cut_off_before_a_private_b_value_is_missed(make_series: MakeSeries) -> None:
    """Its place is known, and nothing but the b-value after it told it from the others."""
    series = make_series("MR")
    for ds in series.slices:
        ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [1000, 0, 0, 0])
    (last,) = (path for path in series.write() if path.name.endswith("_7"))
    data = last.read_bytes()
    last.write_bytes(data[: data.index(b"\x43\0\x10\0LO")])
    assert ends(series.judge()) == ["MISSING_SLICE", "PIXEL_DATA_MISSING"]
