"""The sample's own promise: each thing in it ends as expected.csv says."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.archive.config import IngestConfig
from medssl.archive.identity import make_key_file
from medssl.archive.ingest import ingest
from medssl.sample.sample import SampleResult
from medssl.store import open_store
from medssl.store.store import Store
from medssl.volume import Volume


@pytest.fixture(scope="module")
def ingested(
    small_sample: SampleResult, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, pd.DataFrame]:
    work = tmp_path_factory.mktemp("ingested")
    make_key_file(work / "secret.key")
    ingest(
        IngestConfig(
            archive=small_sample.archive,
            store=work / "store",
            cases=small_sample.cases,
            linkage=work / "linkage.parquet",
            key_file=work / "secret.key",
            workers=1,
        )
    )
    linkage = pd.read_parquet(work / "linkage.parquet").fillna("")
    linkage["where"] = [
        Path(source).relative_to(small_sample.archive).as_posix() for source in linkage["source"]
    ]
    return open_store(work / "store"), linkage


def test_everything_ends_as_expected(
    small_sample: SampleResult, ingested: tuple[Store, pd.DataFrame]
) -> None:
    expected = pd.read_csv(small_sample.expected, dtype=str, keep_default_na=False)
    _, linkage = ingested

    def ends(where: pd.Series, key: pd.Series, outcome: pd.Series, code: pd.Series) -> list[str]:  # type: ignore[type-arg]
        return sorted("|".join(parts) for parts in zip(where, key, outcome, code, strict=True))

    promised = expected[(expected["end"] != "IGNORED") & (expected["kind"] != "label")].copy()
    promised["end"] = promised["end"].where(
        promised["end"].isin(["EXACT", "CORRECTED"]), "REJECTED"
    )
    promised.loc[promised["kind"] != "series", "key"] = ""
    found = linkage[linkage["where"].isin(promised["where"])].copy()
    in_a_series = found["where"].isin(promised.loc[promised["kind"] == "series", "where"])
    found["key"] = found["series_uid"].where(in_a_series, "")
    assert ends(found["where"], found["key"], found["outcome"], found["reason_code"]) == ends(
        promised["where"], promised["key"], promised["end"], promised["reason"]
    )


def test_voxels_come_back_equal_in_the_same_place(
    small_sample: SampleResult, ingested: tuple[Store, pd.DataFrame]
) -> None:
    expected = pd.read_csv(small_sample.expected, dtype=str, keep_default_na=False)
    store, linkage = ingested
    uid_of = {
        (row.where, key): row.volume_uid
        for row in linkage[linkage["volume_uid"] != ""].itertuples()
        for key in {row.series_uid, Path(row.where).name.removesuffix(".nii.gz")}
    }
    compared = 0
    for row in expected[expected["truth"] != ""].itertuples():
        if row.kind == "label":
            continue
        uid = uid_of[row.where, row.key]
        truth = nib.load(small_sample.archive.parent / row.truth)
        right = Volume(np.asarray(truth.dataobj, np.float32), truth.affine).to_ras()
        read = store.read(uid).to_ras()
        np.testing.assert_array_equal(read.voxels, right.voxels)
        np.testing.assert_allclose(read.corners_mm(), right.corners_mm(), atol=0.01)
        compared += 1
        if row.kind == "image":
            name = row.where.replace("images", "labels")
            mask = nib.load(small_sample.archive / name)
            organs = Volume(np.asarray(mask.dataobj), mask.affine).to_ras()
            np.testing.assert_array_equal(store.read_label(uid).to_ras().voxels, organs.voxels)
    assert compared == len(store.manifest)


def test_a_patient_is_one_patient_in_dicom_and_nifti(
    ingested: tuple[Store, pd.DataFrame],
) -> None:
    store, _ = ingested
    assert store.manifest["patient_key"].nunique() == 6
    assert (store.manifest["group_quality"] == "patient").all()
    assert sorted(store.class_labels("lesion").value_counts().items()) == [("0", 3), ("1", 3)]


def test_no_needle_is_in_the_store(
    small_sample: SampleResult, ingested: tuple[Store, pd.DataFrame]
) -> None:
    store, _ = ingested
    needles = [
        n.encode() for n in small_sample.needles.read_text(encoding="utf-8").split("\n") if n
    ]
    for path in store.root.rglob("*"):
        name = path.relative_to(store.root).as_posix().encode()
        content = path.read_bytes() if path.is_file() else b""
        for needle in needles:
            assert needle not in name
            assert needle not in content
