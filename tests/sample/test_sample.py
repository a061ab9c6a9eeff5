from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from medssl.errors import ConfigError
from medssl.sample.sample import SampleResult, write_sample


def read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_the_same_seed_gives_the_same_bytes(small_sample: SampleResult, tmp_path: Path) -> None:
    again = write_sample(tmp_path / "again", patients=6, seed=3)

    def digests(root: Path) -> dict[str, str]:
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    assert digests(again.archive.parent) == digests(small_sample.archive.parent)


def test_every_series_holds_its_true_voxels_in_their_place(small_sample: SampleResult) -> None:
    expected = read_table(small_sample.expected)
    taken = expected[(expected["kind"] == "series") & expected["end"].isin(["EXACT", "CORRECTED"])]
    by_series: dict[str, dict[str, pydicom.Dataset]] = {}
    for path in small_sample.archive.rglob("*"):
        if path.is_file() and "incoming" not in path.parts and path.suffix != ".gz":
            ds = pydicom.dcmread(path, force=True)
            by_series.setdefault(ds.SeriesInstanceUID, {})[ds.SOPInstanceUID] = ds
    assert set(by_series) == set(taken["key"])
    syntaxes = set()
    for row in taken.itertuples():
        truth = nib.load(small_sample.archive.parent / row.truth)
        voxels = np.asarray(truth.dataobj)
        seen = []
        for ds in by_series[row.key].values():
            stated = np.array(ds.ImagePositionPatient, float) * [-1, -1, 1]
            index = np.linalg.inv(truth.affine) @ [*stated, 1]
            np.testing.assert_allclose(index[:3], [round(index[0]), 0, 0], atol=1e-4)
            if not getattr(ds, "file_meta", None):
                ds.file_meta = FileMetaDataset()
                ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            syntaxes.add(ds.file_meta.TransferSyntaxUID)
            slope, intercept = ds.get("RescaleSlope", 1), ds.get("RescaleIntercept", 0)
            read = ds.pixel_array * float(slope) + float(intercept)
            np.testing.assert_array_equal(read, voxels[round(index[0])])
            seen.append(round(index[0]))
        assert sorted(seen) == list(range(len(voxels)))
    assert len(syntaxes) == 5


def test_one_of_each_two_neighbours_has_a_lesion(small_sample: SampleResult) -> None:
    cases = read_table(small_sample.cases)
    classes = cases.loc[cases["lesion"] != "", "lesion"].astype(int).to_numpy()
    assert len(classes) == 6
    assert (classes[0::2] + classes[1::2] == 1).all()
    masks = sorted(p.name for p in (small_sample.truth / "lesions").iterdir())
    assert masks == [f"patient_{n + 1:04d}.nii.gz" for n in np.flatnonzero(classes)]
    for name in masks:
        mask = np.asarray(nib.load(small_sample.truth / "lesions" / name).dataobj) > 0
        values = np.asarray(nib.load(small_sample.truth / "ct" / name).dataobj)
        assert mask.sum() > 5
        assert np.median(values[mask]) > -100


def test_organs_lie_on_their_sides_and_have_their_density(small_sample: SampleResult) -> None:
    for path in sorted((small_sample.archive / "abdomen/images").iterdir()):
        image = nib.as_closest_canonical(nib.load(path))
        mask = nib.as_closest_canonical(nib.load(path.parents[1] / "labels" / path.name))
        values, organs = np.asarray(image.dataobj), np.asarray(mask.dataobj)
        middle = {c: np.argwhere(organs == c).mean(axis=0) for c in (1, 2, 3)}
        # The first canonical axis runs to the patient's right.
        assert middle[1][0] > middle[2][0]
        assert 40 < np.median(values[organs == 1]) < 130
        assert 40 < np.median(values[organs == 2]) < 130
        assert (organs == 1).sum() > (organs == 3).sum() > 0


def test_every_needle_of_a_name_is_really_in_the_archive(small_sample: SampleResult) -> None:
    needles = small_sample.needles.read_text(encoding="utf-8").split("\n")
    names = [n for n in needles if n.startswith("Sample^")]
    assert len(names) == 6
    paths = "\n".join(str(p) for p in small_sample.archive.rglob("*"))
    headers = b"".join(
        p.read_bytes()[:2000] for p in small_sample.archive.rglob("*") if p.is_file()
    )
    for name in names:
        assert name.encode() in headers
    assert any(name in paths for name in names)


def test_a_folder_in_use_and_too_few_patients_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("do not touch")
    with pytest.raises(ConfigError, match="not empty"):
        write_sample(tmp_path, patients=6)
    with pytest.raises(ConfigError, match="at least 6"):
        write_sample(tmp_path / "new", patients=5)
    assert not (tmp_path / "new").exists()
