from __future__ import annotations

import pytest
import torch
from torch import nn

from medssl.errors import ConfigError
from medssl.models.build import build_classifier, build_encoder, build_segmenter
from medssl.models.config import ResNetConfig, SegResNetConfig, ViTConfig

CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1, 2))
VIT = ViTConfig(token_size=8, dim=24, depth=4, heads=2, decoder_filters=4)


def test_a_segmenter_answers_at_the_resolution_it_was_asked(segmenting_network):
    config, size = segmenting_network
    net = build_segmenter(config, in_channels=2, num_classes=3, patch_size=size)
    logits = net(torch.randn(2, 2, *size))
    assert logits.shape == (2, 3, *size)
    logits.square().mean().backward()
    # A parameter without a gradient would stop distributed training.
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


def test_a_classifier_is_linear_in_the_embedding(network):
    config, size = network
    net = build_classifier(config, 1, num_classes=5, patch_size=size, dropout=0.5).eval()
    x = torch.randn(2, 1, *size)
    assert net(x).shape == (2, 5)
    assert torch.allclose(net(x), net.head(net.encoder.embed(x)))
    net(x).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


def test_dropout_is_what_was_asked():
    net = build_classifier(CNN, 1, num_classes=2, patch_size=(16, 16, 16), dropout=0.3)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout) and m.p] == [0.3]


def test_the_parted_network_computes_what_monai_does():
    from monai.networks.nets import SegResNet

    whole = SegResNet(
        spatial_dims=3,
        init_filters=4,
        in_channels=1,
        out_channels=2,
        norm=("GROUP", {"num_groups": 4}),
        blocks_down=(1, 1, 2),
        blocks_up=(1, 1),
    )
    net = build_segmenter(CNN, 1, num_classes=2, patch_size=(16, 16, 16))
    theirs = {
        "encoder.stem": whole.convInit.conv,
        "encoder.levels": whole.down_layers,
        "decoder.ups": whole.up_samples,
        "decoder.levels": whole.up_layers,
        "decoder.final": whole.conv_final[:-1],
        "head": whole.conv_final[-1].conv,
    }
    for name, part in theirs.items():
        net.get_submodule(name).load_state_dict(part.state_dict())
    x = torch.randn(2, 1, 16, 16, 16)
    assert torch.allclose(net(x), whole(x), atol=1e-5)


@pytest.mark.parametrize("build", [build_encoder, build_segmenter, build_classifier])
def test_a_patch_that_does_not_suit_is_refused_before_anything_is_built(build):
    more = {build_segmenter: {"num_classes": 2}, build_classifier: {"num_classes": 2, "dropout": 0}}
    with pytest.raises(ConfigError, match=r"patch 28x28x28.*24 or 32"):
        build(VIT, in_channels=1, patch_size=(28, 28, 28), **more.get(build, {}))


def test_a_network_without_a_decoder_names_those_that_have_one():
    with pytest.raises(ConfigError, match="segresnet, resenc, swinunetr or vit"):
        build_segmenter(ResNetConfig(), 1, num_classes=2, patch_size=(64, 64, 64))
