from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medssl.errors import ConfigError
from medssl.models.config import ViTConfig
from medssl.models.vit import ViTEncoder

TINY = ViTConfig(token_size=4, dim=24, depth=4, heads=2)


@pytest.fixture
def encoder() -> ViTEncoder:
    torch.manual_seed(0)
    return ViTEncoder(TINY, in_channels=2)


def test_tokens_are_embedded_as_the_stem_convolves(encoder):
    x = torch.randn(2, 2, 8, 12, 4)
    convolved = F.conv3d(x, encoder.stem.weight, encoder.stem.bias, stride=4)
    embedded = encoder._embed_tokens(x) - encoder._embed_tokens(torch.zeros_like(x))
    shift = encoder.stem.bias[:, None, None, None]
    assert torch.allclose(embedded.mT, (convolved - shift).flatten(2), atol=1e-5)


def test_features_are_maps_of_the_token_grid_and_the_last_is_embedded(encoder):
    x = torch.randn(2, 2, 8, 12, 4)
    maps = encoder.features(x)
    assert [m.shape for m in maps] == [(2, 24, 2, 3, 1)] * 2
    assert torch.allclose(maps[-1].mean(dim=(2, 3, 4)), encoder.embed(x), atol=1e-6)
    assert encoder.channels == (24, 24)


def test_with_all_tokens_visible_the_codes_are_the_features(encoder):
    x = torch.randn(2, 2, 8, 8, 8)
    codes = encoder.encode_visible(x, torch.arange(8).expand(2, -1))
    assert torch.allclose(codes.mT, encoder.features(x)[-1].flatten(2), atol=1e-5)


def test_visible_tokens_keep_their_own_positions(encoder):
    x = torch.randn(1, 2, 8, 8, 8)
    visible = torch.tensor([[5, 1]])
    turned = encoder.encode_visible(x, visible.flip(1))
    assert torch.allclose(encoder.encode_visible(x, visible), turned.flip(1), atol=1e-5)
    same_cubes = x[:, :, :4, :4, :4].repeat(1, 1, 2, 2, 2)
    codes = encoder.encode_visible(same_cubes, visible)
    assert (codes[0, 0] - codes[0, 1]).abs().max() > 1e-2


def test_training_and_evaluation_give_the_same_embedding(encoder):
    x = torch.randn(2, 2, 8, 8, 8)
    trained = encoder.train().embed(x)
    with torch.inference_mode():
        evaluated = encoder.eval().embed(x)
    assert torch.allclose(trained, evaluated, atol=1e-5)


def test_another_grid_needs_no_other_weights(encoder):
    assert encoder.embed(torch.randn(1, 2, 4, 16, 12)).shape == (1, 24)


def test_a_patch_of_broken_tokens_is_refused_by_name(encoder):
    with pytest.raises(ConfigError, match="in place of 10: 8 or 12"):
        encoder.embed(torch.randn(1, 2, 8, 10, 8))


def test_attention_matrices_are_never_made():
    encoder = ViTEncoder(TINY, in_channels=1).train()
    tokens = 8**3
    saved = []

    def pack(t):
        saved.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        encoder.embed(torch.randn(1, 1, 32, 32, 32))
    assert max(saved) < TINY.heads * tokens**2
