"""Elements whose value representation, length or value was damaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pydicom
import pytest

from medssl.archive.dicom import Unreadable, read_header
from medssl.archive.reasons import Reason


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"])
@pytest.mark.parametrize("vr", [b"D@", b"\0\0", b"ZZ"])
def test_a_damaged_element_is_read_as_absent_or_refused(
    make_series: Callable[..., Any], vr: bytes, kind: str
) -> None:
    series = make_series(num=1).set(StudyDate="", SOPClassUID=kind)
    (path,) = series.write()
    data = path.read_bytes()
    whole = b"\x08\0\x20\0DA"
    assert whole in data
    path.write_bytes(data.replace(whole, b"\x08\0\x20\0" + vr))
    try:
        header = read_header(path)
    except Unreadable:
        return
    assert header.sop_class == kind


def changed(make_series: Callable[..., Any], old: bytes, new: bytes, **values: Any) -> Any:
    (path,) = make_series(num=1).set(**values).write()
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    return read_header(path)


def test_a_text_that_became_one_number_is_absent(make_series: Callable[..., Any]) -> None:
    old = b"\x08\0\x08\0CS\x02\0AB"
    header = changed(make_series, old, old.replace(b"CS", b"US"), ImageType="AB")
    assert header.frames[0].image_type == ()


def test_a_lookup_table_that_cannot_be_read_is_still_one(make_series: Callable[..., Any]) -> None:
    ds = pydicom.Dataset()
    ds.LUTExplanation = "x"
    old = b"\x28\0\x00\x30SQ\0\0"
    for code in (b"SQ", b"OB", b"ZZ"):
        try:
            header = changed(make_series, old, old.replace(b"SQ", code), ModalityLUTSequence=[ds])
        except Unreadable:
            continue
        assert header.frames[0].lookup


@pytest.mark.parametrize("value", [b"1\\2 ", b"nan ", b"1,5 "])
def test_a_rescale_that_is_not_one_number_is_told(
    make_series: Callable[..., Any], value: bytes
) -> None:
    old = b"\x28\0\x53\x10DS\x04\x001.25"
    header = changed(make_series, old, old[:-4] + value, RescaleSlope="1.25")
    assert math.isnan(header.frames[0].slope)


def test_a_uid_that_swallowed_the_next_elements_is_no_uid(make_series: Callable[..., Any]) -> None:
    (path,) = make_series(num=1).write()
    data = path.read_bytes()
    at = data.index(b"\x20\0\x0e\0UI")
    path.write_bytes(data[: at + 6] + b"\xff\0" + data[at + 8 :])
    with pytest.raises(Unreadable) as caught:
        read_header(path)
    assert caught.value.reason is Reason.DICOM_HEADER_DAMAGED


def test_an_image_whose_class_was_damaged_is_no_other_object(
    make_series: Callable[..., Any],
) -> None:
    """The meta header still says what it is."""
    (path,) = make_series(num=1).write()
    data = path.read_bytes()
    at = data.index(b"\x08\0\x16\0UI")
    path.write_bytes(data[:at] + data[at:].replace(b"1.2.840.10008", b"1.2.840.17008", 1))
    with pytest.raises(Unreadable) as caught:
        read_header(path)
    assert caught.value.reason is Reason.DICOM_HEADER_DAMAGED
