"""Where TorchScript can run, by its code and by moving it; `meta` stands in for a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medssl.export.torchscript import named_devices, traced
from medssl.models.build import build_classifier, build_segmenter
from medssl.models.config import (
    ModelConfig,
    SegResNetConfig,
    SwinUNETRConfig,
    ViTConfig,
)

VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)


def network(model: ModelConfig, patch: tuple[int, int, int], task: str) -> nn.Module:
    """A classifier or segmenter as an export has it."""
    torch.manual_seed(0)
    if task == "segmentation":
        built: nn.Module = build_segmenter(model, 1, 3, patch)
    else:
        built = build_classifier(model, 1, 2, patch, 0.0)
    return built.eval().requires_grad_(False)


def on_meta(script: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """All parameters and buffers away from the CPU; `to` would not move them to meta."""
    for part in script.modules():
        held = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        for name, value in held:
            part._c.setattr(name, value.detach().to("meta"))
    return script


@pytest.mark.parametrize(
    ("model", "patch", "task"),
    [
        (VIT, (8, 16, 8), "classification"),
        (VIT, (8, 16, 8), "segmentation"),
        (SegResNetConfig(init_filters=4, blocks_down=(1, 1)), (8, 8, 8), "segmentation"),
    ],
)
def test_code_that_names_no_device_runs_where_it_is_moved(
    model: ModelConfig, patch: tuple[int, int, int], task: str
) -> None:
    net = network(model, patch, task)
    script = traced(net, torch.randn(1, 1, *patch))
    patches = torch.randn(3, 1, *patch)
    torch.testing.assert_close(script(patches), net(patches))
    assert named_devices(script) == ()
    moved = on_meta(script)(patches.to("meta"))
    assert moved.device.type == "meta"
    assert moved.shape == net(patches).shape


def test_monais_swin_names_the_device_and_runs_nowhere_else() -> None:
    patch = (32, 32, 64)
    net = network(SwinUNETRConfig(feature_size=12), patch, "classification")
    script = traced(net, torch.randn(1, 1, *patch))
    assert named_devices(script) == ("cpu",)
    with pytest.raises(RuntimeError, match="not on the expected device meta"):
        on_meta(script)(torch.randn(1, 1, *patch, device="meta"))


class Shifted(nn.Module):
    """Adds a tensor that it makes anew, inside a part of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` and a one on its device."""
        return x + torch.ones(1, device=x.device)


def test_devices_are_found_in_the_parts_of_a_network() -> None:
    net = nn.Sequential(nn.Identity(), Shifted(), nn.ReLU())
    assert named_devices(traced(net, torch.zeros(2))) == ("cpu",)
    assert named_devices(traced(nn.Sequential(nn.ReLU()), torch.zeros(2))) == ()
