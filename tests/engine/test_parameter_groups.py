"""Layer-wise learning rates, for every backbone."""

from __future__ import annotations

import pytest

from medssl.engine.parameter_groups import layerwise
from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, SegResNetConfig, ViTConfig

SMALL: list[ModelConfig] = [
    SegResNetConfig(init_filters=4, blocks_down=(1, 1, 1)),
    ViTConfig(token_size=8, dim=12, depth=3, heads=2),
]


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.name)
def test_layers_learn_slower_towards_the_input(config: ModelConfig) -> None:
    encoder = build_encoder(config, 1, (16, 16, 16))
    groups = layerwise(encoder, decay=0.5, lr_factor=0.8, start_step=7)
    rate_of = {id(p): group.lr_factor for group in groups for p in group.parameters}
    assert len(rate_of) == sum(len(group.parameters) for group in groups)
    assert set(rate_of) == {id(p) for p in encoder.parameters()}
    layers = encoder.layers()
    # By hand: the deepest layer is one step from the head, the one before it two.
    assert rate_of[id(next(layers[-1].parameters()))] == pytest.approx(0.8 * 0.5)
    assert rate_of[id(next(layers[-2].parameters()))] == pytest.approx(0.8 * 0.25)
    assert rate_of[id(encoder.get_parameter(encoder.stem_key))] == pytest.approx(
        0.8 * 0.5 ** len(layers)
    )
    assert {group.start_step for group in groups} == {7}


def test_without_decay_all_layers_learn_alike() -> None:
    encoder = build_encoder(SMALL[0], 1, (16, 16, 16))
    assert {group.lr_factor for group in layerwise(encoder, decay=1.0, lr_factor=0.3)} == {0.3}
