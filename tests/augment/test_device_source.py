"""Patches made on the device are those of the threads, whoever reads for them. On the CPU here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.augment.batch import Batch
from medssl.augment.config import AugmentConfig, IntensityConfig, PatchConfig, SpatialConfig
from medssl.augment.device_source import DevicePretrainSource
from medssl.augment.loader import Loader
from medssl.augment.pretraining import PretrainSource
from medssl.augment.reader import Reader
from medssl.store import Store
from medssl.store.voxels import Rescale

from .conftest import MakeStore, affine_of_codes


def config_of(spacing_mm: Any = 1.2, size: Any = (16, 14, 12), enabled: bool = True) -> Any:
    return AugmentConfig(
        patch=PatchConfig(size=size, spacing_mm=spacing_mm),
        spatial=SpatialConfig(rotate_probability=0.7, scale_probability=0.7, flip=(0, 1, 2)),
        intensity=IntensityConfig(enabled=enabled),
    )


def source_of(kind: Any, store: Store, config: AugmentConfig, seed: int = 7) -> Any:
    return kind(store, store.manifest, config, num_views=2, seed=seed, global_batch=6)


def finished(source: PretrainSource, *, rank: int = 0, world: int = 1, workers: int = 0) -> Any:
    loader = Loader(source, rank, world, num_workers=workers)
    batches: list[Batch] = []
    for step, batch in loader.batches(2, 4):
        source.finish(batch, step)
        batches.append(batch)
    loader.close()
    return batches


def assert_alike(one: Batch, other: Batch) -> None:
    """Same keys and numbers; images to rounding, places of the scan but for voxels on its faces."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if key == "image":
            both = one["valid"] & other["valid"]
            assert (value - other[key])[both].abs().max() < 3e-3
            assert torch.equal(value[~one["valid"]], spread(one)[~one["valid"]])
        elif key in ("valid", "body"):
            assert (value == other[key]).float().mean() > 0.999
        else:
            assert torch.equal(value, other[key]), key


def bending(config: AugmentConfig) -> AugmentConfig:
    often = {"elastic_probability": 0.6, "elastic_spacing_mm": (8.0, 12.0)}
    spatial = config.spatial.model_copy(update={**often, "elastic_displacement_mm": 3.0})
    return config.model_copy(update={"spatial": spatial})


@pytest.mark.parametrize("spacing_mm", [1.0, 2.5])
def test_bent_patches_are_those_of_the_threads(small_store: Store, spacing_mm: float) -> None:
    config = bending(config_of(spacing_mm, enabled=False))
    sides = (PretrainSource, DevicePretrainSource)
    threads, device = (finished(source_of(kind, small_store, config)) for kind in sides)
    for one, other in zip(device, threads, strict=True):
        assert one["control"].abs().amax() > 0.5
        assert_alike(one, other)


def spread(batch: Batch) -> torch.Tensor:
    return batch["background"].view(-1, 1, 1, 1, 1, 1).expand(batch["image"].shape)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 1000),
    spacing_mm=st.sampled_from([None, 0.8, 1.2, (0.9, 2.5, 1.0), 4.0]),
    size=st.tuples(*[st.integers(1, 17)] * 3),
)
def test_patches_are_those_of_the_threads(
    small_store: Store, seed: int, spacing_mm: Any, size: Any
) -> None:
    config = config_of(spacing_mm, size, enabled=False)
    sides = (PretrainSource, DevicePretrainSource)
    threads, device = (finished(source_of(kind, small_store, config, seed)) for kind in sides)
    for one, other in zip(device, threads, strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("bend", [lambda config: config, bending], ids=["straight", "bent"])
def test_padding_and_unsigned_numbers(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, bend: Any
) -> None:
    monkeypatch.setattr(Reader, "padding", lambda *_: (0.0, 10.0))
    rng = np.random.default_rng(2)
    stored = rng.integers(20000, 65000, (20, 22, 24)).astype(np.uint16)
    stored[:, :7] = 0
    scan = (stored, Rescale(0.01, -3.0), affine_of_codes("LPS"), "MR", "arbitrary")
    store = make_store([scan])
    config = bend(config_of(1.0, enabled=False))
    sides = (PretrainSource, DevicePretrainSource)
    threads, device = (finished(source_of(kind, store, config)) for kind in sides)
    for one, other in zip(device, threads, strict=True):
        assert_alike(one, other)
        assert not one["valid"].all()


@pytest.mark.parametrize(("world", "workers"), [(1, 3), (2, 0), (3, 2)])
def test_neither_workers_nor_ranks_change_a_bit(
    small_store: Store, world: int, workers: int
) -> None:
    def drawn(rank: int, world: int, workers: int) -> Any:
        source = source_of(DevicePretrainSource, small_store, config_of())
        return finished(source, rank=rank, world=world, workers=workers)

    parts = [drawn(rank, world, workers) for rank in range(world)]
    for step, batch in enumerate(drawn(0, 1, 0)):
        for key, value in batch.items():
            assert torch.equal(value, torch.cat([part[step][key] for part in parts])), key


def test_one_sample_is_that_of_the_batch(small_store: Store) -> None:
    source = source_of(DevicePretrainSource, small_store, config_of(enabled=False))
    sample, batch = source.sample(2, 4), finished(source)[0]
    assert sample.keys() == batch.keys()
    for key, value in sample.items():
        assert torch.equal(value, batch[key][4]), key


def test_a_patch_that_misses_its_scan_is_background(
    small_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = np.eye(4)
    far[:3, 3] = 1000
    monkeypatch.setattr(PretrainSource, "_maps", lambda *_: [far, far])
    sample = source_of(DevicePretrainSource, small_store, config_of(enabled=False)).sample(0, 0)
    assert not sample["valid"].any()
    assert not sample["body"].any()
    assert (sample["image"] == sample["background"]).all()
