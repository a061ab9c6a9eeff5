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

NEEDLES = [
    "Mustermann", "MRN5551234", "19470803", "1947-08-03", "20111213", "20111214", "2011-12-1",
    "Charite", "hiddenremark", "1.2.826.0.1.777",
]  # fmt: skip


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
        "StudyDate": "20111213",
        "SeriesDate": "20111214",
        "AcquisitionDate": "20111214",
        "AcquisitionDateTime": "20111214101112",
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
    spread = [n.lower().encode(code) for n in NEEDLES for code in ("utf-8", "utf-16-le")]
    for path in store.rglob("*"):
        assert not any(needle in str(path.relative_to(store)) for needle in NEEDLES)
        if path.is_file():
            content = path.read_bytes().lower()  # what enters the store may be in capitals
            assert not any(needle in content for needle in spread), path.name
    links = pd.read_parquet(linkage)
    assert set(links["patient_id"]) == {"MRN5551234"}
    assert set(links["outcome"]) == {"EXACT", "REJECTED"}


def test_studies_of_a_patient_lie_as_far_apart_as_they_were(
    tmp_path: Path, write_series: Any, take: Any
) -> None:
    write_series("a", "P1", study="1.2.3.1", StudyDate="20200228")
    write_series("b", "P1", study="1.2.3.2", StudyDate="blanked", SeriesDate="2020.03.01")
    write_series("c", "P2", study="1.2.3.3", StudyDate="20200228")
    write_series("d", "P2", study="1.2.3.4", StudyDate="unknown")
    take()
    days = open_store(tmp_path / "store").manifest.groupby("patient_key")["study_day"].apply(list)
    one, two = sorted(days, key=lambda found: np.isnan(found).sum())
    assert abs(one[0] - one[1]) == 2
    assert np.isnan(two).sum() == 1
    hidden = [*one, *(day for day in two if not np.isnan(day))]
    assert len(set(hidden)) == 3
    assert all(day != 737483 for day in hidden)  # the true day, counted from the year 1


def test_padding_is_a_mask_and_no_foreground(tmp_path: Path, write_series: Any, take: Any) -> None:
    files = write_series("a")
    plain = take()
    before = open_store(tmp_path / "store").manifest.iloc[0]
    for path in files:
        ds = pydicom.dcmread(path)
        pixels = ds.pixel_array.copy()
        pixels[:2] = 31000
        ds.PixelData = pixels.tobytes()
        ds.add_new("PixelPaddingValue", "SS", 31000)
        ds.save_as(path)
    assert take().taken == plain.taken
    store = open_store(tmp_path / "store")
    row = store.manifest.iloc[0]
    assert (row["padding_low"], row["padding_high"]) == (31000, 31000)
    assert (row["notes"], row["outcome"]) == ("PADDING_MASKED", "EXACT")
    assert row["p99_5"] < 500  # HU; the padding would be at 30000
    assert row["foreground_voxels"] < before["foreground_voxels"]
    assert row["foreground_1_start"] == 2
    uid = row["volume_uid"]
    valid = store.valid(uid)
    assert valid.shape == (10, 8, 9)
    assert not valid[:, :2].any()
    assert valid[:, 2:].all()
    box = ((1, 3), (1, 4), (0, 9))
    np.testing.assert_array_equal(store.valid(uid, box), valid[1:3, 1:4])
    assert (store.read(uid).voxels[~valid] == 30000).all()


def test_irregular_steps_are_resampled_only_where_that_is_allowed(
    tmp_path: Path, write_series: Any, take: Any
) -> None:
    files = write_series("a")
    for n, path in enumerate(files[6:]):
        ds = pydicom.dcmread(path)
        ds.ImagePositionPatient = [0, 0, 19.0 + 4.0 * n]
        ds.save_as(path)
    assert take().num_volumes == 0
    result = take(irregular_spacing="resample")
    assert result.taken == {("CT", "CORRECTED"): 1}
    row = open_store(tmp_path / "store").manifest.iloc[0]
    assert (row["corrections"], row["dtype"], row["units"]) == (
        "SPACING_RESAMPLED",
        "float32",
        "HU",
    )
    assert (round(row["spacing_0"], 6), row["shape_0"]) == (3.0, 11)
    assert take(irregular_spacing="resample").run.units_read == 0
    assert take().num_volumes == 0


def test_notes_and_the_private_slope_reach_the_manifest(
    tmp_path: Path, write_series: Any, take: Any
) -> None:
    for path in write_series("a", PresentationLUTShape="INVERSE"):
        ds = pydicom.dcmread(path)
        ds.add_new((0x2005, 0x0010), "LO", "Philips MR Imaging DD 001")
        ds.add_new((0x2005, 0x100E), "FL", 4.5)
        ds.save_as(path)
    write_series("b")
    take()
    manifest = open_store(tmp_path / "store").manifest.sort_values("notes")
    assert manifest["notes"].tolist() == ["", "PRESENTATION_LUT_IGNORED+PRIVATE_SCALE_RECORDED"]
    assert np.isnan(manifest["private_slope"].iloc[0])
    assert manifest["private_slope"].iloc[1] == 4.5
    assert set(manifest["outcome"]) == {"EXACT"}
    assert manifest["padding_low"].isna().all()


def test_the_cap_on_voxels_reaches_dicom(tmp_path: Path, write_series: Any, take: Any) -> None:
    write_series("a")
    take(max_voxels=8 * 9 * 10 - 1)
    assert open_store(tmp_path / "store").rejected["reason"].tolist() == ["TOO_LARGE"]
    assert take(max_voxels=8 * 9 * 10).num_volumes == 1
