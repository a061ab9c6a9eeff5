"""Opening and reading a store, and the errors of one that cannot be opened."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medssl.errors import StoreError
from medssl.store import open_store
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

UID = "0f" * 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of one volume with a mask, a class and a split."""
    root = tmp_path / "store"
    create_store(root, "key1", {})
    rng = np.random.default_rng(0)
    stored = rng.integers(-50, 50, (4, 5, 6)).astype(np.int16)
    affine = np.diag([-2.0, 1, 1, 1])
    write_voxels(root / volume_path(UID), stored)
    write_voxels(root / volume_path(UID, "labels"), (stored > 0).astype(np.uint8))
    volume = Volume(stored.astype("f4"), affine, "MR")
    row = {
        "volume_uid": UID,
        "patient_key": "p",
        "modality": "MR",
        "units": "arbitrary",
        "path": volume_path(UID),
        **describe_values(volume),
        **geometry_columns(volume),
    }
    write_part(root, "manifest", "00000", [row])
    label = {"volume_uid": UID, "patient_key": "p"}
    rows = [
        {**label, "name": "malignant", "kind": "class", "value": "1"},
        {**label, "name": "mask", "kind": "mask", "path": volume_path(UID, "labels")},
        {**label, "name": "split", "kind": "split", "value": "test"},
    ]
    write_part(root, "labels", "00000", rows)
    return root


def test_reads_back_volume_patch_and_labels(folder: Path) -> None:
    store = open_store(folder)
    volume = store.read(UID)
    patch = store.patch(UID, ((1, 3), (0, 5), (2, 4)))
    assert np.array_equal(patch.voxels, volume.voxels[1:3, :, 2:4])
    assert np.array_equal(patch.affine, volume.crop(((1, 3), (0, 5), (2, 4))).affine)
    assert np.array_equal(store.read_label(UID).voxels, (volume.voxels > 0).astype("u1"))
    assert store.class_labels("malignant").to_dict() == {UID: "1"}
    assert store.split_labels().to_dict() == {UID: "test"}
    assert store.rejected.empty


def test_unknown_names_are_clear_errors(folder: Path) -> None:
    store = open_store(folder)
    with pytest.raises(StoreError, match="there are: malignant"):
        store.class_labels("benign")
    with pytest.raises(StoreError, match="no volume"):
        store.read("00")
    with pytest.raises(StoreError, match="no mask named liver"):
        store.read_label(UID, "liver")


def test_what_is_no_store_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(StoreError, match="medssl ingest"):
        open_store(tmp_path / "nowhere")
    about = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**about, "schema_version": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        open_store(folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        open_store(folder)


def test_store_of_another_key_or_a_foreign_folder_is_not_written_to(
    tmp_path: Path, folder: Path
) -> None:
    with pytest.raises(StoreError, match="made under key key1"):
        create_store(folder, "key2", {})
    create_store(folder, "key1", {})
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("x")
    with pytest.raises(StoreError, match="not empty"):
        create_store(foreign, "key1", {})


def test_damaged_part_is_named_by_folder(folder: Path) -> None:
    (folder / "manifest" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="manifest"):
        _ = open_store(folder).manifest
