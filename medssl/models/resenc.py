"""A residual-encoder U-Net: nnU-Net's ResEnc, parted into encoder, decoder and head.

Isensee et al., nnU-Net revisited: a call for rigorous validation in 3D medical image segmentation,
2024; the backbone of OpenMind's CNN baselines (Wald et al., 2024).

Names are those of `dynamic_network_architectures`, so weights of nnU-Net and nnssl map one to one:

    encoder.stem.*, encoder.stages.*            the same here
    decoder.stages.*, decoder.transpconvs.*     the same here
    decoder.seg_layers.{last}.*                 head.* of a segmenter
    decoder.seg_layers.{others}.*               deep supervision: not here
    decoder.encoder.*                           the encoder a second time: not here

The library also names each convolution and each norm twice, `conv` and `norm` beside
`all_modules.0` and `all_modules.1`; here they have the second names alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medssl.models.config import ResEncConfig
from medssl.models.encoder import Decoder, Encoder

_NEGATIVE_SLOPE = 1e-2


class ResEncEncoder(Encoder):
    """The stem and the residual stages; instance norm and leaky ReLU as in nnU-Net."""

    stem_key = "stem.convs.0.all_modules.0.weight"

    def __init__(self, config: ResEncConfig, in_channels: int) -> None:
        super().__init__()
        self.config: ResEncConfig = config
        self.in_channels = in_channels
        self.channels = config.features_per_stage
        self.embed_dim = self.channels[-1]
        library = _library_encoder(config, in_channels)
        self.stem: nn.Module = library.stem
        self.stages: nn.Sequential = library.stages
        _initialise(self)
        _name_once(self)

    def features(self, voxels_BCDHW: Tensor) -> list[Tensor]:
        """One map a stage: (B, features_per_stage[i], ...), smaller by the strides so far."""
        x = self.stem(voxels_BCDHW)
        maps = []
        for stage in self.stages:
            x = self._through(stage, x)
            maps.append(x)
        return maps

    def layers(self) -> list[nn.Module]:
        """See `Encoder.layers`."""
        return [self.stem, *self.stages]


class ResEncDecoder(Decoder):
    """Transposed convolutions up, each joined with the encoder's map and convolved once."""

    def __init__(self, config: ResEncConfig) -> None:
        from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder

        super().__init__()
        with torch.device("meta"):  # the library reads the encoder's settings, not its weights
            encoder = _library_encoder(config, in_channels=1)
        library = UNetDecoder(encoder, num_classes=1, n_conv_per_stage=1, deep_supervision=False)
        self.channels = config.features_per_stage[0]
        self.stages: nn.ModuleList = library.stages
        self.transpconvs: nn.ModuleList = library.transpconvs
        _initialise(self)
        _name_once(self)

    def forward(self, voxels_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """(B, channels, D, H, W) from the encoder's maps; the voxels themselves are not used."""
        *skips, x = features
        for up, stage, skip in zip(self.transpconvs, self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
        return x


def _library_encoder(config: ResEncConfig, in_channels: int) -> Any:
    from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder

    return ResidualEncoder(
        in_channels,
        n_stages=len(config.features_per_stage),
        features_per_stage=config.features_per_stage,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=config.stage_strides,
        n_blocks_per_stage=config.n_blocks_per_stage,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"negative_slope": _NEGATIVE_SLOPE, "inplace": True},
        return_skips=True,
    )


def _initialise(module: nn.Module) -> None:
    """As nnU-Net: He's normal weights, and residual branches that begin at zero."""
    from dynamic_network_architectures.initialization.weight_init import (
        InitWeights_He,
        init_last_bn_before_add_to_0,
    )

    module.apply(InitWeights_He(_NEGATIVE_SLOPE))
    module.apply(init_last_bn_before_add_to_0)


def _name_once(module: nn.Module) -> None:
    """Drop the library's second names: a file of weights cannot hold one tensor under two."""
    from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU

    for block in module.modules():
        if isinstance(block, ConvDropoutNormReLU):
            for name in [n for n, _ in block.named_children() if n != "all_modules"]:
                delattr(block, name)
