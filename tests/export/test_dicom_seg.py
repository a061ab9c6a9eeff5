"""DICOM SEG of series as they come: in any character set, unreadable or broken in places."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medssl.errors import MedsslError
from medssl.export.dicom_seg import Algorithm, write_segmentation

from ..predict.conftest import Ct, frames_in_world, in_world
from ..predict.conftest import write_ct as write_ct

Change = Callable[[Dataset], None]
Series = tuple[list[Path], Ct]


@pytest.fixture
def series(tmp_path: Path, write_ct: Callable[..., Ct]) -> Series:
    ct = write_ct(tmp_path / "scan", shape=(5, 12, 14))
    return sorted((tmp_path / "scan").iterdir()), ct


def changed(files: list[Path], change: Change) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what is broken on purpose
        for path in files:
            ds = pydicom.dcmread(path)
            change(ds)
            ds.save_as(path)


def written(path: Path, series: Series) -> Dataset:
    """The SEG of a box, which lies where the box does."""
    files, ct = series
    mask = np.zeros(ct.values.shape, np.uint8)
    mask[1:4, 3:7, 2:9] = 1
    write_segmentation(path, files, mask, ct.affine, {1: "box"}, Algorithm("box", "0" * 64))
    assert frames_in_world(path, (1,)) == in_world(mask, ct.affine)
    return pydicom.dcmread(path)


def code(meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99LOCAL", meaning
    return item


@pytest.mark.parametrize(
    ("character_set", "name", "text"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "흉부"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "胸部"),
        ("ISO_IR 100", "Müller^Jörg", "Schädel"),
        ("GB18030", "Wang^XiaoDong=王^小东", "胸部"),
        ("ISO_IR 192", "Øre^Åse", "Ærø"),
        (None, "Smith^Jane", "Skull"),
    ],
)
def test_names_and_texts_of_any_character_set_are_the_scans(
    tmp_path: Path, series: Series, character_set: str | list[str] | None, name: str, text: str
) -> None:
    def describe(ds: Dataset) -> None:
        if character_set is not None:
            ds.SpecificCharacterSet = character_set
        ds.PatientName = ds.ReferringPhysicianName = name
        ds.StudyDescription = ds.PatientComments = text
        ds.ProcedureCodeSequence = [code(text)]

    changed(series[0], describe)
    seg = written(tmp_path / "seg.dcm", series)
    assert (str(seg.PatientName), str(seg.ReferringPhysicianName)) == (name, name)
    assert (seg.StudyDescription, seg.PatientComments) == (text, text)
    assert seg.ProcedureCodeSequence[0].CodeMeaning == text
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    dciodvfy = shutil.which("dciodvfy")
    if dciodvfy is not None:
        command = [dciodvfy, "-new", str(tmp_path / "seg.dcm")]
        told = subprocess.run(command, capture_output=True)
        lines = (told.stdout + told.stderr).splitlines()
        assert b"Segmentation" in lines
        assert not [line for line in lines if line.startswith(b"Error")]


def test_what_cannot_be_read_is_left_out(tmp_path: Path, series: Series) -> None:
    """A number of three bytes where two make one; pydicom refuses to read it."""

    def break_it(ds: Dataset) -> None:
        for tag in (Tag("PatientSize"), Tag(0x0009, 0x1002)):
            raw = RawDataElement(tag, "US", 3, b"abc", 0, False, True)
            ds._dict[tag] = raw

    changed(series[0], break_it)
    assert "PatientSize" not in written(tmp_path / "seg.dcm", series)


def without(name: str) -> Change:
    return lambda ds: delattr(ds, name)


def with_text(name: str, vr: str, value: bytes) -> Change:
    def change(ds: Dataset) -> None:
        tag = Tag(name)
        ds._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("FrameOfReferenceUID"), "FrameOfReferenceUID is missing$"),
        (without("SliceThickness"), "SliceThickness is missing or cannot be read$"),
        (with_text("PatientBirthDate", "DA", b"1941/03/07"), "PatientBirthDate is no valid DA"),
        (with_text("StudyTime", "TM", b"25:61 "), "StudyTime is no valid TM"),
        (with_text("PatientSex", "CS", b"female"), "PatientSex is no valid CS"),
        (with_text("SOPClassUID", "UI", b"1.2.3\0"), r"KeyError in highdicom\.base, line \d+$"),
    ],
)
def test_the_attribute_at_fault_is_named_and_no_value(
    tmp_path: Path, series: Series, change: Change, told: str
) -> None:
    changed(series[0], change)
    with pytest.raises(MedsslError, match=f"^the files allow no DICOM SEG: {told}") as raised:
        written(tmp_path / "seg.dcm", series)
    for value in ("1941", "25:61", "female", "1.2.3"):
        assert value not in str(raised.value)
    assert not (tmp_path / "seg.dcm").exists()
