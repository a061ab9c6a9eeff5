"""Switches of speed and memory change neither names nor, but for rounding, numbers."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor, nn

from medssl.engine.config import RuntimeConfig
from medssl.engine.execution import set_up
from medssl.models.build import build_segmenter
from medssl.models.config import SegResNetConfig

CONFIG = SegResNetConfig(init_filters=4, blocks_down=(1, 1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_segmenter(CONFIG, 1, 2, (16, 16, 16))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    patch = torch.randn((2, 1, 16, 16, 16), generator=torch.Generator().manual_seed(1))
    module(patch).square().mean().backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def check_equal(switched: nn.Module) -> None:
    plain = network()
    assert list(switched.state_dict()) == list(plain.state_dict())
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradients(switched)[name], gradient, rtol=1e-3, atol=1e-6)
        switched.zero_grad()


def test_channels_last_changes_the_layout_alone() -> None:
    module = network()
    set_up(module, RuntimeConfig(channels_last=True))
    kernel = next(p for p in module.parameters() if p.ndim == 5 and p.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d)
    check_equal(module)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_compute_the_same() -> None:
    module = network()
    set_up(module, RuntimeConfig(compile=True))
    check_equal(module)


def test_layers_that_are_computed_again_compute_the_same() -> None:
    module = network()
    set_up(module, RuntimeConfig(activation_checkpointing=True))
    assert module.encoder.checkpointed
    check_equal(module)
