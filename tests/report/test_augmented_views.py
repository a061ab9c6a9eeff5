"""What stands under a picture is what was done to it, and it is what pretraining would draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medssl.augment.config import AugmentConfig
from medssl.augment.elastic import dense_displacement
from medssl.augment.placement import Pose, compose_map, rotation_about
from medssl.augment.policies import POLICIES, apply_steps, draw_steps
from medssl.augment.pretraining import PretrainSource
from medssl.augment.reader import Reader
from medssl.augment.rng import Stream, generator
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import sample
from medssl.report.augmented_views import View, draw_scan
from medssl.store import Store, open_store

CONFIG = AugmentConfig.model_validate(
    {
        "patch": {"size": [10, 12, 9], "spacing_mm": 1.3},
        "spatial": {
            "rotate_deg": 60,
            "rotate_probability": 0.7,
            "scale_probability": 0.7,
            "flip": [0, 1, 2],
            "shear_deg": 20,
            "elastic_probability": 0.4,
        },
    }
)
SEED, VIEWS = 11, 12


@pytest.fixture
def store(store_root: Path, make_row: Any, write_rows: Callable[..., None]) -> Store:
    values = np.random.default_rng(0).integers(-900, 900, (14, 15, 12)).astype(np.int16)
    write_rows(
        [
            make_row(0, values, modality="CT", units="HU"),
            make_row(1),
            make_row(2, values + 950, modality="PT", units="BQML"),
        ]
    )
    return open_store(store_root)


def posed(view: View) -> Pose:
    """The pose again, from nothing but the numbers that are shown."""
    shown = view.pose.parameters()
    x, y, z = (axis in shown.get("flip", ()) for axis in range(3))
    turn = np.deg2rad(shown.get("turn_deg", np.zeros(3)))
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = np.tan(np.deg2rad(shown.get("shear_deg", np.zeros(3))))
    return Pose(rotation_about(turn), shown.get("scale", 1.0), (x, y, z), shear)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_numbers_shown_make_the_picture_again(store: Store, number: int) -> None:
    row = store.manifest.iloc[number]
    reader, scan = Reader(store), ScanInfo.from_row(row)
    first = 5
    shown = draw_scan(reader, row, CONFIG, SEED, VIEWS, first)
    size = CONFIG.patch.size
    middle = (np.asarray(size) - 1) / 2
    centre = shown.plain.affine[:3, :3] @ middle + shown.plain.affine[:3, 3]
    changed = bent = 0
    for index, view in enumerate(shown.views, start=first):
        matrix = compose_map(scan, size, shown.spacing_mm, centre, posed(view))
        moved = view.bent and dense_displacement(view.bent, size, shown.spacing_mm)
        patch = sample(reader, scan, matrix, size, deformation=moved)
        bent += view.bent is not None
        np.testing.assert_allclose(view.affine, patch.affine, atol=1e-9)
        policy = POLICIES[shown.policy]
        rng = generator(SEED, 0, index, Stream.INTENSITY)
        draw_steps(policy, rng, 1.0)
        seed = int(rng.integers(1 << 63))
        expected = apply_steps(
            torch.from_numpy(patch.image)[None], view.steps, shown.background, seed
        )[0].clamp(shown.background, policy.highest)
        expected[~torch.from_numpy(patch.valid)] = shown.background
        np.testing.assert_allclose(view.image, expected.numpy(), atol=2e-4)
        changed += bool(view.steps)
    assert changed > 3
    assert bent > 1
    assert len({str(view.pose.parameters()) for view in shown.views}) > 6


def test_the_first_view_is_the_sample_of_a_run(store: Store) -> None:
    for number in range(3):
        rows = store.manifest.iloc[number : number + 1]
        shown = draw_scan(Reader(store), rows.iloc[0], CONFIG, SEED, 1, first=0)
        source = PretrainSource(store, rows, CONFIG, seed=SEED)
        batch = source.blank(1)
        source.fill(batch, 0, 0, 0)
        source.finish(batch, 0)
        np.testing.assert_array_equal(shown.views[0].image, batch["image"][0, 0, 0].numpy())


def test_without_augmentation_a_view_is_the_patch_itself(store: Store) -> None:
    still = {"rotate_probability": 0, "scale_probability": 0}
    config = AugmentConfig.model_validate({"patch": CONFIG.patch.model_dump(), "spatial": still})
    row = store.manifest.iloc[0]
    shown = draw_scan(Reader(store), row, config, 0, 8, intensity=False)
    for view in shown.views:
        assert not view.steps
        assert not view.pose.parameters()
        np.testing.assert_array_equal(view.image, shown.plain.image)
    off = config.model_copy(
        update={"intensity": config.intensity.model_copy(update={"enabled": False})}
    )
    assert not any(view.steps for view in draw_scan(Reader(store), row, off, 0, 8).views)


def test_the_same_seed_draws_the_same_and_another_does_not(store: Store) -> None:
    row = store.manifest.iloc[1]
    one, same, other = (
        draw_scan(Reader(store), row, CONFIG, seed, 4) for seed in (SEED, SEED, SEED + 1)
    )
    for a, b in zip(one.views, same.views, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    assert not np.array_equal(one.views[0].image, other.views[0].image)
