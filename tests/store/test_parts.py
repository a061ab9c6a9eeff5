"""Tables in parts: few columns of many rows, one row of many, parts that replace others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from medssl.errors import StoreError
from medssl.store import lookup, open_store
from medssl.store.parts import merged, part_files, read_columns, write_tables
from medssl.store.writer import create_store, write_part

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of twelve rows in three parts, in no order."""
    root = tmp_path / "store"
    create_store(root, "key", {})
    for part in range(3):
        rows = [
            {
                "volume_uid": f"{(7 * (4 * part + n)) % 12:032x}",
                "patient_key": f"p{n}",
                "shape_0": n,
            }
            for n in range(4)
        ]
        write_part(root, "manifest", f"part-{part + 1:08d}", rows)
    return root


def test_columns_are_those_of_the_manifest(folder: Path) -> None:
    store = open_store(folder)
    some = store.columns("patient_key", "shape_0")
    assert isinstance(some["patient_key"].dtype, pd.CategoricalDtype)
    plain = some.astype({"patient_key": "str"})
    pd.testing.assert_frame_equal(plain, store.manifest[["patient_key", "shape_0"]])
    assert store.columns("volume_uid", "path").columns.tolist() == ["volume_uid", "path"]
    assert store.columns("modality")["modality"].isna().all()


def test_a_store_without_rows_has_columns(tmp_path: Path) -> None:
    create_store(tmp_path / "store", "key", {})
    assert open_store(tmp_path / "store").columns("patient_key").empty


def test_one_row_of_a_large_store_is_read_without_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = open_store(folder).manifest
    monkeypatch.setattr(lookup, "_LARGE_ROWS", 10)
    store = open_store(folder)
    for uid in expected.index:
        assert store.row(uid)["patient_key"] == expected.loc[uid, "patient_key"]
    assert "manifest" not in vars(store)
    for wrong in ("0" * 31, "f" * 32, ""):
        with pytest.raises(StoreError, match="no volume"):
            store.row(wrong)


def test_a_part_that_replaces_others_counts_alone(folder: Path) -> None:
    before = open_store(folder).manifest
    olds = [path.stem for path in part_files(folder, "manifest")]
    tables = merged(folder, "manifest", olds)
    assert write_tables(folder, "manifest", "part-00000009", tables, replaces=olds) == 12
    assert len(list((folder / "manifest").iterdir())) == 4
    assert [path.stem for path in part_files(folder, "manifest")] == ["part-00000009"]
    pd.testing.assert_frame_equal(open_store(folder).manifest, before)
    assert read_columns(folder, "manifest", ["patient_key"]).num_rows == 12
    (folder / "manifest" / "part-00000009.parquet").unlink()
    pd.testing.assert_frame_equal(open_store(folder).manifest, before)


def test_a_damaged_part_is_told(folder: Path) -> None:
    (folder / "manifest" / "part-00000002.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match="manifest: a part file is damaged"):
        open_store(folder).columns("patient_key")


@pytest.mark.slow
def test_a_million_rows_are_split_within_600_megabytes(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "manifest.py"), "--rows", "1000000"]
    command += ["--parts", "10", "--folder", str(tmp_path / "store")]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    told = json.loads(output.splitlines()[-1])
    assert told["split"]["rows"] == 1_000_000
    for step in ("split", "lookup"):
        assert told[step]["above_start_mb"] < 600, told[step]
        assert told[step]["seconds"] < 60, told[step]
