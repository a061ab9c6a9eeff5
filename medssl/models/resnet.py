"""3D ResNets for classification: MONAI's, without the linear layer at the end.

He et al., Deep residual learning, 2016; in 3D and pretrained Chen et al., Med3D (MedicalNet), 2019,
whose names of weights these are: conv1, bn1, layer1 .. layer4. Its weights fit `norm: batch`.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from medssl.models.config import ResNetConfig
from medssl.models.encoder import Encoder

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)
_GROUPS = 32  # Wu and He, Group normalization, 2018


class ResNetEncoder(Encoder):
    """A convolution of 7^3, max-pooling, and four layers of residual blocks."""

    stem_key = "conv1.weight"

    def __init__(self, config: ResNetConfig, in_channels: int) -> None:
        super().__init__()
        self.config: ResNetConfig = config
        self.in_channels = in_channels
        expansion = 4 if config.depth == 50 else 1
        self.channels = (WIDTHS[0], *(width * expansion for width in WIDTHS))
        self.embed_dim = self.channels[-1]
        library = _monai_resnet(config, in_channels)
        self.conv1: nn.Conv3d = library.conv1
        self.bn1: nn.Module = library.bn1
        self.act: nn.Module = library.act
        self.maxpool: nn.Module = library.maxpool
        self.layer1: nn.Sequential = library.layer1
        self.layer2: nn.Sequential = library.layer2
        self.layer3: nn.Sequential = library.layer3
        self.layer4: nn.Sequential = library.layer4
        _pad_with_gradient(self)
        if config.norm == "group":
            _put_group_norms(self)

    def features(self, voxels_BCDHW: Tensor) -> list[Tensor]:
        """Five maps: after the first convolution, then after each layer; sides are rounded up."""
        maps = [self.act(self.bn1(self.conv1(voxels_BCDHW)))]
        x = self.maxpool(maps[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = self._through(layer, x)
            maps.append(x)
        return maps

    def layers(self) -> list[nn.Module]:
        """See `Encoder.layers`."""
        stem = nn.ModuleList([self.conv1, self.bn1])
        return [stem, self.layer1, self.layer2, self.layer3, self.layer4]


class ZeroPaddedShortcut(nn.Module):
    """Every `stride`-th voxel, and zeros for the channels that are new (He et al., option A).

    MONAI's own, which this stands in for, lets no gradient through.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """(B, channels, d, h, w) from (B, fewer channels, D, H, W)."""
        s = self.stride
        taken = x_BCDHW[:, :, ::s, ::s, ::s]
        return F.pad(taken, (0, 0, 0, 0, 0, 0, 0, self.channels - taken.shape[1]))


def _monai_resnet(config: ResNetConfig, in_channels: int) -> Any:
    from monai.networks.nets import ResNet
    from monai.networks.nets.resnet import get_medicalnet_pretrained_resnet_args

    bias, shortcut = get_medicalnet_pretrained_resnet_args(config.depth)
    return ResNet(
        block="bottleneck" if config.depth == 50 else "basic",
        layers=list(BLOCKS[config.depth]),
        block_inplanes=list(WIDTHS),
        n_input_channels=in_channels,
        conv1_t_stride=config.conv1_stride,
        shortcut_type=shortcut,
        bias_downsample=bias,
        feed_forward=False,
    )


def _pad_with_gradient(module: nn.Module) -> None:
    for block in list(module.modules()):
        shortcut = getattr(block, "downsample", None)
        if shortcut is not None and not isinstance(shortcut, nn.Module):
            block.downsample = ZeroPaddedShortcut(**_of_partial(shortcut))


def _of_partial(shortcut: Any) -> dict[str, int]:
    return {"channels": shortcut.keywords["planes"], "stride": shortcut.keywords["stride"]}


def _put_group_norms(module: nn.Module) -> None:
    """In place of every batch norm, under its name: MONAI's `norm` reaches the first one alone."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm3d):
                setattr(parent, name, nn.GroupNorm(_GROUPS, child.num_features))
