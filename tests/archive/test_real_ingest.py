"""The sets of real scans, each taken whole and compared with what is read by other means."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.archive.config import IngestConfig
from medssl.archive.ingest import ingest
from medssl.archive.summary import IngestResult
from medssl.store.store import Store, open_store

pytestmark = pytest.mark.real


@pytest.fixture
def take(tmp_path: Path, key_file: Path) -> Any:
    def run(archive: Path, **settings: Any) -> tuple[IngestResult, Store, pd.Series[str]]:
        """Result, store, and the volume_uid of each source file's name."""
        linkage = tmp_path / "linkage.parquet"
        config = IngestConfig(
            archive=archive,
            store=tmp_path / "store",
            key_file=key_file,
            linkage=linkage,
            **settings,
        )
        result = ingest(config)
        links = pd.read_parquet(linkage)
        images = links[links["volume_uid"].ne("") & links["series_key"].ne("")]
        names = images["source"].map(lambda source: Path(source).name)
        return result, open_store(tmp_path / "store"), images.set_index(names)["volume_uid"]

    return run


def assert_as_nibabel(store: Store, uid: str, path: Path) -> None:
    image = nib.load(path)
    volume = store.read(uid)
    np.testing.assert_array_equal(
        volume.voxels, np.asarray(image.get_fdata(), np.float32).reshape(image.shape[:3])
    )
    np.testing.assert_array_equal(volume.affine, image.affine)


def stems(folder: Path) -> dict[str, Path]:
    return {p.name.removesuffix(".nii.gz"): p for p in folder.glob("*.nii.gz")}


def test_hippocampus(real_data: Path, take: Any) -> None:
    folder = real_data / "hippocampus"
    images, labels = stems(folder / "images"), stems(folder / "labels")
    both = images.keys() & labels.keys()
    result, store, uids = take(folder, cases=folder / "cases.csv", modality="MR")
    assert result.num_volumes == len(images)
    assert result.masks == len(both)
    assert result.rejected == {
        "IMAGE_WITHOUT_LABEL": len(images.keys() - both),
        "LABEL_WITHOUT_IMAGE": len(labels.keys() - both),
    }
    assert result.unmatched_rows == []
    for stem, path in images.items():
        assert_as_nibabel(store, uids[path.name], path)
        if stem in both:
            mask = np.asarray(nib.load(labels[stem]).dataobj)
            np.testing.assert_array_equal(store.read_label(uids[path.name]).voxels, mask)
    with (folder / "cases.csv").open() as file:
        patients = {row["patient"] for row in csv.DictReader(file)}
    assert result.patients == len(patients)
    assert set(store.manifest["group_quality"]) == {"inferred"}


def test_lung_nodules(real_data: Path, take: Any) -> None:
    folder = real_data / "lung_nodules"
    table = pd.read_csv(folder / "labels.csv", dtype=str)
    result, store, uids = take(folder, cases=folder / "labels.csv", modality="CT")
    assert result.num_volumes == len(table) == 882
    assert result.rejected == {}
    rows = table.assign(uid=[uids[f"{image}.nii.gz"] for image in table["image"]])
    patients = rows["uid"].map(store.manifest["patient_key"])
    pairs = pd.DataFrame({"exam": table["patient"], "patient": patients}).drop_duplicates()
    assert len(pairs) == table["patient"].nunique() == patients.nunique()
    malignant = store.class_labels("malignant")
    assert rows["uid"].map(malignant).tolist() == table["malignant"].tolist()
    for image in table["image"].iloc[::20]:
        path = folder / "images" / f"{image}.nii.gz"
        assert_as_nibabel(store, uids[path.name], path)


@pytest.mark.slow
def test_adrenal(real_data: Path, take: Any) -> None:
    folder = real_data / "adrenal"
    table = pd.read_csv(folder / "labels.csv", dtype=str)
    result, store, uids = take(folder, cases=folder / "labels.csv", modality="CT")
    assert result.num_volumes == len(table)
    assert result.rejected == {}
    keys = [uids[f"{image}.nii.gz"] for image in table["image"]]
    assert store.split_labels().loc[keys].tolist() == table["split"].tolist()
    assert store.class_labels("label").loc[keys].tolist() == table["label"].tolist()


def test_brain_t1_is_bids(real_data: Path, take: Any) -> None:
    folder = real_data / "brain_t1"
    result, store, uids = take(folder, cases=folder / "participants.tsv", modality="MR")
    people = pd.read_csv(folder / "participants.tsv", sep="\t").set_index("participant_id")
    assert result.num_volumes == result.patients == len(people) == 72
    assert result.rejected == {}
    assert set(store.manifest["group_quality"]) == {"patient"}
    for subject, person in people.iterrows():
        row = store.row(uids[f"{subject}_T1w.nii.gz"])
        first, last = map(int, row["age_band"].split("-"))
        assert first <= person["age"] <= last == first + 4
        assert row["sex"] == person["sex"].upper()
    path = folder / "sub-07" / "anat" / "sub-07_T1w.nii.gz"
    assert_as_nibabel(store, uids[path.name], path)


def test_ixi10_pairs_region_masks_by_their_names(real_data: Path, take: Any) -> None:
    result, store, uids = take(real_data / "ixi10", modality="MR")
    images = stems(real_data / "ixi10" / "nifti")
    assert (result.num_volumes, result.masks, result.rejected) == (10, 10, {})
    for stem, path in images.items():
        uid = uids[path.name]
        assert_as_nibabel(store, uid, path)
        mask = nib.load(real_data / "ixi10" / "dlmuse" / f"{stem}_DLMUSE.nii.gz")
        np.testing.assert_array_equal(store.read_label(uid).voxels, np.asarray(mask.dataobj))


def test_sarcoma_dicom_and_its_nifti_twins_agree(
    real_data: Path, take: Any, tmp_path: Path, key_file: Path
) -> None:
    dicom, nifti = real_data / "sarcoma" / "dicom", real_data / "sarcoma" / "nifti"
    result, store, _ = take(dicom, site="tcia")
    assert {m: n for (m, _), n in result.taken.items()} == {"CT": 8, "MR": 8, "PT": 8}
    assert result.patients == 8
    files = sum(1 for p in dicom.rglob("*") if p.is_file())
    assert result.run.files == files
    assert int(store.manifest["n_files"].sum()) + int(store.rejected["n_files"].sum()) == files
    needles = {p.name.encode() for p in dicom.iterdir()}
    written = [p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert not any(needle in content for content in written for needle in needles)

    twins = IngestConfig(archive=nifti, store=tmp_path / "twins", key_file=key_file)
    images, masks = (sorted(nifti.glob(f"*/*_{kind}.nii.gz")) for kind in ("image", "mask"))
    result = ingest(twins)
    assert result.num_volumes == result.masks == len(images)
    assert result.rejected == {"LABEL_WITHOUT_IMAGE": len(masks) - len(images)}
    both = [
        path
        for path in images
        if not path.name.startswith("PET") and (dicom / path.parent.name).is_dir()
    ]
    hashes = set(open_store(twins.store).manifest["pixel_sha256"])
    assert len(hashes & set(store.manifest["pixel_sha256"])) == len(both) >= 10
