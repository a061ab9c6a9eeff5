"""DICOM through the whole stage: keys, late slices, needles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medssl.archive.config import IngestConfig
from medssl.archive.identity import load_key
from medssl.archive.ingest import ingest
from medssl.archive.summary import IngestResult
from medssl.store.store import open_store

NEEDLES = ["Mustermann", "MRN5551234", "19470803", "Charite", "hiddenremark", "1.2.826.0.1.777"]


@pytest.fixture
def write_series(tmp_path: Path) -> Any:
    """Write an axial CT series of ten slices below tmp/archive; returns its files by position."""

    def write(name: str, patient: str = "P1", **elements: Any) -> list[Path]:
        rng = np.random.Generator(np.random.Philox(sum(map(ord, name))))
        study, series = (generate_uid(entropy_srcs=[name, part]) for part in ("study", "series"))
        study, series = elements.pop("study", study), elements.pop("series", series)
        paths = []
        for n in range(10):
            data = Dataset()
            data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            data.SOPInstanceUID = f"{series}.{n}"
            data.StudyInstanceUID, data.SeriesInstanceUID = study, series
            data.FrameOfReferenceUID = f"{study}.1"
            data.Modality, data.PatientID, data.InstanceNumber = "CT", patient, n + 1
            data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            data.ImagePositionPatient = [0, 0, 3.0 * n]
            data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            data.PixelSpacing, data.Rows, data.Columns = [1, 1], 8, 9
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
            data.PixelRepresentation, data.RescaleSlope, data.RescaleIntercept = 1, 1, -1000
            data.PixelData = rng.integers(0, 1500, (8, 9)).astype("<i2").tobytes()
            for keyword, value in elements.items():
                setattr(data, keyword, value)
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = tmp_path / "archive" / name / f"{n:02}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pydicom.dcmwrite(path, data, enforce_file_format=True)
            paths.append(path)
        return paths

    return write


@pytest.fixture
def take(tmp_path: Path, key_file: Path) -> Any:
    def run(**settings: Any) -> IngestResult:
        values = {"archive": tmp_path / "archive", "store": tmp_path / "store", "workers": 1}
        return ingest(IngestConfig.model_validate({**values, "key_file": key_file, **settings}))

    return run


def test_a_series_is_one_volume_with_its_patients_key(
    tmp_path: Path, write_series: Any, take: Any, key_file: Path
) -> None:
    write_series("a", "P1", study="1.2.3.1")
    write_series("b", " P1 ", study="1.2.3.2")
    write_series("c", "P2", PatientSex="F", PatientAge="093Y")
    result = take(site="s")
    assert result.taken == {("CT", "EXACT"): 3}
    assert result.patients == 2
    store = open_store(tmp_path / "store")
    key = load_key(key_file)
    rows = store.manifest.groupby("patient_key")["volume_uid"].count()
    assert rows[key.hmac("patient", "s", "", "P1")] == 2
    (third,) = store.manifest[store.manifest["sex"] == "F"].to_dict("records")
    assert third["age_band"] == "90+"
    assert store.manifest["study_key"].nunique() == 3
    assert len(store.instances) == store.instances["instance_key"].nunique() == 30
    assert store.instances["file_sha256"].str.fullmatch("[0-9a-f]{64}").all()


def test_the_issuer_counts_only_where_the_policy_says_so(
    tmp_path: Path, write_series: Any, take: Any
) -> None:
    write_series("a", "P1", IssuerOfPatientID="here")
    write_series("b", "P1", IssuerOfPatientID="there")
    assert take().patients == 1
    assert take(store=tmp_path / "other", use_issuer=True).patients == 2


def test_a_late_slice_completes_a_refused_series(
    tmp_path: Path, write_series: Any, take: Any
) -> None:
    files = write_series("a")
    write_series("b")
    late = tmp_path / "late"
    files[4].rename(late)
    first = take()
    assert first.num_volumes == 1
    assert first.num_rejected == 1
    assert take().run.units_read == 0
    late.rename(files[4])
    second = take()
    assert second.run.units_read == 1
    assert (second.num_volumes, second.num_rejected) == (2, 0)
    assert take().run.units_read == 0


def test_rows_of_the_cases_file_reach_series_and_patients(
    tmp_path: Path, write_series: Any, take: Any
) -> None:
    write_series("a", "P1", series="1.2.3.4.5")
    write_series("b", "P2")
    cases = tmp_path / "cases.csv"
    cases.write_text("series,patient_id,patient,grade\n1.2.3.4.5,,,3\n,P2,Anna,2\n,P9,,1\n")
    result = take(cases=cases)
    assert result.classes == {"grade": {"3": 1, "2": 1}}
    assert result.unmatched_rows == [4]
    assert take(cases=cases).run.units_read == 0
    cases.write_text("series,patient_id,patient,grade\n1.2.3.4.5,,,1\n,P2,Anna,2\n")
    again = take(cases=cases)
    assert again.run.units_read == 1
    assert again.classes == {"grade": {"1": 1, "2": 1}}


def test_no_byte_of_the_store_identifies_anybody(
    tmp_path: Path, write_series: Any, take: Any, capfd: Any
) -> None:
    hidden = Dataset()
    hidden.CodeMeaning = "hiddenremark Mustermann"
    private = {
        "PatientName": "Mustermann^Max",
        "PatientBirthDate": "19470803",
        "StudyDate": "19470803",
        "InstitutionName": "Charite",
        "SeriesDescription": "T1 hiddenremark Mustermann",
        "StudyDescription": "Charite MRN5551234",
        "ManufacturerModelName": "Charite special",
        "ProcedureCodeSequence": [hidden],
        "ImageComments": "hiddenremark",
    }
    folder = "Charite/Mustermann_19470803"
    write_series(folder, "MRN5551234", series="1.2.826.0.1.777.1", **private)
    broken = write_series(f"{folder}_b", "MRN5551234", series="1.2.826.0.1.777.2", **private)
    broken[3].unlink()
    broken[7].write_bytes(broken[7].read_bytes()[:-40])
    linkage = tmp_path / "link.parquet"
    result = take(linkage=linkage)
    assert result.num_volumes == 1
    assert result.num_rejected >= 1
    store = tmp_path / "store"
    told = "\n".join(result.lines()) + "".join(capfd.readouterr())
    assert not any(needle in told for needle in NEEDLES)
    spread = [n.encode(code) for n in NEEDLES for code in ("utf-8", "utf-16-le")]
    for path in store.rglob("*"):
        assert not any(needle in str(path.relative_to(store)) for needle in NEEDLES)
        if path.is_file():
            content = path.read_bytes()
            assert not any(needle in content for needle in spread), path.name
    links = pd.read_parquet(linkage)
    assert set(links["patient_id"]) == {"MRN5551234"}
    assert set(links["outcome"]) == {"EXACT", "REJECTED"}
