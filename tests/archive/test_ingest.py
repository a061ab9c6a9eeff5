"""From an archive to a store and back, with everything that can go wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.archive import ingest as module
from medssl.archive import journal as journal_module
from medssl.archive import worker as worker_module
from medssl.archive.config import IngestConfig
from medssl.archive.identity import load_key, make_key_file
from medssl.archive.ingest import ingest
from medssl.archive.summary import IngestResult
from medssl.errors import ConfigError, KeyFileError, StoreError
from medssl.store.find_body import find_body
from medssl.store.store import Store, open_store
from medssl.store.voxels import Rescale
from medssl.volume import Volume

Take = Callable[..., IngestResult]


@pytest.fixture
def take(tmp_path: Path, key_file: Path) -> Take:
    """Ingest tmp/archive into tmp/store."""

    def run(**settings: Any) -> IngestResult:
        values = {
            "archive": tmp_path / "archive",
            "store": tmp_path / "store",
            "key_file": key_file,
            "workers": 1,
            **settings,
        }
        return ingest(IngestConfig.model_validate(values))

    return run


@pytest.fixture
def archive(tmp_path: Path, write_nifti: Any, scan_values: Any) -> Path:
    """Three labelled images, one of which misses its label, and a label without image."""
    root = tmp_path / "archive"
    for n in range(3):
        values = scan_values(n)
        write_nifti(root / "images" / f"case_{n:02}.nii.gz", values)
        if n < 2:
            write_nifti(root / "labels" / f"case_{n:02}.nii.gz", (values > 500).astype(np.uint8))
    write_nifti(root / "labels" / "case_77.nii.gz", (values > 500).astype(np.uint8))
    (root / "dataset.json").write_text('{"name": "x"}')
    return root


def taken(root: Path) -> Store:
    """The store at `root`, after checks that hold for every store."""
    store = open_store(root)
    uids = store.manifest["volume_uid"]
    assert uids.is_unique
    there = {p.stem for p in (root / "volumes").glob("*/*")}
    assert there == set(uids), "voxels without a row, or rows without voxels"
    masks = store.labels[store.labels["kind"] == "mask"]["volume_uid"]
    assert masks.is_unique
    assert {p.stem for p in (root / "labels").glob("*/*")} == set(masks)
    assert not [p for p in root.rglob("*") if p.name.endswith(".partial")]
    for uid in uids:
        store.read(uid)
        same_body(store, uid)
    return store


def same_body(store: Store, uid: str) -> None:
    """With the voxels lies the body mask that their own values give."""
    volume = store.read(uid)
    row = store.row(uid)
    low, high = float(row["padding_low"]), float(row["padding_high"])
    stored, rescale = store.read_stored(uid)
    held = Volume(stored, volume.affine, volume.modality, volume.units)
    expected = find_body(held, rescale, None if np.isnan(low) else (low, high))
    body = store.body(uid)
    assert body.edge == expected.edge
    np.testing.assert_array_equal(body.blocks, expected.blocks)
    np.testing.assert_array_equal(
        body.blocks.shape, [-(-n // e) for n, e in zip(stored.shape, body.edge, strict=True)]
    )


# --- what goes in comes out ---------------------------------------------------------------------


def test_pairs_are_taken_and_what_has_no_partner_is_told(
    archive: Path, take: Take, tmp_path: Path
) -> None:
    result = take(modality="MR", site="ward")
    assert result.taken == {("MR", "EXACT"): 3}
    assert result.rejected == {"IMAGE_WITHOUT_LABEL": 1, "LABEL_WITHOUT_IMAGE": 1}
    assert result.masks == 2
    assert sum(result.run.by_kind.values()) == result.run.files == 7
    store = taken(tmp_path / "store")
    assert set(store.manifest["site"]) == {"ward"}
    assert set(store.rejected["kind"]) == {"label"}
    assert store.rejected["source_key"].str.fullmatch("[0-9a-f]{32}").all()
    by_sum = {store.read(uid).voxels.sum(): uid for uid in store.manifest["volume_uid"]}
    for n in range(3):
        image = nib.load(archive / "images" / f"case_{n:02}.nii.gz")
        values = np.asarray(image.get_fdata(), dtype=np.float32)
        uid = by_sum[values.sum()]
        volume = store.read(uid)
        np.testing.assert_array_equal(volume.voxels, values)
        np.testing.assert_array_equal(volume.affine, image.affine)
        if n < 2:
            np.testing.assert_array_equal(store.read_label(uid).voxels, values > 500)
    assert store.about["counts"] == {"volumes": 3, "patients": 3, "masks": 2, "rejected": 2}


def test_the_cases_file_says_what_files_cannot(archive: Path, take: Take, tmp_path: Path) -> None:
    cases = tmp_path / "cases.csv"
    cases.write_text(
        "image,patient,modality,units,age,sex,contrast,split,malignant\n"
        "case_00,Anna,CT,HU,93,F,,train,1\n"
        "case_01,Anna,MR,,42.5,F,T1,train,0\n"
        "case_55,Otto,MR,,42,M,,test,0\n"
    )
    result = take(cases=cases)
    assert result.unmatched_rows == [4]
    assert result.classes == {"malignant": {"0": 1, "1": 1}}
    store = taken(tmp_path / "store")
    rows = store.manifest.set_index("modality")
    assert rows.loc["CT", ["units", "age_band", "sex", "group_quality"]].tolist() == [
        "HU", "90+", "F", "patient"
    ]  # fmt: skip
    assert rows.loc["MR", ["units", "age_band", "contrast"]].tolist() == [
        "arbitrary", "40-44", "T1"
    ]  # fmt: skip
    assert rows.loc["CT", "patient_key"] == rows.loc["MR", "patient_key"]
    assert rows.loc["OT", "group_quality"] == "scan"
    malignant = store.class_labels("malignant")
    assert malignant[rows.loc["CT", "volume_uid"]] == "1"
    assert set(store.split_labels()) == {"train"}


def test_a_bids_subject_is_a_patient(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    for n, name in enumerate(["sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_T1w"]):
        folder = tmp_path / "archive" / name.split("_")[0] / "anat"
        write_nifti(folder / f"{name}.nii.gz", scan_values(n))
    take()
    manifest = taken(tmp_path / "store").manifest
    assert sorted(manifest["patient_key"].value_counts()) == [1, 2]
    assert set(manifest["group_quality"]) == {"patient"}
    assert set(manifest["contrast"]) == {"T1"}


def test_what_is_not_finite_is_counted_in_the_manifest(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    values = scan_values(0).astype(np.float32) + 0.25
    values[2, 3, :4] = np.nan
    write_nifti(tmp_path / "archive" / "a.nii.gz", values)
    take()
    (row,) = taken(tmp_path / "store").manifest.to_dict("records")
    assert (row["masked_voxels"], row["corrections"], row["contrast"]) == (4, "NAN_MASKED", "")


def test_sites_and_keys_keep_patients_apart(archive: Path, take: Take, tmp_path: Path) -> None:
    cases = tmp_path / "cases.csv"
    cases.write_text("image,patient\ncase_*,Anna\n")
    make_key_file(tmp_path / "other_key")
    seen = set()
    for n, settings in enumerate(
        [{"site": "a"}, {"site": "b"}, {"key_file": tmp_path / "other_key"}]
    ):
        take(cases=cases, store=tmp_path / f"s{n}", **settings)
        (patient,) = set(open_store(tmp_path / f"s{n}").manifest["patient_key"])
        seen.add(patient)
    assert len(seen) == 3


def test_a_mask_on_another_grid_is_fitted_or_refused(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    root, affine = tmp_path / "archive", np.diag([2.0, 1.5, 3.0, 1.0])
    mask = (scan_values(0) > 400).astype(np.uint8)
    for n in range(4):
        write_nifti(root / "images" / f"c{n}.nii", scan_values(n), affine)
    flipped = affine.copy()
    flipped[0] = [-2.0, 0, 0, 2.0 * (mask.shape[0] - 1)]
    write_nifti(root / "labels" / "c0.nii", mask[::-1], flipped)
    away = affine.copy()
    away[0, 3] = 500
    write_nifti(root / "labels" / "c1.nii", mask, away)
    write_nifti(root / "labels" / "c2.nii", mask * 0.5, affine)
    write_nifti(root / "labels" / "c3.nii", mask, affine + 1e-5 * np.eye(4))
    result = take()
    assert result.rejected == {"LABEL_GRID_MISMATCH": 1, "LABEL_NOT_INTEGER": 1}
    store = taken(tmp_path / "store")
    labels = store.labels.set_index("volume_uid")
    assert sorted(labels["corrections"]) == ["", "LABEL_RESAMPLED"]
    for uid in labels.index:
        np.testing.assert_array_equal(store.read_label(uid).voxels, mask)


def test_masks_never_become_images_silently(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    root = tmp_path / "archive"
    mask = (scan_values(0) > 400).astype(np.uint8)
    write_nifti(root / "raw" / "P0123.nii.gz", scan_values(0))
    write_nifti(root / "regions" / "P0123_ATLAS.nii.gz", mask)
    write_nifti(root / "raw" / "shape.nii.gz", mask + mask[::-1])
    result = take()
    assert result.masks == 1
    assert result.num_volumes == 2
    assert result.rejected == {"IMAGE_LOOKS_LIKE_LABEL": 1, "IMAGE_WITHOUT_LABEL": 1}
    assert take().run.units_read == 0
    cases = tmp_path / "cases.csv"
    cases.write_text("image,label\nshape,1\n")
    assert "IMAGE_LOOKS_LIKE_LABEL" not in take(cases=cases).rejected


def test_what_cannot_be_taken_is_named(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    root = tmp_path / "archive"
    values = scan_values(0)
    write_nifti(root / "constant.nii", np.full((4, 5, 6), 7, np.int16))
    write_nifti(root / "good.nii", values)
    whole = write_nifti(root / "cut.nii.gz", scan_values(1)).read_bytes()
    (root / "cut.nii.gz").write_bytes(whole[:-100])
    write_nifti(root / "hu.nii", np.where(values > 0, 20000, -20000).astype(np.int32))
    (root / "empty.dcm").write_bytes(b"")
    (root / "packed.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    (root / "noise").write_bytes(bytes(range(255, 0, -1)))
    cases = tmp_path / "cases.csv"
    cases.write_text("image,modality,units\nhu,CT,HU\n")
    result = take(cases=cases)
    assert result.rejected == {
        "CONSTANT_VOLUME": 1,
        "NIFTI_TRUNCATED": 1,
        "CT_OUT_OF_RANGE": 1,
        "EMPTY_FILE": 1,
        "ARCHIVE_FILE": 1,
        "UNKNOWN_FORMAT": 1,
    }
    assert result.num_volumes == 1
    assert any("CONSTANT_VOLUME 1: Every voxel" in line for line in result.lines())
    again = take(cases=cases)
    assert again.rejected == result.rejected
    taken(tmp_path / "store")


def test_a_time_series_becomes_a_volume_for_each_time(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    values = scan_values(0, (8, 9, 7, 3))
    values[..., 1] = 5
    write_nifti(tmp_path / "archive" / "x.nii", values)
    result = take()
    assert result.num_volumes == 2
    assert result.rejected == {"CONSTANT_VOLUME": 1}
    manifest = taken(tmp_path / "store").manifest
    assert manifest["series_key"].nunique() == manifest["patient_key"].nunique() == 1


# --- again, and after a kill ----------------------------------------------------------------------


def test_a_second_run_reads_only_what_is_new_or_changed(
    archive: Path, take: Take, tmp_path: Path, write_nifti: Any, scan_values: Any
) -> None:
    assert take().run.units_read == 3
    before = taken(tmp_path / "store").manifest
    assert take().run.units_read == 0
    pd.testing.assert_frame_equal(taken(tmp_path / "store").manifest, before)
    write_nifti(archive / "images" / "case_03.nii.gz", scan_values(3))
    assert take().run.units_read == 1
    write_nifti(archive / "images" / "case_00.nii.gz", scan_values(33))
    result = take()
    assert result.run.units_read == 1
    assert result.num_volumes == 4
    store = taken(tmp_path / "store")
    assert len(set(before["volume_uid"]) & set(store.manifest["volume_uid"])) == 2
    assert take(modality="MR").run.units_read == 4
    assert set(taken(tmp_path / "store").manifest["modality"]) == {"MR"}


def test_a_label_that_comes_late_is_taken(
    archive: Path, take: Take, tmp_path: Path, write_nifti: Any, scan_values: Any
) -> None:
    take()
    write_nifti(archive / "labels" / "case_02.nii.gz", (scan_values(2) > 500).astype(np.uint8))
    (archive / "labels" / "case_77.nii.gz").rename(archive / "labels" / "case_00.nii.gz")
    result = take()
    assert result.run.units_read == 2
    assert result.masks == 3
    assert result.num_volumes == 3
    assert result.rejected == {"LABEL_WITHOUT_IMAGE": 1}, "the vanished file is still told of"
    taken(tmp_path / "store")


def test_a_moved_archive_gives_the_same_volumes(archive: Path, take: Take, tmp_path: Path) -> None:
    take()
    before = taken(tmp_path / "store").manifest
    archive.rename(tmp_path / "moved")
    take(archive=tmp_path / "moved")
    after = taken(tmp_path / "store").manifest
    pd.testing.assert_frame_equal(after, before)


def test_two_archives_with_the_same_names_do_not_meet(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    for n, place in enumerate(["archive", "second"]):
        write_nifti(tmp_path / place / "scan.nii", scan_values(n))
    take()
    take(archive=tmp_path / "second")
    manifest = taken(tmp_path / "store").manifest
    assert len(manifest) == manifest["patient_key"].nunique() == 2


_KILLED = """
import sys
from pathlib import Path
from medssl.archive import ingest as module
from medssl.archive.config import IngestConfig
module._COMMIT_UNITS = 4
archive, store, key, linkage = map(Path, sys.argv[1:])
module.ingest(IngestConfig(archive=archive, store=store, key_file=key, workers=2, linkage=linkage))
"""


def test_killed_again_and_again_nothing_is_lost_or_doubled(
    tmp_path: Path, key_file: Path, write_nifti: Any, scan_values: Any, take: Take
) -> None:
    root, store, linkage = tmp_path / "archive", tmp_path / "store", tmp_path / "link.parquet"
    for n in range(50):
        write_nifti(root / "images" / f"c{n:03}.nii.gz", scan_values(n))
        if n % 2:
            mask = (scan_values(n) > 500).astype(np.uint8)
            write_nifti(root / "labels" / f"c{n:03}.nii.gz", mask)
    command = [sys.executable, "-c", _KILLED, *map(str, (root, store, key_file, linkage))]
    kills = 0
    for parts in (1, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            if len(list(store.glob("manifest/*.parquet"))) >= parts:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.wait()
    assert kills == 2
    result = take(linkage=linkage)
    assert 0 < result.run.units_read < 50
    assert result.num_volumes == 50
    assert result.masks == 25
    resumed = taken(store).manifest
    take(store=tmp_path / "at_once")
    pd.testing.assert_frame_equal(resumed, taken(tmp_path / "at_once").manifest)
    links = pd.read_parquet(linkage)
    assert sorted(set(links["volume_uid"]) - {""}) == sorted(resumed["volume_uid"])


def test_a_full_disk_is_told_and_leaves_nothing_behind(
    archive: Path, take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "write_part", full)
        with pytest.raises(OSError, match="No space") as caught:
            take()
    assert caught.value.errno == errno.ENOSPC
    assert open_store(tmp_path / "store").manifest.empty
    assert take().num_volumes == 3
    taken(tmp_path / "store")


def test_a_full_disk_is_known_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("Error while creating the NDArray")

    monkeypatch.setattr(worker_module, "write_voxels", fails)
    values = np.zeros((4, 4, 4), np.int16)
    with pytest.raises(RuntimeError):
        worker_module._write(tmp_path, "x", values, Rescale())
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="No space"):
        worker_module._write(tmp_path, "x", values, Rescale())


# --- identity -------------------------------------------------------------------------------------

NEEDLES = ["Mustermann", "MRN5551234", "19470803", "Charite", "hidden remark", "wardseven"]


def test_no_byte_and_no_name_in_the_store_identifies_anybody(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take, capfd: Any
) -> None:
    root = tmp_path / "archive" / "Charite" / "Mustermann^Max_19470803"
    image = nib.Nifti1Image(scan_values(1), np.eye(4))
    image.header["descrip"] = b"Mustermann MRN5551234"
    image.header["db_name"] = b"19470803"
    image.header["aux_file"] = b"hidden remark"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Charite hidden remark"))
    root.mkdir(parents=True)
    nib.save(image, root / "Mustermann_MRN5551234.nii.gz")
    mask = (scan_values(1) > 500).astype(np.uint8)
    write_nifti(root / "Mustermann_MRN5551234_mask.nii.gz", mask, np.eye(4))
    write_nifti(root / "wardseven_mask.nii.gz", mask, np.eye(4))
    (root / "MRN5551234.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"Mustermann 19470803" * 30)
    (root / "notes.txt").write_text("Mustermann hidden remark")
    (root / "cut_Mustermann.nii").write_bytes(b"Mustermann")
    cases = tmp_path / "Mustermann.csv"
    cases.write_text("file,patient,grade\n*MRN5551234.nii.gz,MRN5551234,2\nMustermann2,MRN9,1\n")
    linkage = tmp_path / "link.parquet"
    result = take(cases=cases, linkage=linkage)
    store = tmp_path / "store"
    assert result.num_volumes == 1
    assert result.masks == 1
    assert result.num_rejected >= 3
    taken(store)
    told = "\n".join(result.lines()) + "".join(capfd.readouterr())
    texts = {n: form for n in NEEDLES for form in (n, n.lower(), n.upper())}
    spread = [n.encode("utf-16-le") for n in NEEDLES] + [
        n.encode() for n in [*NEEDLES, *texts.values()]
    ]
    for path in [store, *store.rglob("*")]:
        assert not any(n in str(path.relative_to(tmp_path)) for n in NEEDLES)
        if path.is_file():
            content = path.read_bytes()
            assert not any(needle in content for needle in spread), path.name
    assert not any(n in told for n in NEEDLES)
    assert str(tmp_path / "archive").encode() not in b"".join(
        p.read_bytes() for p in store.rglob("*") if p.is_file()
    )
    links = pd.read_parquet(linkage)
    assert stat.S_IMODE(linkage.stat().st_mode) == 0o600
    assert links["source"].str.contains("Mustermann_MRN5551234.nii.gz").any()
    assert set(open_store(store).manifest["volume_uid"]) <= set(links["volume_uid"])


def test_the_linkage_file_covers_what_earlier_runs_took(
    archive: Path, take: Take, tmp_path: Path, write_nifti: Any, scan_values: Any
) -> None:
    linkage = tmp_path / "out" / "link.parquet"
    take()
    assert take(linkage=linkage).run.units_read == 3
    write_nifti(archive / "images" / "case_03.nii.gz", scan_values(3))
    assert take(linkage=linkage).run.units_read == 1
    links = pd.read_parquet(linkage)
    images = links[links["volume_uid"].ne("") & links["series_key"].ne("")]
    assert set(images["volume_uid"]) == set(open_store(tmp_path / "store").manifest["volume_uid"])
    assert [p.name for p in linkage.parent.iterdir()] == ["link.parquet"]
    (tmp_path / "text.parquet").write_text("not a table")
    with pytest.raises(ConfigError, match="no linkage file"):
        take(linkage=tmp_path / "text.parquet")


# --- what is refused before anything is written ---------------------------------------------------


def test_faults_of_the_set_up_are_told_and_leave_nothing(
    archive: Path, take: Take, tmp_path: Path, key_file: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "readme.txt").write_text("no scans here")
    (tmp_path / "bad.csv").write_text("patient\nx\n")
    inside = tmp_path / "store" / "key"
    faults: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (KeyFileError, "medssl keygen", {"key_file": tmp_path / "no_key"}),
        (ConfigError, "no archive", {"archive": tmp_path / "missing"}),
        (ConfigError, "holds no DICOM and no NIfTI", {"archive": tmp_path / "nothing"}),
        (ConfigError, "one inside the other", {"store": archive / "store"}),
        (ConfigError, "one inside the other", {"store": tmp_path}),
        (ConfigError, "must not lie in the store", {"linkage": tmp_path / "store" / "l.parquet"}),
        (ConfigError, "no column says", {"cases": tmp_path / "bad.csv"}),
        (ConfigError, "no cases file", {"cases": tmp_path / "none.csv"}),
    ]
    for kind, text, settings in faults:
        with pytest.raises(kind, match=text):
            take(**settings)
        assert not (tmp_path / "store").exists()
    inside.parent.mkdir()
    shutil.copy(key_file, inside)
    with pytest.raises(ConfigError, match="key file must not lie in the store"):
        take(key_file=inside)


def test_a_store_of_another_key_or_a_strange_folder_is_refused(
    archive: Path, take: Take, tmp_path: Path
) -> None:
    take()
    make_key_file(tmp_path / "other")
    with pytest.raises(StoreError, match="was made under key"):
        take(key_file=tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    with pytest.raises(StoreError, match="not empty and not a store"):
        take(store=tmp_path / "full")


def test_one_file_alone_can_be_an_archive(archive: Path, take: Take, tmp_path: Path) -> None:
    assert take(archive=archive / "images" / "case_00.nii.gz").num_volumes == 1
    taken(tmp_path / "store")


# --- keys ---------------------------------------------------------------------------------------


def test_keys_are_the_documented_hashes(
    tmp_path: Path, write_nifti: Any, scan_values: Any, take: Take, key_file: Path
) -> None:
    write_nifti(tmp_path / "archive" / "a.nii", scan_values(0))
    cases = tmp_path / "cases.csv"
    cases.write_text("image,patient\na,Anna\n")
    take(cases=cases, site="s")
    (row,) = open_store(tmp_path / "store").manifest.to_dict("records")
    assert row["patient_key"] == load_key(key_file).hmac("patient", "s", "", "Anna")


def test_the_command_line_ends_as_it_should(
    archive: Path, tmp_path: Path, key_file: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from medssl.cli.ingest import ingest as command
    from medssl.cli.keygen import keygen
    from medssl.errors import MedsslError

    app = typer.Typer()
    app.command("ingest")(command)
    app.command("keygen")(keygen)

    def call(*words: str) -> int:
        try:
            app([*words], standalone_mode=False)
        except MedsslError as error:
            return error.exit_code
        return 0

    store = tmp_path / "s"
    words = ["ingest", str(archive), "--out", str(store), "--workers", "1"]
    monkeypatch.setenv("MEDSSL_KEY_FILE", str(tmp_path / "no_key"))
    assert call(*words) == 2
    monkeypatch.setenv("MEDSSL_KEY_FILE", str(key_file))
    assert call(*words, "--modality", "XR") == 2
    assert not store.exists()
    smoke = Path(__file__).resolve().parents[2] / "configs" / "ingest" / "smoke.yaml"
    assert call(*words, "--config", str(smoke)) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert str(store) in last
    assert "next: medssl" in last
    assert call(*words, "--strict") == 1
    assert call("keygen", str(tmp_path / "fresh")) == 0
    assert call("keygen", str(tmp_path / "fresh")) == 2


def test_the_store_says_under_which_policy_it_was_begun(
    archive: Path, take: Take, tmp_path: Path
) -> None:
    take()
    about = json.loads((tmp_path / "store" / "store.json").read_text())
    assert about["policy"] == {"use_issuer": False, "max_voxels": 2**30}
    assert os.fspath(tmp_path) not in json.dumps(about)


def test_volumes_in_the_store_are_volumes(archive: Path, take: Take, tmp_path: Path) -> None:
    take()
    store = taken(tmp_path / "store")
    for uid in store.manifest["volume_uid"]:
        volume = store.read(uid)
        assert isinstance(volume, Volume)
        np.testing.assert_allclose(volume.spacing_mm, [2.0, 1.5, 3.0])


def test_workers_default_to_the_cores_there_are(archive: Path) -> None:
    config = IngestConfig(archive=archive, store=archive)
    assert 1 <= module.num_workers(config) <= 4
