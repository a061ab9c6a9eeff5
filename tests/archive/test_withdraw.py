"""A patient leaves: nothing of the scans stays, the next ingest leaves them out, runs are named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl.archive import withdraw as module
from medssl.archive.config import IngestConfig
from medssl.archive.identity import load_key
from medssl.archive.ingest import ingest
from medssl.archive.withdraw import WithdrawConfig, WithdrawResult, withdraw
from medssl.errors import ConfigError, StoreError
from medssl.store.store import open_store


@pytest.fixture
def take(tmp_path: Path, key_file: Path, write_nifti: Any, scan_values: Any) -> Any:
    """Ingest three images with masks, two of patient Anna by the cases file, and a bad one."""
    archive = tmp_path / "archive"
    for n in range(3):
        values = scan_values(n)
        write_nifti(archive / "images" / f"case_{n}.nii.gz", values)
        write_nifti(archive / "labels" / f"case_{n}.nii.gz", (values > 500).astype("u1"))
    write_nifti(archive / "images" / "case_3.nii.gz", values * 0)
    (tmp_path / "cases.csv").write_text(
        "image,patient,grade\ncase_0,Anna,1\ncase_1,Anna,2\ncase_2,Otto,1\ncase_3,Anna,1\n"
    )

    def run(**settings: Any) -> Any:
        values = {
            "archive": archive,
            "store": tmp_path / "store",
            "cases": tmp_path / "cases.csv",
            "linkage": tmp_path / "links.parquet",
            "key_file": key_file,
            "workers": 1,
            **settings,
        }
        return ingest(IngestConfig.model_validate(values))

    return run


@pytest.fixture
def leave(tmp_path: Path, key_file: Path) -> Any:
    def run(patient: str = "Anna", **settings: Any) -> WithdrawResult:
        (tmp_path / "runs").mkdir(exist_ok=True)
        values = {"key_file": key_file, "runs": (tmp_path / "runs",), "out": tmp_path / "list.csv"}
        return withdraw(WithdrawConfig(tmp_path / "store", patient, **{**values, **settings}))

    return run


def erased(tmp_path: Path, gone: set[str], patient_key: str) -> None:
    """Of the patient there is nothing in the store but the key that keeps the scans out."""
    store = open_store(tmp_path / "store")
    for frame in (store.manifest, store.labels, store.instances):
        assert not set(frame["volume_uid"]) & gone
    assert store.about["counts"]["volumes"] == len(store.manifest)
    files = [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert not {p.stem for p in files} & gone
    for path in files:
        content = path.read_bytes()
        assert not any(uid.encode() in content for uid in gone), path
        assert path.name == "ingest.sqlite" or patient_key.encode() not in content, path


def test_a_patient_is_erased_and_not_taken_again(
    tmp_path: Path, take: Any, leave: Any, key_file: Path
) -> None:
    assert take().num_volumes == 3
    (tmp_path / "store" / "quality.html").write_text("pictures")
    manifest = open_store(tmp_path / "store").manifest
    patient_key = load_key(key_file).hmac("patient", "", "", "Anna")
    gone = set(manifest.loc[manifest["patient_key"] == patient_key, "volume_uid"])
    result = leave(linkage=tmp_path / "links.parquet")
    assert (result.patient_key, result.volumes, result.masks) == (patient_key, 2, 2)
    assert result.rejected == 1  # the blank scan was the patient's too
    assert not (tmp_path / "store" / "quality.html").exists()
    erased(tmp_path, gone, patient_key)
    links = pd.read_parquet(tmp_path / "links.parquet")
    assert set(links["volume_uid"]) & gone == set()
    assert not links["source"].str.contains("case_[013]").any()
    again = take()
    assert again.num_volumes == 1
    assert again.rejected == {"PATIENT_WITHDRAWN": 3}
    erased(tmp_path, gone, patient_key)
    assert take().run.units_read == 0


def test_scans_stay_out_when_the_cases_file_no_longer_names_the_patient(
    tmp_path: Path, take: Any, leave: Any
) -> None:
    take()
    leave()
    (tmp_path / "cases.csv").write_text("image,patient\ncase_2,Otto\n")
    (tmp_path / "archive" / "images" / "case_0.nii.gz").rename(tmp_path / "archive" / "x.nii.gz")
    assert take().num_volumes == 1


def test_a_patient_key_needs_no_secret(tmp_path: Path, take: Any, leave: Any) -> None:
    take()
    key = open_store(tmp_path / "store").manifest["patient_key"].mode()[0]
    assert leave(key, key_file=None).volumes == 2
    again = leave(key, key_file=None)
    assert again.was_done
    assert again.lines()[-1].count("erased before") == 1


def test_who_is_not_there_is_told_without_a_name(
    tmp_path: Path, take: Any, leave: Any, key_file: Path
) -> None:
    take(site="ward")
    with pytest.raises(ConfigError, match=r"under site \(none\).*the store holds ward") as caught:
        leave("Anna")
    assert "Anna" not in str(caught.value)
    with pytest.raises(ConfigError, match="knows no such patient"):
        leave("f" * 32)
    assert leave("Anna", site="ward").volumes == 2
    (tmp_path / "other").write_bytes(b"k" * 64)
    (tmp_path / "other").chmod(0o600)
    with pytest.raises(StoreError, match="made under key"):
        leave("Otto", site="ward", key_file=tmp_path / "other")
    with pytest.raises(ConfigError, match="there is no"):
        leave("Otto", site="ward", runs=(tmp_path / "nowhere",))


@pytest.mark.parametrize("at", ["refresh_counts", "sightings", "write_atomically"])
def test_killed_half_way_the_same_command_finishes(
    tmp_path: Path, take: Any, leave: Any, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    take()
    manifest = open_store(tmp_path / "store").manifest
    key = manifest["patient_key"].mode()[0]
    gone = set(manifest.loc[manifest["patient_key"] == key, "volume_uid"])

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, at, dies)
    with pytest.raises(KeyboardInterrupt):
        leave()
    monkeypatch.undo()
    leave()
    erased(tmp_path, gone, key)
    assert (tmp_path / "list.csv").is_file()


# --- runs ---------------------------------------------------------------------------------------


def made_up_run(folder: Path, stage: str, config: str = "", **tables: Any) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"# {stage}\nseed: 0\n{config}")
    (folder / "checkpoints" / "encoder.safetensors").write_bytes(b"w")
    for name, rows in tables.items():
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    return folder


def test_runs_that_saw_the_patient_are_listed_with_their_weights(
    tmp_path: Path, take: Any, leave: Any
) -> None:
    take()
    manifest = open_store(tmp_path / "store").manifest
    rows = manifest[["volume_uid", "patient_key"]]
    anna = rows["patient_key"] == rows["patient_key"].mode()[0]
    runs = tmp_path / "runs"
    made_up_run(runs / "a" / "pre", "pretrain", volumes=rows)
    made_up_run(runs / "other", "pretrain", volumes=rows[~anna])
    made_up_run(runs / "tuned", "finetune", "init: a/pre\n", cases=rows[~anna].assign(split="val"))
    deeper = str(runs / "tuned" / "checkpoints" / "encoder.safetensors")
    made_up_run(runs / "again", "finetune", f"init: {deeper}\n", cases=rows.assign(split="test"))
    made_up_run(runs / "apart", "finetune", "init: other\n")
    result = leave()
    told = {one.run.name: (one.stage, one.how, one.volumes) for one in result.seen}
    assert told == {
        "pre": ("pretrain", "trained on", 2),
        "tuned": ("finetune", f"started from {_here(runs / 'a' / 'pre')}", 0),
        "again": ("finetune", f"tested on; started from {_here(runs / 'tuned')}", 2),
    }
    assert all(one.weights == (one.run / "checkpoints/encoder.safetensors",) for one in result.seen)
    listed = pd.read_csv(tmp_path / "list.csv")
    assert sorted(listed["stage"]) == ["finetune", "finetune", "pretrain"]
    assert "3 runs saw the scans" in result.lines()[-1]


def test_the_command(tmp_path: Path, take: Any, key_file: Path) -> None:
    take()
    command = [sys.executable, "-m", "medssl", "withdraw", str(tmp_path / "store"), "Anna"]
    done = subprocess.run(
        [*command, "--key-file", str(key_file)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 volumes, 2 masks" in done.stdout.splitlines()[-1]
    assert "Anna" not in done.stdout + done.stderr
    (listed,) = tmp_path.glob("withdrawn-*.csv")
    assert listed.name in done.stdout.splitlines()[-1]
    about = json.loads((tmp_path / "store" / "store.json").read_text())
    assert about["counts"]["patients"] == 1
    shutil.rmtree(tmp_path / "store")
    lost = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert lost.returncode == 2
    assert "no store" in lost.stderr


def _here(path: Path) -> str:
    import os

    return os.path.relpath(path.resolve())
