from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import torch

from medssl.config import Config
from medssl.methods.catalogue import METHODS
from medssl.methods.config import MethodConfig
from medssl.models.build import build_classifier, build_encoder
from medssl.models.config import SegResNetConfig, ViTConfig
from medssl.models.weights import load_encoder, save_weights

MODELS = [
    SegResNetConfig(init_filters=4, blocks_down=(1, 1)),
    ViTConfig(token_size=4, dim=24, depth=2, heads=2),
]
UNION = typing.get_args(typing.get_args(MethodConfig)[0])
CONFIGS = {config.model_fields["name"].default: config for config in UNION}


def config_of(name: str, folder: Path) -> Config:
    """The defaults, with what has none."""
    required: dict[str, Any] = {}
    if name == "distill":
        required["teacher"] = folder / "teacher.safetensors"
        teacher = build_encoder(MODELS[0], 1, (16, 16, 16))
        state = {f"encoder.{key}": value for key, value in teacher.state_dict().items()}
        save_weights(required["teacher"], state, {"model": MODELS[0].model_dump_json()})
    if name == "multitask":
        required["tasks"] = [{"method": {"name": task}} for task in ("mae", "moco", "rotation")]
    return CONFIGS[name](**required)


def test_every_configuration_has_its_method():
    assert CONFIGS.keys() == METHODS.keys()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_a_classifier_goes_on_with_the_encoder_of_every_method(name, model, make_batch, tmp_path):
    method = METHODS[name](config_of(name, tmp_path), model, 1, (16, 16, 16), 0)
    assert (method.overlap is None) == (method.num_views == 1)
    out = method(make_batch(3, method.num_views, 16), 0)
    assert all(value.shape == () and torch.isfinite(value) for value in out.values())
    path = tmp_path / "encoder.safetensors"
    save_weights(path, method.export_state(), {"model": model.model_dump_json()})
    net = build_classifier(model, 1, 2, (16, 16, 16), dropout=0)
    assert load_encoder(path, net).share == 1
    x = torch.randn(2, 1, 16, 16, 16)
    assert torch.allclose(net.encoder.embed(x), method.encoder.embed(x), atol=1e-5)
