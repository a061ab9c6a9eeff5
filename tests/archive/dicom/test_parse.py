"""Elements out of bytes: the same as pydicom reads, or left to pydicom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medssl.archive.dicom import header, parse
from medssl.archive.dicom.header import read_header
from medssl.archive.dicom.parse import parse_header

WANTED = header._WANTED
MakeSeries = Callable[..., Any]


def same_as_pydicom(path: Path) -> bool:
    """Whether the bytes were read here; then every value equals pydicom's."""
    found = parse_header(path, WANTED)
    if found is None:
        return False
    with path.open("rb") as file:
        ds = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(WANTED), force=True)
        assert found.offset == file.tell()
        assert found.pixels == (file.read(2) == b"\xe0\x7f")
    expected = {int(tag) for tag in ds.keys() if int(tag) in WANTED}  # noqa: SIM118
    assert {int(tag) for tag in found.ds.keys()} == expected  # noqa: SIM118
    for tag in expected:
        try:
            value = ds[tag].value
        except Exception as error:  # a value that its VR does not allow
            with pytest.raises(type(error)):
                found.ds[tag]
            continue
        assert found.ds[tag].value == value, hex(tag)
    return True


@pytest.mark.real
def test_every_real_header_is_read_as_pydicom_does(real_data: Path) -> None:
    here = there = 0
    for suite in ("dicom_suites", "sarcoma/dicom", "sarcoma/raw_pet"):
        for path in sorted((real_data / suite).rglob("*")):
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                if same_as_pydicom(path):
                    here += 1
                else:
                    there += 1
    assert here > 2000
    assert there <= 2  # one in big endian, and at most one more


def test_sequences_of_any_length_are_stepped_over(make_series: MakeSeries) -> None:
    series = make_series("PT")
    ds: Dataset = series.slices[0]
    inner = Dataset()
    inner.CodeValue, inner.CodeMeaning = "1", "between"
    outer = Dataset()
    outer.ProcedureCodeSequence = Sequence([inner, inner])
    tracer = Dataset()
    tracer.RadionuclideTotalDose = "3.7e8"
    ds.ReferencedStudySequence = Sequence([outer])
    ds.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    for undefined in (True, False):
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            for name in ("ReferencedStudySequence", "RadiopharmaceuticalInformationSequence"):
                ds[name].is_undefined_length = undefined
                for item in ds[name].value:
                    item.is_undefined_length_sequence_item = undefined
            (series.folder).mkdir(exist_ok=True)
            path = series.write(syntax)[0]
            assert same_as_pydicom(path)
            tracers = parse_header(path, WANTED).ds.RadiopharmaceuticalInformationSequence
            assert float(tracers[0].RadionuclideTotalDose) == 3.7e8


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_are_left_to_pydicom(make_series: MakeSeries, syntax: str) -> None:
    path = make_series().write(syntax)[0]
    assert parse_header(path, WANTED) is None
    assert read_header(path).pixels.rows == 12


def test_a_long_header_is_read_on(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices[0].PatientComments = "x" * 10000
    series.slices[0].AdditionalPatientHistory = "y" * 60000
    path = series.write(ImplicitVRLittleEndian)[0]
    assert path.stat().st_size > parse._FIRST_BYTES
    assert same_as_pydicom(path)


def test_what_is_in_doubt_is_left_to_pydicom(make_series: MakeSeries) -> None:
    path = make_series().write()[0]
    whole = path.read_bytes()
    rows = whole.index(b"\x28\x00\x10\x00US")
    columns = whole.index(b"\x28\x00\x11\x00US")
    spacing = whole.index(b"\x28\x00\x30\x00DS")
    swapped = bytearray(whole)
    swapped[rows : rows + 10], swapped[columns : columns + 10] = (
        whole[columns : columns + 10],
        whole[rows : rows + 10],
    )
    strange = bytearray(whole)
    strange[rows + 4 : rows + 6] = b"XX"
    for content in (
        swapped,  # tags out of order
        strange,  # a VR that is not known
        whole[: spacing + 9],  # a value beyond the end
        whole[: rows + 4],  # an element beyond the end
        whole[128:],  # no preamble
    ):
        path.write_bytes(content)
        assert parse_header(path, WANTED) is None
    path.write_bytes(whole)
    assert parse_header(path, WANTED) is not None
