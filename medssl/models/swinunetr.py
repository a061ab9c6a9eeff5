"""Swin UNETR: MONAI's, parted into encoder, decoder and head.

Hatamizadeh et al., Swin UNETR: Swin transformers for semantic segmentation of brain tumors in MRI
images, 2022; pretrained as in Tang et al., Self-supervised pre-training of Swin transformers for 3D
medical image analysis, 2022.

Names are MONAI's, so weights for its `SwinUNETR` map one to one:

    swinViT.*                              encoder.swinViT.*
    encoder1 .. encoder4, encoder10        decoder.encoder1 ..: convolutions of skips alone
    decoder5 .. decoder1                   decoder.decoder5 ..
    out.conv.conv.*                        head.* of a segmenter
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from medssl.models.config import SwinUNETRConfig
from medssl.models.encoder import Decoder, Encoder

_DEPTHS = (2, 2, 2, 2)
_HEADS = (3, 6, 12, 24)
_WINDOW = (7, 7, 7)


class SwinEncoder(Encoder):
    """Tokens of 2^3 voxels through four stages of windowed attention; each halves the grid."""

    stem_key = "swinViT.patch_embed.proj.weight"

    def __init__(self, config: SwinUNETRConfig, in_channels: int) -> None:
        from monai.networks.nets.swin_unetr import SwinTransformer

        super().__init__()
        self.config: SwinUNETRConfig = config
        self.in_channels = in_channels
        self.channels = tuple(config.feature_size * 2**i for i in range(len(_DEPTHS) + 1))
        self.embed_dim = self.channels[-1]
        self.swinViT = SwinTransformer(
            in_chans=in_channels,
            embed_dim=config.feature_size,
            window_size=_WINDOW,
            patch_size=(2, 2, 2),
            depths=_DEPTHS,
            num_heads=_HEADS,
        )

    def features(self, voxels_BCDHW: Tensor) -> list[Tensor]:
        """Five maps (B, feature_size * 2^i, D / 2^(i+1), ...), each voxel's channels normalised."""
        x, *stages = self.layers()
        maps = [x(voxels_BCDHW)]
        for stage in stages:
            maps.append(self._through(stage, maps[-1].contiguous()))
        return [self.swinViT.proj_out(m, normalize=True) for m in maps]

    def layers(self) -> list[nn.Module]:
        """See `Encoder.layers`."""
        swin: Any = self.swinViT
        return [
            swin.patch_embed,
            *(stage[0] for stage in (swin.layers1, swin.layers2, swin.layers3, swin.layers4)),
        ]


class SwinUNETRDecoder(Decoder):
    """Residual convolutions of the skips and of the deepest map, and the way up."""

    def __init__(self, config: SwinUNETRConfig, in_channels: int) -> None:
        super().__init__()
        width = config.feature_size
        self.channels = width
        self.encoder1 = _skip(in_channels, width)
        self.encoder2 = _skip(width, width)
        self.encoder3 = _skip(2 * width, 2 * width)
        self.encoder4 = _skip(4 * width, 4 * width)
        self.encoder10 = _skip(16 * width, 16 * width)
        self.decoder5 = _up(16 * width, 8 * width)
        self.decoder4 = _up(8 * width, 4 * width)
        self.decoder3 = _up(4 * width, 2 * width)
        self.decoder2 = _up(2 * width, width)
        self.decoder1 = _up(width, width)

    def forward(self, voxels_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """(B, channels, D, H, W) from the patch and the encoder's maps of it."""
        half, quarter, eighth, sixteenth, deepest = features
        x = self.decoder5(self.encoder10(deepest), sixteenth)
        x = self.decoder4(x, self.encoder4(eighth))
        x = self.decoder3(x, self.encoder3(quarter))
        x = self.decoder2(x, self.encoder2(half))
        out: Tensor = self.decoder1(x, self.encoder1(voxels_BCDHW))
        return out


def _skip(channels: int, out: int) -> nn.Module:
    from monai.networks.blocks import UnetrBasicBlock

    block: nn.Module = UnetrBasicBlock(3, channels, out, 3, 1, "instance", res_block=True)
    return block


def _up(channels: int, out: int) -> nn.Module:
    from monai.networks.blocks import UnetrUpBlock

    block: nn.Module = UnetrUpBlock(3, channels, out, 3, 2, "instance", res_block=True)
    return block
