"""Real structure sets against the masks that others made of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl.archive.config import IngestConfig
from medssl.archive.dicom import group_by_series, read_header, read_series
from medssl.archive.dicom.structure_set import read_structure_set
from medssl.archive.dicom.structures import Grid
from medssl.archive.ingest import ingest
from medssl.archive.scan import Scan
from medssl.store.store import open_store
from medssl.volume import Volume

pytestmark = pytest.mark.real


def test_sarcoma_contours_equal_the_nifti_masks_voxel_for_voxel(real_data: Path) -> None:
    compared = 0
    for folder in sorted((real_data / "sarcoma/dicom").glob("STS_*/*")):
        twin = real_data / "sarcoma/nifti" / folder.parent.name / f"{folder.name}_mask.nii.gz"
        if not twin.exists():
            continue
        (group,) = group_by_series(read_header(path) for path in (folder / "image").iterdir())
        (scan,) = read_series(group)
        assert isinstance(scan, Scan)
        (contours,) = (folder / "mask").iterdir()
        (roi,) = read_structure_set(contours)
        assert roi.name == f"GTV_Mass_{folder.name}"
        d, h, w = scan.stored.shape
        drawn, corrections = roi.draw(Grid(scan.affine, (d, h, w)))
        assert corrections == ()
        image = nib.load(twin)
        expected = Volume(np.asarray(image.dataobj), image.affine).to_ras()
        found = Volume(drawn, scan.affine).to_ras()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.corners_mm(), expected.corners_mm(), atol=0.1)
        np.testing.assert_array_equal(found.voxels, expected.voxels > 0)
        compared += 1
    assert compared == 18


def test_sarcoma_is_ingested_with_a_mask_for_each_series(
    real_data: Path, tmp_path: Path, key_file: Path
) -> None:
    config = IngestConfig(
        archive=real_data / "sarcoma/dicom",
        store=tmp_path / "store",
        key_file=key_file,
        structures={"gtv_mass_*": 1},
        workers=1,
    )
    result = ingest(config)
    assert (result.num_volumes, result.masks, result.rejected) == (24, 24, {})
    store = open_store(tmp_path / "store")
    assert set(store.labels["corrections"]) == {""}
    marked = Counter(
        (row.modality, int(store.read_label(row.volume_uid).voxels.sum()))
        for row in store.manifest.itertuples()
    )
    modalities = {"CT": "CT", "MR_T1": "MR", "PET": "PT"}
    expected = Counter(
        (
            modalities[path.name.removesuffix("_mask.nii.gz")],
            int((np.asarray(nib.load(path).dataobj) > 0).sum()),
        )
        for path in (real_data / "sarcoma/nifti").glob("*/*_mask.nii.gz")
        if (real_data / "sarcoma/dicom" / path.parent.name).is_dir()
    )
    assert expected.total() == 18
    assert expected <= marked


def test_raw_pet_has_its_contours_on_the_slices_that_they_name(real_data: Path) -> None:
    folder = real_data / "sarcoma/raw_pet/STS_001"
    headers = [read_header(path) for path in (folder / "image").iterdir()]
    (scan,) = read_series(headers)
    assert isinstance(scan, Scan)
    d, h, w = scan.stored.shape
    (contours,) = (folder / "mask").iterdir()
    for roi in read_structure_set(contours):
        drawn, _ = roi.draw(Grid(scan.affine, (d, h, w)))
        named = [
            place
            for place, path in enumerate(scan.source.files)
            if next(x for x in headers if x.path == path).instance in roi.instances
        ]
        filled = np.flatnonzero(drawn.any(axis=(1, 2)))
        assert filled.size
        assert set(filled) <= set(named)
