"""What the masked methods answer, mask by mask: nothing that is hidden leaks into it."""

from __future__ import annotations

import pytest
import torch

from medssl.methods.catalogue import METHODS
from medssl.methods.config import HybridConfig, MAEConfig, SimMIMConfig
from medssl.methods.masked import MaskedMethod
from medssl.methods.reconstruction import block_voxels
from medssl.models.config import SegResNetConfig, ViTConfig

CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
VIT = ViTConfig(token_size=4, dim=48, depth=2, heads=2, decoder_filters=4)
PATCH = (16, 16, 16)


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (MAEConfig(), CNN),
        (HybridConfig(hidden_dim=8, output_dim=4), CNN),
        (SimMIMConfig(), CNN),
        (SimMIMConfig(), VIT),
        (MAEConfig(), VIT),
    ],
)
def test_an_answer_does_not_depend_on_what_is_hidden(config, model) -> None:
    torch.manual_seed(0)
    method = METHODS[config.name](config, model, 1, PATCH, 3).eval()
    assert isinstance(method, MaskedMethod)
    cubes = method.grid[0] * method.grid[1] * method.grid[2]
    masked = torch.arange(cubes).expand(2, -1) % 4 != 1
    hidden = block_voxels(masked, method.grid, method.side)
    image = torch.randn(2, 1, *PATCH)
    inside = torch.ones_like(image, dtype=torch.bool)
    with torch.no_grad():
        first = method.fill(image, inside, masked)
        # A ViT's mae is given each token's mean and deviation: only these may make a difference.
        other = image.flip(2).flip(3).flip(4) if model is CNN else image
        mixed = torch.where(hidden, other, image)
        if model is VIT:
            side, (d, h, w) = method.side, method.grid
            cut = mixed.reshape(2, d, side, h, side, w, side).flip(2).reshape_as(image)
            mixed = torch.where(hidden, cut, image)
        second = method.fill(mixed, inside, masked)
        shown = method.fill(torch.where(hidden, image, image + 1), inside, masked)
    assert first.shape == image.shape
    assert first.dtype == torch.float32
    assert not torch.equal(mixed, image)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(first, shown, atol=1e-4)
