"""Patches of real scans against nibabel's own reading of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medssl.augment.config import AugmentConfig, PatchConfig, SpatialConfig
from medssl.augment.loader import Loader
from medssl.augment.pretraining import PretrainSource
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample_volume
from medssl.store.voxels import Rescale
from medssl.volume import Volume

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def paths(real_data: Path) -> list[Path]:
    """Two brains, one stored in another orientation, and a hippocampus smaller than the patch."""
    return [
        sorted(real_data.glob("brain_t1/*/anat/*.nii.gz"))[0],
        sorted(real_data.glob("ixi10/nifti/*.nii.gz"))[0],
        sorted(real_data.glob("hippocampus/images/*.nii.gz"))[0],
    ]


@pytest.fixture(scope="module")
def store(paths: list[Path], make_store: Any) -> Any:
    scans = []
    for path in paths:
        image = nib.load(path)
        scans.append((np.asarray(image.dataobj), Rescale(), image.affine, "MR", "arbitrary"))
    return make_store(scans)


def test_own_spacing_gives_the_voxels_in_ras_order(store: Any, paths: list[Path]) -> None:
    for number, path in enumerate(paths):
        image = nib.as_closest_canonical(nib.load(path))
        scan = ScanInfo.from_row(store.row(f"{number:032x}"))
        values = np.asarray(image.dataobj).astype(np.float32)
        patch = sample_volume(Reader(store), scan, values.shape)  # type: ignore[arg-type]
        np.testing.assert_array_equal(patch.image, scan.normaliser(values))
        np.testing.assert_allclose(patch.affine, image.affine, atol=1e-3)


def test_another_spacing_is_what_an_independent_resampler_gives(store: Any) -> None:
    for number in range(3):
        volume = store.read(f"{number:032x}")
        scan = ScanInfo.from_row(store.row(f"{number:032x}"))
        patch = sample_volume(
            Reader(store), scan, (24, 22, 20), spacing_mm=1.7 * scan.spacing_mm.min() / 2
        )
        expected = Volume(volume.voxels, volume.affine).resampled(patch.affine, (24, 22, 20))
        normalised = scan.normaliser(expected.voxels)
        assert np.abs(patch.image - normalised)[patch.valid].max() < 1e-2


def test_batches_of_real_scans_are_finite_and_mostly_tissue(store: Any) -> None:
    config = AugmentConfig(
        patch=PatchConfig(size=(32, 32, 32), spacing_mm=2.0),
        spatial=SpatialConfig(rotate_probability=1.0, scale_probability=1.0),
    )
    source = PretrainSource(store, store.manifest, config, num_views=2, seed=1, global_batch=3)
    for _, batch in Loader(source, finish=True).batches(0, 4):
        image = batch["image"]
        assert np.isfinite(image.numpy()).all()
        assert (image.flatten(2).std(dim=2) > 0.1).all(), "no view is empty"
