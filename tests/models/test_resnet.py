from __future__ import annotations

import pytest
import torch
from monai.networks.nets import resnet
from torch import nn

from medssl.errors import ConfigError
from medssl.models.build import build_encoder
from medssl.models.config import ResNetConfig
from medssl.models.resnet import ZeroPaddedShortcut


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_under_medicalnets_names_it_computes_what_monai_does(depth):
    torch.manual_seed(depth)
    bias, shortcut = resnet.get_medicalnet_pretrained_resnet_args(depth)
    whole = getattr(resnet, f"resnet{depth}")(
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=bias,
        shortcut_type=shortcut,
    ).eval()
    with torch.no_grad():
        for buffer in whole.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    encoder = build_encoder(ResNetConfig(depth=depth, norm="batch"), 1, (36, 33, 34)).eval()
    encoder.load_state_dict(whole.state_dict())
    x = torch.randn(1, 1, 36, 33, 34)
    with torch.no_grad():
        assert torch.allclose(encoder(x), whole(x), rtol=1e-4, atol=1e-5)


def test_the_padded_shortcut_takes_every_second_voxel_and_lets_gradients_through():
    x = torch.randn(2, 3, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    shortcut = ZeroPaddedShortcut(channels=5, stride=2)
    y = shortcut(x)
    assert y.shape == (2, 5, 3, 2, 2)
    for d, h, w in torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(2)):
        assert torch.equal(y[:, :3, d, h, w], x[:, :, 2 * d, 2 * h, 2 * w])
    assert not y[:, 3:].any()
    assert torch.autograd.gradcheck(shortcut, (x,))


@pytest.mark.parametrize("depth", [10, 18, 50])
def test_group_norms_stand_for_every_batch_norm_under_their_names(depth):
    group, batch = (
        build_encoder(ResNetConfig(depth=depth, norm=norm), 1, (64, 64, 64))
        for norm in ("group", "batch")
    )
    kinds = {type(m) for m in group.modules()}
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm3d not in kinds
    assert {n: p.shape for n, p in group.named_parameters()} == {
        n: p.shape for n, p in batch.named_parameters()
    }
    assert not list(group.buffers())


def test_with_group_norm_a_patch_is_embedded_alike_whatever_is_beside_it():
    encoder = build_encoder(ResNetConfig(depth=10, conv1_stride=1), 1, (20, 20, 20)).train()
    x = torch.randn(3, 1, 20, 20, 20)
    assert torch.allclose(encoder(x)[:1], encoder(x[:1]), atol=1e-5)


def test_too_small_a_patch_is_told_the_least_and_the_other_way_out():
    with pytest.raises(ConfigError, match=r"at least 33 voxels.*conv1_stride to 1"):
        ResNetConfig().check_patch((64, 32, 64))
    small = ResNetConfig(conv1_stride=1)
    small.check_patch((17, 32, 32))
    with pytest.raises(ConfigError, match=r"at least 17 voxels.*; enlarge augment\.patch\.size$"):
        small.check_patch((16, 32, 32))
    deepest = build_encoder(small, 1, (17, 32, 33)).features(torch.randn(1, 1, 17, 32, 33))[-1]
    assert deepest.shape[2:] == (2, 2, 3)
