"""From a configuration to a network: an encoder, a segmenter or a classifier."""

from __future__ import annotations

from torch import Tensor, nn

from medssl.errors import ConfigError
from medssl.models.config import (
    GenesisConfig,
    ModelConfig,
    PatchSize,
    ResEncConfig,
    ResNetConfig,
    SegResNetConfig,
    SwinUNETRConfig,
    ViTConfig,
)
from medssl.models.encoder import Decoder, Encoder
from medssl.models.genesis import GenesisDecoder, GenesisEncoder
from medssl.models.ordered import OrderedHead
from medssl.models.regions import Membership, RegionHead
from medssl.models.resenc import ResEncDecoder, ResEncEncoder
from medssl.models.resnet import ResNetEncoder
from medssl.models.segresnet import SegResNetDecoder, SegResNetEncoder
from medssl.models.swinunetr import SwinEncoder, SwinUNETRDecoder
from medssl.models.vit import UNETRDecoder, ViTEncoder


class Segmenter(nn.Module):
    """Encoder, decoder and a 1x1x1 convolution to the classes' logits."""

    def __init__(self, encoder: Encoder, decoder: Decoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, voxels_BCDHW: Tensor) -> Tensor:
        """Logits (B, num_classes, D, H, W)."""
        logits: Tensor = self.head(self.maps(voxels_BCDHW))
        return logits

    def maps(self, voxels_BCDHW: Tensor) -> Tensor:
        """The decoder's answer at every voxel, (B, channels, D, H, W)."""
        maps: Tensor = self.decoder(voxels_BCDHW, self.encoder.features(voxels_BCDHW))
        return maps


class Classifier(nn.Module):
    """The pooled embedding, dropout and a last layer to the classes' logits.

    Attributes:
        pool: from the deepest feature map to the embedding; None: as the encoder pools it.
        head: from the embedding to the logits; a probe may put another one in its place.
    """

    head: nn.Module

    def __init__(
        self, encoder: Encoder, num_classes: int, dropout: float, ordered: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pool: nn.Module | None = None
        self.dropout = nn.Dropout(dropout)
        head = OrderedHead if ordered else nn.Linear
        self.head = head(encoder.embed_dim, num_classes)

    def forward(self, voxels_BCDHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        if self.pool is None:
            pooled = self.encoder.embed(voxels_BCDHW)
        else:
            pooled = self.pool(self.encoder.features(voxels_BCDHW)[-1])
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def build_encoder(config: ModelConfig, in_channels: int, patch_size: PatchSize) -> Encoder:
    """An encoder with fresh weights, drawn from torch's generator.

    Raises:
        ConfigError: patches of `patch_size` do not suit the network; the message names sizes.
    """
    config.check_patch(patch_size)
    match config:
        case SegResNetConfig():
            return SegResNetEncoder(config, in_channels)
        case ResEncConfig():
            return ResEncEncoder(config, in_channels)
        case SwinUNETRConfig():
            return SwinEncoder(config, in_channels)
        case ResNetConfig():
            return ResNetEncoder(config, in_channels)
        case GenesisConfig():
            return GenesisEncoder(config, in_channels)
        case ViTConfig():
            return ViTEncoder(config, in_channels)


def build_decoder(config: ModelConfig, in_channels: int) -> Decoder:
    """The decoder that a segmenter of this configuration has.

    Raises:
        ConfigError: the network has none; the message names those that have one.
    """
    match config:
        case SegResNetConfig():
            return SegResNetDecoder(config)
        case ResEncConfig():
            return ResEncDecoder(config)
        case SwinUNETRConfig():
            return SwinUNETRDecoder(config, in_channels)
        case ResNetConfig():
            raise ConfigError(
                "model.name: resnet classifies and has no decoder, which a segmenter and masked "
                "reconstruction need; choose segresnet, resenc, swinunetr or vit"
            )
        case GenesisConfig():
            return GenesisDecoder(config)
        case ViTConfig():
            return UNETRDecoder(config, in_channels)


def build_segmenter(
    config: ModelConfig,
    in_channels: int,
    num_classes: int,
    patch_size: PatchSize,
    membership: Membership | None = None,
) -> Segmenter:
    """A segmenter with `.encoder`, `.decoder` and `.head`; background counts as a class.

    Args:
        membership: where regions are learned that may overlap: for each class whether it is of
            each region, see `medssl.models.regions`.

    Raises:
        ConfigError: as `build_encoder` and `build_decoder`.
    """
    encoder = build_encoder(config, in_channels, patch_size)
    decoder = build_decoder(config, in_channels)
    if membership is not None:
        return Segmenter(encoder, decoder, RegionHead(decoder.channels, membership))
    return Segmenter(encoder, decoder, nn.Conv3d(decoder.channels, num_classes, kernel_size=1))


def build_classifier(
    config: ModelConfig,
    in_channels: int,
    num_classes: int,
    patch_size: PatchSize,
    dropout: float,
    ordered: bool = False,
) -> Classifier:
    """A classifier with `.encoder` and `.head`; `ordered`: of classes that stand in an order.

    Raises:
        ConfigError: as `build_encoder`.
    """
    encoder = build_encoder(config, in_channels, patch_size)
    return Classifier(encoder, num_classes, dropout, ordered)
