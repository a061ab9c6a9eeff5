"""Predicted masks lie on the right voxels, however the scan is stored."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import Scans
from medssl.augment.spatial import sample
from medssl.models.config import SegResNetConfig
from medssl.store import Store, open_store
from medssl.transfer.cases import labelled_cases
from medssl.transfer.config import FitConfig
from medssl.transfer.own_grid import classes_on_own_grid
from medssl.transfer.predictions import read_mask
from medssl.transfer.segmentation import Segmentation
from medssl.transfer.surfaces import nsd_and_hd95
from medssl.transfer.task_config import SegmentationTask
from medssl.transfer.whole_volume import covering_map, read_planes

from .conftest import ball_scan, write_scans

SMALL_NET = SegResNetConfig(init_filters=4, blocks_down=(1, 1))


class Threshold(nn.Module):
    """Calls bright what lies `level` above zero; its one parameter tells the device."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([self.level - image, image - self.level], dim=1) * 4


def thresholding(store: Store, spacing_mm: float | None, size: int = 16) -> Segmentation:
    config = FitConfig.model_validate(
        {
            "task": {"name": "segmentation"},
            "augment": {"patch": {"size": [size] * 3, "spacing_mm": spacing_mm}},
        }
    )
    cases = labelled_cases(store, SegmentationTask()).frame.assign(split="train")
    task = Segmentation(config, SMALL_NET, store, cases, ("1",), seed=0)
    task.network = Threshold(0.0)  # type: ignore[assignment]
    return task


def test_at_its_own_spacing_every_voxel_gets_its_own_answer(ball_store: Path) -> None:
    store = open_store(ball_store)
    task = thresholding(store, None)
    for number in range(4):
        uid = f"{number:032x}"
        scan = Scans(store.manifest.loc[[uid]])[0]
        predicted = task.predict_mask(Reader(store, CacheConfig(gigabytes=0)), (scan,))
        values = store.read(uid).voxels
        normalised = scan.normaliser(values)
        np.testing.assert_array_equal(predicted, normalised > 0)


@pytest.mark.parametrize("spacing_mm", [0.8, 1.3])
def test_at_another_spacing_the_mask_stays_where_the_ball_is(
    ball_store: Path, spacing_mm: float
) -> None:
    store = open_store(ball_store)
    task = thresholding(store, spacing_mm)
    task.network = Threshold(3.0)  # type: ignore[assignment]
    for number in range(4):
        volume, mask, ball_mm = ball_scan(number)
        scan = Scans(store.manifest.loc[[f"{number:032x}"]])[0]
        predicted = task.predict_mask(Reader(store, CacheConfig(gigabytes=0)), (scan,))
        dice = 2 * (predicted * mask).sum() / (predicted.sum() + mask.sum())
        assert dice > 0.8
        found = np.argwhere(predicted).mean(axis=0)
        found_mm = volume.affine[:3, :3] @ found + volume.affine[:3, 3]
        assert np.linalg.norm(found_mm - ball_mm) < 0.7


def test_a_scan_at_its_own_spacing_is_read_voxel_by_voxel(ball_store: Path) -> None:
    store = open_store(ball_store)
    task = thresholding(store, None)
    for scan in Scans(store.manifest.iloc[:4]):
        matrix, shape = covering_map(scan, scan.patch_spacing(task.patch.spacing_mm))
        reader = Reader(store, CacheConfig(gigabytes=0))
        image = read_planes(reader, (scan,), matrix, shape, 0, 0, shape[0])[0]
        expected = store.read(scan.volume_uid).to_ras()
        assert image.shape == expected.shape
        np.testing.assert_array_equal(image, scan.normaliser(expected.voxels))
        np.testing.assert_allclose(scan.affine @ matrix, expected.affine, atol=1e-9)


def test_a_tilted_scan_is_covered_and_its_own_grid_answered(tmp_path: Path) -> None:
    volume, mask, _ = ball_scan(0)
    turn = np.deg2rad(20)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    sheared = tilt @ volume.affine
    sheared[1, 2] += 0.3
    write_scans(tmp_path / "s", [(type(volume)(volume.voxels, sheared, "MR"), mask, "p")], [])
    store = open_store(tmp_path / "s")
    scan = Scans(store.manifest)[0]
    matrix, shape = covering_map(scan, np.array([1.0, 1.0, 1.0]))
    corners = np.array([[i, j, k, 1] for i in (0, 21) for j in (0, 23) for k in (0, 19)]).T
    at = (np.linalg.inv(matrix) @ corners)[:3]
    assert (at > -1).all()
    assert (at < np.array(shape)[:, None]).all()
    # The index along each axis of the sampled grid, asked for at the scan's own voxels.
    ramp = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    answer = np.stack([6.5 - ramp[0], ramp[0] - 6.5])
    own = classes_on_own_grid([(0, answer)], 0, matrix, scan.shape)
    index = np.stack(np.meshgrid(*map(np.arange, scan.shape), indexing="ij")).reshape(3, -1)
    expected = (np.linalg.inv(matrix) @ np.vstack([index, np.ones(index.shape[1])]))[0] > 6.5
    assert (own.ravel() == expected).mean() > 0.999


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_is_read_in_slabs_that_fit_together(tmp_path: Path, axis: int) -> None:
    volume, mask, _ = ball_scan(2, shape=(50, 90, 40))
    write_scans(tmp_path / "s", [(volume, mask, "p")], [])
    store = open_store(tmp_path / "s")
    scan = Scans(store.manifest)[0]
    matrix, shape = covering_map(scan, np.array([0.9, 0.9, 0.9]))
    reader = Reader(store, CacheConfig(gigabytes=0))
    edges = [*range(0, shape[axis], 17), shape[axis]]
    pieces = [
        read_planes(reader, (scan,), matrix, shape, axis, start, stop)[0]
        for start, stop in itertools.pairwise(edges)
    ]
    whole = sample(reader, scan, matrix, shape).image
    np.testing.assert_allclose(np.concatenate(pieces, axis), whole, atol=2e-3)


def test_rows_count_voxels_and_masks_are_kept(ball_store: Path, tmp_path: Path) -> None:
    store = open_store(ball_store)
    task = thresholding(store, None)
    cases = labelled_cases(store, SegmentationTask()).frame.assign(split="test").iloc[:3]
    frame = task.predict(cases, tmp_path)
    assert frame["volume_uid"].tolist() == cases["volume_uid"].tolist()
    for _, row in frame.iterrows():
        predicted = read_mask(tmp_path, row["mask_path"])
        reference = store.read_label(row["volume_uid"]).voxels
        assert row["tp_1"] == ((predicted == 1) & (reference == 1)).sum()
        assert row["fp_1"] + row["tp_1"] == (predicted == 1).sum()
        assert row["fn_1"] + row["tp_1"] == (reference == 1).sum()
        voxel_mm3 = abs(np.linalg.det(store.affine(row["volume_uid"])[:3, :3]))
        assert row["volume_true_mm3_1"] == pytest.approx((reference == 1).sum() * voxel_mm3)
        assert len(row["mask_sha256"]) == 64
        surfaces = nsd_and_hd95(
            predicted == 1, reference == 1, store.affine(row["volume_uid"]), task.nsd_tolerance_mm
        )
        assert (row["nsd_1"], row["hd95_mm_1"]) == surfaces
        assert row["lesion_tp_1"] + row["lesion_fn_1"] == 1
