"""Small networks of every kind for the tests that hold for all, and one thread.

A test that takes `network`, `segmenting_network` or `one_of_each` runs for each (config, patch
size) of that table.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from medssl.models.config import (
    GenesisConfig,
    ModelConfig,
    PatchSize,
    ResEncConfig,
    ResNetConfig,
    SegResNetConfig,
    SwinUNETRConfig,
    ViTConfig,
)

CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1, 2))
RESENC = ResEncConfig(features_per_stage=(4, 8, 8), n_blocks_per_stage=(1, 2, 1))
SWIN = SwinUNETRConfig(feature_size=12)
RESNET = ResNetConfig(depth=10, conv1_stride=1)
BATCH_NORM = ResNetConfig(depth=18, conv1_stride=1, norm="batch")
BOTTLENECK = ResNetConfig(depth=50)
GENESIS = GenesisConfig(width=2)
VIT = {
    token: ViTConfig(token_size=token, dim=24, depth=4, heads=2, decoder_filters=4)
    for token in (4, 8, 16)
}

WITH_DECODER: list[tuple[ModelConfig, PatchSize]] = [
    (CNN, (16, 16, 16)),
    (CNN, (15, 9, 14)),
    (RESENC, (8, 8, 8)),
    (RESENC, (12, 4, 8)),
    (SWIN, (32, 32, 64)),
    (GENESIS, (8, 16, 24)),
    (VIT[4], (8, 12, 4)),
    (VIT[8], (16, 8, 24)),
    (VIT[16], (16, 32, 16)),
]
WITHOUT_DECODER: list[tuple[ModelConfig, PatchSize]] = [
    (RESNET, (17, 17, 17)),
    (RESNET, (18, 23, 32)),
    (BATCH_NORM, (17, 18, 19)),
    (BOTTLENECK, (33, 34, 35)),
]
NETWORKS = WITH_DECODER + WITHOUT_DECODER
ONE_OF_EACH: list[tuple[ModelConfig, PatchSize]] = [
    (CNN, (16, 16, 16)),
    (RESENC, (8, 8, 8)),
    (SWIN, (32, 32, 64)),
    (GENESIS, (8, 16, 24)),
    (VIT[8], (16, 8, 24)),
    (RESNET, (17, 17, 17)),
    (BATCH_NORM, (17, 18, 19)),
]
TABLES = {
    "network": NETWORKS,
    "segmenting_network": WITH_DECODER,
    "one_of_each": ONE_OF_EACH,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, table in TABLES.items():
        if fixture in metafunc.fixturenames:
            ids = [f"{c.name}-{'x'.join(map(str, size))}" for c, size in table]
            metafunc.parametrize(fixture, table, ids=ids)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks this small are faster so, and far faster on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
