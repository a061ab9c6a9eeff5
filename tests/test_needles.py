"""An archive full of needles, and everything that is written from it: no byte holds one."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from medssl.store.store import open_store

NEEDLES = (
    "Mustermann", "MRN7745123", "19470803", "19991224", "Charite", "Drvonhinten", "ACC-99887",
    "knownalcoholic", "privateremark", "wardseven", "Liegestation", "gtvofhans", "Biographie",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]


def _slice(patient: int, k: int, uids: dict[str, str]) -> Dataset:
    rng = np.random.default_rng(100 * patient + k)
    pixels = np.full((24, 24), -900, np.int16) + rng.integers(0, 60, (24, 24), dtype=np.int16)
    pixels[6:18, 6:18] += 900
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, uids[f"slice{k}"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids["study"], uids["series"]
    ds.FrameOfReferenceUID = uids["frame"]
    _identify(ds, patient)
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = k + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 4 * k], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [4, 4]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _identify(ds: Dataset, patient: int) -> None:
    ds.PatientName, ds.PatientID = "Mustermann^Hans", f"MRN7745123-{patient}"
    ds.PatientBirthDate, ds.PatientAge = "19470803", "052Y"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "19991224"
    ds.StudyTime = "101500"
    ds.InstitutionName, ds.ReferringPhysicianName = "Charite", "Drvonhinten"
    ds.AccessionNumber, ds.StationName = "ACC-99887", "Liegestation"
    ds.StudyDescription = ds.SeriesDescription = ds.ProtocolName = "privateremark of Hans"
    ds.ManufacturerModelName = "Biographie of Mustermann"
    ds.PatientComments = "knownalcoholic"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "1", "99X"
    code.CodeMeaning = "knownalcoholic"
    ds.ProcedureCodeSequence = Sequence([code])
    block = ds.private_block(0x0029, "Mustermann", create=True)
    block.add_new(0x10, "LO", "privateremark")


def _structures(patient: int, uids: dict[str, str]) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids["study"], generate_uid()
    _identify(ds, patient)
    ds.Modality = "RTSTRUCT"
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, uids["slice2"]
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = uids["series"], Sequence([image])
    study.ReferencedSOPInstanceUID = uids["study"]
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.FrameOfReferenceUID = uids["frame"]
    frame.RTReferencedStudySequence = Sequence([study])
    ds.ReferencedFrameOfReferenceSequence = Sequence([frame])
    roi, contours, contour = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = 1, "gtvofhans"
    roi.ReferencedFrameOfReferenceUID = uids["frame"]
    ds.StructureSetROISequence = Sequence([roi])
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourImageSequence = Sequence([image])
    contour.ContourData = [22, 22, 8, 70, 22, 8, 70, 70, 8, 22, 70, 8]
    contours.ReferencedROINumber, contours.ContourSequence = 1, Sequence([contour])
    ds.ROIContourSequence = Sequence([contours])
    return ds


def _save(ds: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)


def write_archive(root: Path) -> None:
    """Ten patients with a structure set each, a NIfTI, and what breaks while it is read."""
    for patient in range(10):
        names = ("study", "series", "frame", *(f"slice{k}" for k in range(6)))
        uids = {name: generate_uid(entropy_srcs=[str(patient), name]) for name in names}
        folder = root / f"Mustermann_{patient}" / "wardseven"
        for k in range(6):
            _save(_slice(patient, k, uids), folder / f"MRN7745123_{k}.dcm")
        _save(_structures(patient, uids), folder / "gtvofhans.dcm")
    broken = root / "Mustermann_0" / "wardseven" / "MRN7745123_broken.dcm"
    broken.write_bytes(bytes(128) + b"DICM" + b"Mustermann^Hans" * 20)
    image = nib.Nifti1Image(np.arange(4096, dtype=np.int16).reshape(16, 16, 16), np.eye(4))
    image.header["descrip"], image.header["db_name"] = b"Mustermann 19470803", b"Charite"
    nib.save(image, root / "Mustermann_Hans_19470803.nii.gz")
    (root / "Mustermann.nii").write_bytes(b"MRN7745123")
    (root / "knownalcoholic.txt").write_text("Mustermann, wardseven")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a store, a pretraining, a fine-tuning and MLflow's files; what was printed."""
    archive = tmp_path_factory.mktemp("Charite_archive") / "Mustermann"
    write_archive(archive)
    work = tmp_path_factory.mktemp("work")
    key = tmp_path_factory.mktemp("secret") / "key"
    (tmp_path := key.parent / "ingest.yaml").write_text("structures: {'gtv*': 1}\n")
    configs = ROOT / "configs"
    commands = [
        ["keygen", str(key)],
        [
            *("ingest", str(archive), "--out", "store", "--key-file", str(key)),
            *("--config", str(tmp_path), "--workers", "2"),
        ],
        [
            *("pretrain", str(configs / "pretrain/smoke.yaml"), "--out", "runs/pre"),
            *("--set", "store=store"),
        ],
        [
            *("finetune", str(configs / "finetune/smoke.yaml"), "--out", "runs/fine"),
            *("--set", "store=store", "--set", "init=runs/pre/checkpoints/encoder.safetensors"),
        ],
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "COLUMNS": "200"}
    told = ""
    for command in commands:
        result = subprocess.run(
            [sys.executable, "-m", "medssl", *command],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        if command[0] not in ("keygen", "ingest"):  # these name the paths that the user typed
            told += result.stdout + result.stderr
        else:
            told += (result.stdout + result.stderr).replace(str(archive), "").replace(str(key), "")
    return work, told


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what is packed in them."""
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if path.suffix == ".parquet":
        yield repr(pq.read_table(path).to_pydict()).encode()
    if data[:15] == b"SQLite format 3":
        with sqlite3.connect(path) as db:
            yield "\n".join(db.iterdump()).encode()


def test_no_byte_and_no_name_holds_a_needle(written: tuple[Path, str]) -> None:
    work, told = written
    assert "Mustermann" not in told
    spread = {
        form.encode(code)
        for needle in NEEDLES
        for form in (needle, needle.lower(), needle.upper())
        for code in ("utf-8", "utf-16-le")
    }
    files = [path for path in work.rglob("*") if path.is_file()]
    for path in work.rglob("*"):
        assert not any(n.lower() in path.name.lower() for n in NEEDLES), path
    for path in files:
        for content in contents(path):
            assert not [needle for needle in spread if needle in content], path.relative_to(work)
    assert not [needle for needle in NEEDLES if needle.lower() in told.lower()]


def test_what_was_searched_is_all_that_a_project_writes(written: tuple[Path, str]) -> None:
    work, _ = written
    for name in (
        "mlflow.db", "store/quality.html", "store/ingest.sqlite", "store/store.json",
        "runs/pre/config.yaml", "runs/pre/report.html",
        "runs/pre/volumes.parquet", "runs/fine/report.html", "runs/fine/checkpoints",
    ):  # fmt: skip
        assert (work / name).exists(), name
    store = open_store(work / "store")
    assert len(store.manifest) == 11
    assert len(store.mask_labels()) == 10
