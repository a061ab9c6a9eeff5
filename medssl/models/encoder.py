"""What pretraining makes and fine-tuning takes: a network from a patch to its features."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from medssl.models.config import ModelConfig, PatchSize


class Encoder(nn.Module, ABC):
    """A 3D encoder; every backbone is behind these few members.

    Attributes:
        config: what it was built from.
        in_channels: channels of its input.
        embed_dim: length of the pooled embedding.
        channels: channels of each of its feature maps, fine to coarse.
        stem: the first layer, whose weight is (out, in_channels, k, k, k).
    """

    config: ModelConfig
    in_channels: int
    embed_dim: int
    channels: tuple[int, ...]
    stem: nn.Conv3d

    @abstractmethod
    def features(self, voxels_BCDHW: Tensor) -> list[Tensor]:
        """Feature maps (B, channels[i], d, h, w), fine to coarse; the last one is the deepest."""

    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """Its parts from the input to the deepest; each parameter is in exactly one of them.

        Layer-wise learning rates follow this order.
        """

    def embed(self, voxels_BCDHW: Tensor) -> Tensor:
        """(B, embed_dim): the deepest feature map, averaged over space."""
        return self.features(voxels_BCDHW)[-1].mean(dim=(2, 3, 4))

    def forward(self, voxels_BCDHW: Tensor) -> Tensor:
        """The same as `embed`."""
        return self.embed(voxels_BCDHW)

    def check_patch(self, size: PatchSize) -> None:
        """Raise a ConfigError that names the allowed sizes unless patches of `size` will do."""
        self.config.check_patch(size)


class Decoder(nn.Module, ABC):
    """From an encoder's maps of a patch back to its grid.

    Attributes:
        channels: channels of its output.
    """

    channels: int

    @abstractmethod
    def forward(self, voxels_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """(B, channels, D, H, W) from the patch and `Encoder.features` of it."""
