"""A batch is a pure function of (manifest, config, seed, step)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.config import (
    AugmentConfig,
    IntensityConfig,
    LocalViewsConfig,
    PatchConfig,
    SpatialConfig,
)
from medssl.augment.loader import Loader
from medssl.augment.pretraining import PretrainSource, patient_codes
from medssl.augment.spatial import sample
from medssl.augment.views import bent, carry, cell_centres, view_map
from medssl.errors import ConfigError
from medssl.store import Store
from medssl.store.voxels import Rescale

CONFIG = AugmentConfig(
    patch=PatchConfig(size=(16, 14, 12), spacing_mm=1.2),
    spatial=SpatialConfig(rotate_probability=0.7, scale_probability=0.7, flip=(0, 1, 2)),
    intensity=IntensityConfig(strength=1.5),
)


def source_of(store: Store, **changed: Any) -> PretrainSource:
    settings: dict[str, Any] = {"num_views": 2, "seed": 7, "global_batch": 4, "config": CONFIG}
    settings.update(changed)
    config = settings.pop("config")
    return PretrainSource(store, store.manifest, config, **settings)


def batches(source: PretrainSource, rank: int = 0, world: int = 1, workers: int = 0) -> list[Batch]:
    loader = Loader(source, rank, world, num_workers=workers, finish=True)
    finished = [batch for _, batch in loader.batches(2, 6)]
    loader.close()
    return finished


def assert_equal(one: Batch, other: Batch) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def test_the_number_of_workers_changes_nothing(small_store: Store) -> None:
    plain = batches(source_of(small_store))
    for workers in (1, 3):
        for one, other in zip(plain, batches(source_of(small_store), workers=workers), strict=True):
            assert_equal(one, other)


@pytest.mark.parametrize(("world", "workers"), [(2, 0), (4, 0), (2, 2), (4, 1)])
def test_ranks_draw_the_batch_of_one(small_store: Store, world: int, workers: int) -> None:
    whole = batches(source_of(small_store))
    parts = [batches(source_of(small_store), rank, world, workers) for rank in range(world)]
    for step, batch in enumerate(whole):
        shares = [part[step] for part in parts]
        assert_equal(batch, {k: torch.cat([share[k] for share in shares]) for k in batch})


def test_a_step_can_be_drawn_alone(small_store: Store) -> None:
    source = source_of(small_store)
    _, alone = next(Loader(source).batches(5, 6))
    source.finish(alone, 5)  # the whole batch at once, as on a GPU
    assert_equal(alone, batches(source_of(small_store))[-1])


def test_steps_views_and_seeds_differ(small_store: Store) -> None:
    first, second, *_ = batches(source_of(small_store))
    assert not torch.equal(first["image"], second["image"])
    assert not torch.equal(first["image"][:, 0], first["image"][:, 1])
    other = batches(source_of(small_store, seed=8))[0]
    assert not torch.equal(first["image"], other["image"])


def test_a_batch_holds_what_it_should(small_store: Store) -> None:
    batch = batches(source_of(small_store))[0]
    assert {k: tuple(v.shape) for k, v in batch.items()} == {
        "image": (4, 2, 1, 16, 14, 12),
        "valid": (4, 2, 1, 16, 14, 12),
        "body": (4, 2, 1, 16, 14, 12),
        "background": (4,),
        "map": (4, 2, 4, 4),
        **dict.fromkeys(("index", "volume", "patient", "modality", "policy"), (4,)),
    }
    assert batch["image"].dtype == torch.float32
    assert batch["valid"].dtype == torch.bool
    assert batch["index"].tolist() == [0, 1, 2, 3]
    assert all(batch[k].dtype == torch.int64 for k in ("index", "volume", "patient", "modality"))
    rows = small_store.manifest
    for volume, modality in zip(batch["volume"].tolist(), batch["modality"].tolist(), strict=True):
        assert MODALITIES[modality] == rows["modality"].iloc[volume]


def test_every_volume_is_seen_once_an_epoch(small_store: Store) -> None:
    source = source_of(small_store, global_batch=2, num_views=1)
    seen = [source.sample(step, index)["volume"].item() for step in range(3) for index in (0, 1)]
    assert sorted(seen) == list(range(6))


def test_outside_the_scan_the_image_is_background(small_store: Store) -> None:
    config = CONFIG.model_copy(update={"patch": PatchConfig(size=(40, 40, 40), spacing_mm=2.0)})
    for batch in batches(source_of(small_store, config=config)):
        background = batch["background"].view(-1, 1, 1, 1, 1, 1).expand_as(batch["image"])
        outside = ~batch["valid"]
        assert outside.any()
        assert torch.equal(batch["image"][outside], background[outside])
        assert (batch["image"] >= background).all()


def test_a_method_without_intensities_gets_the_image_as_it_is(small_store: Store) -> None:
    source = source_of(small_store, intensity=False)
    _, batch = next(Loader(source).batches(0, 1))
    before = batch["image"].clone()
    source.finish(batch, 0)
    assert torch.equal(batch["image"], before)
    source_of(small_store).finish(batch, 0)
    assert not torch.equal(batch["image"], before)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_clean_patches_are_those_before_augmentation(small_store: Store, workers: int) -> None:
    (both,) = batches(source_of(small_store, clean=True), workers=workers)[:1]
    (plain,) = batches(source_of(small_store, intensity=False))[:1]
    (augmented,) = batches(source_of(small_store))[:1]
    assert torch.equal(both["clean"], plain["image"])
    assert torch.equal(both["image"], augmented["image"])
    assert not torch.equal(both["image"], both["clean"])


def test_the_map_leads_from_one_view_to_the_other(small_store: Store) -> None:
    config = CONFIG.model_copy(update={"patch": PatchConfig(size=(12, 12, 12))})
    source = source_of(small_store, config=config, overlap=(0.6, 0.9), intensity=False)
    for index in range(4):
        sample = source.sample(0, index)
        one, other = sample["map"].double()
        between = torch.linalg.solve(other, one).numpy()
        where = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), -1)
        at = where @ between[:3, :3].T + between[:3, 3]
        both = ((at > -0.5) & (at < 11.5)).all(axis=-1)
        assert 0.2 < both.mean() <= 1


def test_patients_are_told_apart(small_store: Store) -> None:
    rows = small_store.manifest
    codes = patient_codes(rows)
    assert codes == [0, 1, 0, 2, 3, 4]
    apart = rows.assign(group_quality="scan", patient_key="")
    assert patient_codes(apart) == list(range(6))


@pytest.mark.parametrize(
    "changed", [{"num_views": 3}, {"overlap": (0.8, 0.4)}, {"overlap": (0, 1)}]
)
def test_what_cannot_be_drawn_is_refused(small_store: Store, changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        source_of(small_store, **changed)
    with pytest.raises(ConfigError, match="no volume"):
        PretrainSource(small_store, small_store.manifest.iloc[:0], CONFIG)


def test_local_crops_come_with_the_views_and_change_nothing_of_them(small_store: Store) -> None:
    local = LocalViewsConfig(count=3, size=(8, 6, 7))
    plain = batches(source_of(small_store))
    with_crops = batches(source_of(small_store, local=local))
    for one, other in zip(plain, with_crops, strict=True):
        assert_equal(one, {k: v for k, v in other.items() if not k.startswith("local_")})
        assert other["local_image"].shape == (4, 3, 1, 8, 6, 7)
        assert other["local_valid"].shape == (4, 3, 1, 8, 6, 7)
        assert other["local_map"].shape == (4, 3, 4, 4)
    fewer = batches(source_of(small_store, local=local.model_copy(update={"count": 2})))
    assert torch.equal(fewer[0]["local_image"], with_crops[0]["local_image"][:, :2])
    threads = batches(source_of(small_store, local=local), workers=3)
    for one, other in zip(with_crops, threads, strict=True):
        assert_equal(one, other)
    source = source_of(small_store, local=local)
    _, whole = next(Loader(source).batches(2, 3))
    drawn = whole["local_image"].clone()
    source.finish(whole, 2)
    assert_equal(whole, with_crops[0])
    assert not torch.equal(drawn, whole["local_image"]), "crops are augmented too"
    same = (drawn == whole["local_image"]) | whole["local_valid"]
    assert same.all(), "outside the scan they stay background"


def test_a_local_crop_shows_what_its_map_says(small_store: Store) -> None:
    source = source_of(small_store, local=LocalViewsConfig(count=2, size=(8, 6, 7)))
    for index in range(4):
        drawn = source.sample(0, index)
        scan = source.scans[int(drawn["volume"])]
        for crop in range(2):
            matrix = drawn["local_map"][crop].double().numpy()
            again = sample(source.reader, scan, matrix, (8, 6, 7))
            image, valid = drawn["local_image"][crop, 0].numpy(), drawn["local_valid"][crop, 0]
            assert (again.valid == valid.numpy()).mean() > 0.99
            np.testing.assert_allclose(
                np.where(again.valid & valid.numpy(), again.image, 0),
                np.where(again.valid & valid.numpy(), image, 0),
                atol=2e-3,
            )


def test_bent_views_show_the_same_places_where_the_maps_say(make_store: Any) -> None:
    """Trilinear sampling keeps a ramp, so its values tell where each voxel of a view came from."""
    ramp = np.indices((60, 60, 60)).transpose(1, 2, 3, 0) @ np.array([40, 17, 29])
    store = make_store([(ramp.astype(np.int16), Rescale(), np.eye(4), "MR", "arbitrary")], ["p"])
    spatial = SpatialConfig(
        rotate_probability=1.0,
        elastic_probability=1.0,
        elastic_spacing_mm=(12.0, 16.0),
        elastic_displacement_mm=4.0,
    )
    config = AugmentConfig(patch=PatchConfig(size=(20, 20, 20)), spatial=spatial)
    source = source_of(store, config=config, overlap=(0.7, 0.9), intensity=False, global_batch=1)
    batch = source.blank(1)
    points = cell_centres((20, 20, 20), (20, 20, 20))[None]
    wrong, wrong_unbent = [], []
    for step in range(8):
        source.fill(batch, 0, step, 0)
        between = view_map(batch, 0, 1)
        one, two = (batch["image"][0, view, 0].numpy() for view in (0, 1))
        bottom, top = one.min(), one.max()
        for kept, bends in ((wrong, [bent(batch, 0), bent(batch, 1)]), (wrong_unbent, [None] * 2)):
            at = carry(points, between, *bends)[0].T.numpy()
            inside = ((at > 0) & (at < 19)).all(axis=0)
            there = map_coordinates(two, at, order=1)
            here = one.ravel()
            # Percentiles are clipped, where the ramp ends.
            inside &= (here > bottom) & (here < top) & (there > two.min()) & (there < two.max())
            kept.append(np.abs(here - there)[inside])
    scale = source.scans[0].normaliser.scale
    steepest = 40 / scale  # of a voxel
    assert np.concatenate(wrong_unbent).mean() > 0.3 * steepest
    assert np.quantile(np.concatenate(wrong), 0.99) < 0.1 * steepest
