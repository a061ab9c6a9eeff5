"""A store under a new key: all keys are other keys, nothing is read again, nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medssl.archive.config import IngestConfig
from medssl.archive.identity import load_key, make_key_file
from medssl.archive.ingest import ingest
from medssl.archive.rotate import RotateConfig, RotateResult, rotate
from medssl.archive.withdraw import WithdrawConfig, withdraw
from medssl.errors import ConfigError, KeyFileError, StoreError
from medssl.store.store import open_store

KEYED = ["volume_uid", "patient_key", "study_key", "series_key", "instance_key", "source_key"]


def write_series(folder: Path, patient: str, number: int, slices: int = 10, gap: int = -1) -> None:
    for n in range(slices):
        if n == gap:
            continue
        data = Dataset()
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        data.StudyInstanceUID, data.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
        data.SOPInstanceUID = f"1.2.3.{number}.1.{n}"
        data.FrameOfReferenceUID = f"1.2.3.{number}.9"
        data.Modality, data.PatientID, data.InstanceNumber = "CT", patient, n + 1
        data.StudyDate = f"201001{number + 1:02}"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient = [0, 0, 3.0 * n]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.Rows, data.Columns = [1, 1], 8, 9
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.RescaleSlope, data.RescaleIntercept = 1, 1, -1000
        data.PixelData = bytes((7 * n + 13 * k + number) % 120 for k in range(2 * 72))
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        folder.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(folder / f"{n:02}", data, enforce_file_format=True)


@pytest.fixture
def archive(tmp_path: Path, write_nifti: Any, scan_values: Any) -> Path:
    """Of everything that has a key of its own: series, small series, refused ones, masks, BIDS."""
    root = tmp_path / "archive"
    write_series(root / "ct1", "P1", 1)
    write_series(root / "ct2", "P1", 2)
    write_series(root / "few", "P2", 3, slices=4)
    write_series(root / "gap", "P2", 4, gap=4)
    write_series(root / "none", "", 5)
    write_series(root / "lost", "P3", 6)
    for name in ("08", "09"):  # damaged, and their bytes name the series
        (root / "lost" / name).write_bytes((root / "lost" / name).read_bytes()[:400])
    for n in range(2):
        values = scan_values(n)
        write_nifti(root / "images" / f"case_{n}.nii.gz", values)
        write_nifti(root / "labels" / f"case_{n}.nii.gz", (values > 500).astype("u1"))
    write_nifti(root / "labels" / "case_7.nii.gz", (values > 500).astype("u1"))
    write_nifti(root / "sub-01" / "anat" / "sub-01_T1w.nii.gz", scan_values(3))
    write_nifti(root / "four" / "time.nii.gz", scan_values(4, (12, 14, 10, 2)))
    (root / "table.csv").write_text("a,b\n1,2\n")
    (root / "broken.dcm").write_bytes(b"\0" * 200)
    (tmp_path / "cases.csv").write_text("image,patient,grade\ncase_0,Anna,1\n")
    return root


@pytest.fixture
def take(tmp_path: Path, archive: Path, key_file: Path) -> Any:
    def run(key: Path = key_file, **settings: Any) -> Any:
        values = {
            "archive": archive,
            "store": tmp_path / "store",
            "cases": tmp_path / "cases.csv",
            "linkage": tmp_path / "links.parquet",
            "key_file": key,
            "workers": 1,
            "site": "ward",
            **settings,
        }
        return ingest(IngestConfig.model_validate(values))

    return run


@pytest.fixture
def turn(tmp_path: Path, key_file: Path) -> Any:
    def run(**settings: Any) -> RotateResult:
        values: dict[str, Any] = {
            "store": tmp_path / "store",
            "linkage": tmp_path / "links.parquet",
            "new_key_file": tmp_path / "keys" / "new",
            "old_key_file": key_file,
            **settings,
        }
        return rotate(RotateConfig(**values))

    return run


def tables(root: Path) -> list[list[str]]:
    store = open_store(root)
    frames = (store.manifest, store.instances, store.labels, store.rejected)
    return [sorted(map(repr, frame.to_dict("records"))) for frame in frames]


def digests(root: Path) -> set[str]:
    store = open_store(root)
    frames = (store.manifest, store.instances, store.labels, store.rejected)
    return {v for f in frames for name in KEYED if name in f for v in f[name] if v}


def test_the_store_is_that_of_an_ingest_under_the_new_key(
    tmp_path: Path, take: Any, turn: Any
) -> None:
    first = take()
    (tmp_path / "store" / "quality.html").write_text("pictures")
    old = digests(tmp_path / "store")
    voxels = {p.stat().st_ino for p in (tmp_path / "store").glob("volumes/*/*")}
    result = turn()
    new_key = load_key(tmp_path / "keys" / "new")
    assert result.volumes == first.num_volumes
    assert result.left_out == 0
    assert open_store(tmp_path / "store").key_id == new_key.key_id == result.new_key_id
    assert {p.stat().st_ino for p in (tmp_path / "store").glob("volumes/*/*")} == voxels
    take(tmp_path / "keys" / "new", store=tmp_path / "fresh", linkage=tmp_path / "fresh.parquet")
    assert tables(tmp_path / "store") == tables(tmp_path / "fresh")
    for path in (tmp_path / "store").rglob("*"):
        assert path.stem not in old
        content = path.read_bytes() if path.is_file() else b""
        assert not any(digest.encode() in content for digest in old), path
    links, fresh = (pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("links", "fresh"))
    plain = [c for c in links.columns if c != "preimages"]
    order = ["source", "part", "outcome", "reason_code"]
    pd.testing.assert_frame_equal(
        links[plain].sort_values(order, ignore_index=True),
        fresh[plain].sort_values(order, ignore_index=True),
    )
    assert not any(digest in text for text in links["preimages"] for digest in old)
    assert (tmp_path / "links.parquet").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".*"))


def test_an_ingest_under_the_new_key_finds_nothing_new(
    tmp_path: Path, take: Any, turn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = take()
    turn()
    new = tmp_path / "keys" / "new"
    again = take(new)
    assert again.run.units_read == 0
    assert again.num_volumes == first.num_volumes
    assert again.rejected == first.rejected
    write_series(tmp_path / "archive" / "gap", "P2", 4)  # the late slice; the others are new too
    late = take(new)
    assert late.run.units_read == 1
    assert late.num_volumes == first.num_volumes + 1
    with pytest.raises(StoreError, match="made under key"):
        take()


def test_it_can_be_done_again(tmp_path: Path, take: Any, turn: Any) -> None:
    first = take()
    turn()
    newer = tmp_path / "keys" / "newer"
    turn(new_key_file=newer, old_key_file=tmp_path / "keys" / "new")
    again = take(newer)
    assert (again.run.units_read, again.num_volumes) == (0, first.num_volumes)
    told = turn(new_key_file=newer, old_key_file=tmp_path / "keys" / "new")
    assert told.new_key_id == load_key(newer).key_id


def test_a_linkage_file_that_does_not_cover_the_store_is_refused(
    tmp_path: Path, take: Any, turn: Any, key_file: Path
) -> None:
    take(linkage=None)
    with pytest.raises(ConfigError, match="there is no linkage file"):
        turn()
    shutil.rmtree(tmp_path / "store")
    take()
    links = pd.read_parquet(tmp_path / "links.parquet")
    links[links["series_uid"] != "1.2.3.1.1"].to_parquet(tmp_path / "links.parquet")
    before = tables(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"does not cover .*1 series or files.*medssl ingest"):
        turn()
    assert tables(tmp_path / "store") == before
    assert not (tmp_path / "keys" / "new").exists()
    take()  # as the message says
    assert turn().left_out == 0


def test_wrong_keys_and_places_are_refused(
    tmp_path: Path, take: Any, turn: Any, archive: Path, key_file: Path
) -> None:
    take()
    other = tmp_path / "other"
    shutil.copy(key_file, other)
    with pytest.raises(KeyFileError, match="exists and is kept"):
        turn(new_key_file=other)
    another = make_key_file(tmp_path / "another")
    with pytest.raises(StoreError, match=f"--key-file is {another.key_id}; name the key file"):
        turn(old_key_file=tmp_path / "another")
    with pytest.raises(ConfigError, match="must not lie in the store"):
        turn(new_key_file=tmp_path / "store" / "key")
    archive.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="mount it"):
        turn()
    assert not (tmp_path / "keys" / "new").exists()


def test_withdrawn_patients_stay_out_or_are_told(
    tmp_path: Path, take: Any, turn: Any, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = take()
    links = tmp_path / "links.parquet"
    withdraw(WithdrawConfig(tmp_path / "store", "P1", key_file, "ward", linkage=links))
    with pytest.raises(ConfigError, match=r"1 withdrawn patients are not in it.*forget-withdrawn"):
        turn()
    take()  # the scans are still there: the linkage file then knows whom to leave out
    turn()
    again = take(tmp_path / "keys" / "new")
    assert again.num_volumes == first.num_volumes - 2
    assert again.rejected["PATIENT_WITHDRAWN"] == 2
    assert again.run.units_read == 0


@pytest.mark.parametrize(
    ("at", "nth"), [("write", 0), ("rename", 0), ("rename", 1), ("replace", 0), ("rmtree", 0)]
)
def test_killed_at_any_step_the_same_command_finishes(
    tmp_path: Path, take: Any, turn: Any, monkeypatch: pytest.MonkeyPatch, at: str, nth: int
) -> None:
    first = take()
    where = {
        "write": "medssl.archive.rotate.write_linkage",  # the new store is nearly whole
        "rename": "os.rename",  # the old store goes, the new one comes
        "replace": "os.replace",  # the new linkage file comes
        "rmtree": "shutil.rmtree",  # the old store is erased
    }
    real = {"rename": os.rename, "replace": os.replace, "rmtree": shutil.rmtree}
    count = 0

    def dies(*args: Any, **settings: Any) -> Any:
        nonlocal count
        count += at != "replace" or str(args[0]).endswith(".rotating")
        if count > nth:
            os._exit(9)
        return real[at](*args, **settings)

    child = os.fork()
    if not child:  # killed for good: nothing is tidied up
        monkeypatch.setattr(where[at], dies)
        try:
            turn()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    turn()
    again = take(tmp_path / "keys" / "new")
    assert again.run.units_read == 0
    assert again.num_volumes == first.num_volumes
    assert not list(tmp_path.glob(".*"))


def test_the_command(tmp_path: Path, take: Any, key_file: Path) -> None:
    take()
    command = [sys.executable, "-m", "medssl", "keygen", str(tmp_path / "new")]
    rest = ["--rotate", str(tmp_path / "store"), "--key-file", str(key_file)]
    refused = subprocess.run([*command, *rest], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--rotate needs --linkage" in refused.stderr
    rest += ["--linkage", str(tmp_path / "links.parquet")]
    done = subprocess.run([*command, *rest], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"to key {load_key(tmp_path / 'new').key_id}" in done.stdout
