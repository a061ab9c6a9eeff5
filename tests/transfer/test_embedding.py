"""Embeddings of whole volumes, against what a classifier sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.augment.config import PatchConfig
from medssl.augment.scan_info import Scans
from medssl.augment.spatial import sample_volume
from medssl.engine.seeding import seed_weights
from medssl.errors import ConfigError
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig
from medssl.models.encoder import Encoder
from medssl.store import open_store
from medssl.transfer.embedding import embed_volumes
from medssl.transfer.sources import foreground_centre

PATCH = PatchConfig(size=(12, 10, 8), spacing_mm=1.5)


@pytest.fixture
def encoder() -> Encoder:
    seed_weights(3)
    return build_encoder(SegResNetConfig(init_filters=4, blocks_down=(1, 1)), 1, PATCH.size)


def test_each_volume_is_embedded_alone_and_in_the_order_asked_for(
    ball_store: Path, encoder: Encoder
) -> None:
    store = open_store(ball_store)
    uids = list(store.manifest.index[[7, 2, 20, 5, 11]])
    found = embed_volumes(encoder, store, uids, PATCH, batch_size=2)
    assert found.shape == (5, encoder.embed_dim)
    cases = store.manifest.loc[uids].reset_index(drop=True)
    for row, scan in zip(found, Scans(cases), strict=True):
        crop = sample_volume(store, scan, PATCH.size, 1.5, foreground_centre(scan)).image
        with torch.no_grad():
            maps = encoder.eval().features(torch.from_numpy(crop)[None, None])[-1][0]
        own = [float(channel.mean()) for channel in maps]
        np.testing.assert_allclose(row, own, rtol=1e-4, atol=1e-5)
    assert len(np.unique(found.round(4), axis=0)) == 5


def test_the_encoder_is_left_as_it_was(ball_store: Path, encoder: Encoder) -> None:
    store = open_store(ball_store)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = []
    encoder.features = watched(encoder, modes)  # type: ignore[method-assign]
    embed_volumes(encoder.train(), store, list(store.manifest.index[:3]), PATCH)
    assert modes
    assert not any(modes)
    assert encoder.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_patch_that_does_not_suit_is_named(ball_store: Path, encoder: Encoder) -> None:
    store = open_store(ball_store)
    with pytest.raises(ConfigError, match="at least 4 voxels"):
        embed_volumes(encoder, store, list(store.manifest.index[:1]), PatchConfig(size=(2, 8, 8)))


def watched(encoder: Encoder, modes: list[bool]) -> object:
    """`encoder.features`, noting the mode in which it is called."""
    features = encoder.features

    def noting(voxels: torch.Tensor) -> list[torch.Tensor]:
        modes.append(encoder.training)
        return features(voxels)

    return noting
