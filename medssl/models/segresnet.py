"""A residual convolutional U-Net: MONAI's SegResNet, parted into encoder, decoder and head.

Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization, 2018.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from medssl.models.config import SegResNetConfig
from medssl.models.encoder import Decoder, Encoder

_MAX_GROUPS = 8


class SegResNetEncoder(Encoder):
    """The stem and the levels down; each level halves the grid (rounded up)."""

    def __init__(self, config: SegResNetConfig, in_channels: int) -> None:
        super().__init__()
        self.config: SegResNetConfig = config
        self.in_channels = in_channels
        self.channels = tuple(config.init_filters * 2**i for i in range(len(config.blocks_down)))
        self.embed_dim = self.channels[-1]
        whole = _monai_segresnet(config, in_channels)
        # MONAI wraps its convolutions; the stem is the bare one, so that its weight has one name.
        self.stem = whole.convInit.conv
        self.levels = whole.down_layers

    def features(self, voxels_BCDHW: Tensor) -> list[Tensor]:
        """One map a level: (B, init_filters * 2^i, D / 2^i, H / 2^i, W / 2^i), rounded up."""
        x = self.stem(voxels_BCDHW)
        maps = []
        for level in self.levels:
            x = self._through(level, x)
            maps.append(x)
        return maps

    def layers(self) -> list[nn.Module]:
        """See `Encoder.layers`."""
        return [self.stem, *self.levels]


class SegResNetDecoder(Decoder):
    """The levels up, with skip connections, to `channels` maps at full resolution."""

    def __init__(self, config: SegResNetConfig) -> None:
        super().__init__()
        whole = _monai_segresnet(config, in_channels=1)
        self.ups = whole.up_samples
        self.levels = whole.up_layers
        # The norm and activation before MONAI's final convolution, which is the head's.
        self.final = whole.conv_final[:-1]
        self.channels = config.init_filters

    def forward(self, voxels_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """(B, channels, D, H, W) from the encoder's maps; the voxels themselves are not used."""
        *skips, x = features
        for up, level, skip in zip(self.ups, self.levels, reversed(skips), strict=True):
            d, h, w = skip.shape[2:]
            # An odd side was rounded up on the way down: one voxel is too many on the way up.
            x = level(up(x)[..., :d, :h, :w] + skip)
        out: Tensor = self.final(x)
        return out


def _monai_segresnet(config: SegResNetConfig, in_channels: int) -> Any:
    from monai.networks.nets import SegResNet

    groups = _MAX_GROUPS if config.init_filters % _MAX_GROUPS == 0 else _MAX_GROUPS // 2
    return SegResNet(
        spatial_dims=3,
        init_filters=config.init_filters,
        in_channels=in_channels,
        out_channels=1,
        norm=("GROUP", {"num_groups": groups}),
        blocks_down=config.blocks_down,
        blocks_up=(config.blocks_up,) * (len(config.blocks_down) - 1),
    )
