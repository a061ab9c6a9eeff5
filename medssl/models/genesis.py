"""The plain 3D U-Net of Models Genesis, for the weights that were pretrained with it.

Zhou et al., Models Genesis: generic autodidactic models for 3D medical image analysis, 2021.

Names are those of its own network, so its weights map one to one:

    down_tr64 .. down_tr512     encoder.*
    up_tr256 .. up_tr64         decoder.*
    out_tr.final_conv           head.* of a segmenter

Its batch norms use a batch's own statistics always, in evaluation too; here, as everywhere in
medssl, evaluation uses the running ones, which the file holds as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medssl.models.config import GenesisConfig
from medssl.models.encoder import Decoder, Encoder


class GenesisEncoder(Encoder):
    """Four levels of two convolutions, halved by max-pooling between them."""

    stem_key = "down_tr64.ops.0.conv1.weight"

    def __init__(self, config: GenesisConfig, in_channels: int) -> None:
        super().__init__()
        self.config: GenesisConfig = config
        self.in_channels = in_channels
        self.channels = tuple(config.width * 2**i for i in range(1, 5))
        self.embed_dim = self.channels[-1]
        w = config.width
        self.down_tr64 = _Level(in_channels, w, 2 * w)
        self.down_tr128 = _Level(2 * w, 2 * w, 4 * w)
        self.down_tr256 = _Level(4 * w, 4 * w, 8 * w)
        self.down_tr512 = _Level(8 * w, 8 * w, 16 * w)
        self.pool = nn.MaxPool3d(2)

    def features(self, voxels_BCDHW: Tensor) -> list[Tensor]:
        """Four maps: (B, width * 2^(i+1), D / 2^i, H / 2^i, W / 2^i)."""
        first, *others = self.layers()
        maps = [first(voxels_BCDHW)]
        for level in others:
            maps.append(self._through(level, self.pool(maps[-1])))
        return maps

    def layers(self) -> list[nn.Module]:
        """See `Encoder.layers`."""
        return [self.down_tr64, self.down_tr128, self.down_tr256, self.down_tr512]


class GenesisDecoder(Decoder):
    """Transposed convolutions up, each joined with the encoder's map and convolved twice."""

    def __init__(self, config: GenesisConfig) -> None:
        super().__init__()
        w = config.width
        self.channels = 2 * w
        self.up_tr256 = _Up(16 * w, 8 * w)
        self.up_tr128 = _Up(8 * w, 4 * w)
        self.up_tr64 = _Up(4 * w, 2 * w)

    def forward(self, voxels_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """(B, channels, D, H, W) from the encoder's maps; the voxels themselves are not used."""
        *skips, x = features
        ups = (self.up_tr256, self.up_tr128, self.up_tr64)
        for up, skip in zip(ups, reversed(skips), strict=True):
            x = up(x, skip)
        return x


class _Level(nn.Module):
    def __init__(self, channels: int, middle: int, out: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(_Convolution(channels, middle), _Convolution(middle, out))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ops(x)
        return out


class _Up(_Level):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels + out, out, out)
        self.up_conv = nn.ConvTranspose3d(channels, channels, kernel_size=2, stride=2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat([self.up_conv(x), skip], dim=1))


class _Convolution(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, out, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm3d(out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn1(self.conv1(x)))
