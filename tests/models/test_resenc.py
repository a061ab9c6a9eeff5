from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from medssl.errors import ConfigError
from medssl.models.build import build_encoder, build_segmenter
from medssl.models.config import ResEncConfig
from medssl.models.weights import save_weights

TINY = ResEncConfig(features_per_stage=(4, 8, 8), n_blocks_per_stage=(1, 2, 1))
THICK = ResEncConfig(
    features_per_stage=(4, 8, 8), n_blocks_per_stage=(1, 1, 1), strides=(1, (1, 2, 2), 2)
)


def library_unet(config: ResEncConfig, classes: int) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    return ResidualEncoderUNet(
        input_channels=2,
        n_stages=3,
        features_per_stage=config.features_per_stage,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=config.stage_strides,
        n_blocks_per_stage=config.n_blocks_per_stage,
        num_classes=classes,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


@pytest.mark.parametrize("config", [TINY, THICK])
def test_under_the_librarys_own_names_it_computes_what_the_library_does(config):
    torch.manual_seed(0)
    whole = library_unet(config, classes=3)
    theirs = whole.state_dict()
    net = build_segmenter(config, 2, num_classes=3, patch_size=(8, 8, 8))
    own = net.state_dict()
    last = f"decoder.seg_layers.{len(config.features_per_stage) - 2}"
    renamed = {name: name.replace("head", last) for name in own}
    assert set(renamed.values()) <= set(theirs)
    net.load_state_dict({name: theirs[theirs_name] for name, theirs_name in renamed.items()})
    x = torch.randn(2, 2, 8, 8, 8)
    assert torch.equal(net(x), whole(x))
    # Nothing of theirs is lost but deep supervision's layers.
    kept = {id(p) for name in renamed.values() for p in [whole.get_parameter(name)]}
    lost = {name for name, p in whole.named_parameters() if id(p) not in kept}
    assert lost == {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}


def test_no_tensor_has_two_names(tmp_path):
    net = build_segmenter(TINY, 1, 2, (8, 8, 8))
    assert len(net.state_dict()) == len(list(net.parameters()))
    save_weights(tmp_path / "w.safetensors", net, {})


def test_residual_branches_begin_at_zero():
    encoder = build_encoder(TINY, 1, (8, 8, 8))
    ends = [
        p
        for name, p in encoder.named_parameters()
        if name.endswith(("conv2.all_modules.1.weight", "conv2.all_modules.1.bias"))
    ]
    assert len(ends) == 2 * sum(TINY.n_blocks_per_stage)
    assert all(not p.any() for p in ends)


def test_strides_may_differ_between_axes():
    encoder = build_encoder(THICK, 1, (4, 8, 8))
    maps = encoder.features(torch.randn(1, 1, 4, 8, 8))
    assert [tuple(m.shape[2:]) for m in maps] == [(4, 8, 8), (4, 4, 4), (2, 2, 2)]
    with pytest.raises(ConfigError, match=r"multiples of 2x4x4 \(in place of 6: 4 or 8\)"):
        THICK.check_patch((4, 6, 8))


def test_one_voxel_at_the_deepest_stage_is_refused_for_two():
    with pytest.raises(ConfigError, match="4x4x8"):
        build_encoder(TINY, 1, (4, 4, 4))
    assert build_encoder(TINY, 1, (4, 4, 8)).embed(torch.randn(1, 1, 4, 4, 8)).shape == (1, 8)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"n_blocks_per_stage": (1, 2)}, "n_blocks_per_stage: 2 entries for 3 stages"),
        ({"strides": (1, 2)}, "strides: 2 entries for 3 stages"),
        ({"strides": (2, 2, 2)}, "the first one must be 1"),
        ({"n_blocks_per_stage": (1, 0, 1)}, "begin at 1"),
    ],
)
def test_stages_that_do_not_fit_together_are_refused(values, problem):
    with pytest.raises(ValidationError, match=problem):
        ResEncConfig(**{**TINY.model_dump(), **values})


def test_the_default_is_the_published_size():
    with torch.device("meta"):
        encoder = build_encoder(ResEncConfig(), 1, (160, 160, 160))
    assert encoder.channels == (32, 64, 128, 256, 320, 320)
    assert [len(stage.blocks) for stage in encoder.stages] == [1, 3, 4, 6, 6, 6]
