"""What pretraining makes and fine-tuning takes: a network from a patch to its features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from medssl.models.config import ModelConfig, PatchSize


class Encoder(nn.Module, ABC):
    """A 3D encoder; every backbone is behind these few members.

    Each of its parameters takes part in `embed`: what only a decoder needs is the decoder's, so
    that a method which trains the encoder alone leaves no parameter without a gradient.

    Attributes:
        config: what it was built from.
        in_channels: channels of its input.
        embed_dim: length of the pooled embedding.
        channels: channels of each of its feature maps, fine to coarse.
        stem_key: name in its state_dict of the weight (out, in_channels, k, k, k) that the voxels
            meet first, and that other channels therefore change.
        checkpointed: activation checkpointing (Chen et al., Training deep nets with sublinear
            memory cost, 2016): each of `layers` but the first keeps its input alone and is
            computed again on the way back. Gradients are the same to the last bit.
    """

    config: ModelConfig
    in_channels: int
    embed_dim: int
    channels: tuple[int, ...]
    stem_key: str = "stem.weight"
    checkpointed: bool = False

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

    def _through(self, layer: nn.Module, x: Tensor) -> Tensor:
        """layer(x), computed again on the way back where the encoder is `checkpointed`."""
        if not (self.checkpointed and torch.is_grad_enabled()):
            out: Tensor = layer(x)
            return out

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(layer)

        again: Tensor = checkpoint(layer, x, use_reentrant=False, context_fn=contexts)
        return again


class Decoder(nn.Module, ABC):
    """From an encoder's maps of a patch back to its grid.

    Attributes:
        channels: channels of its output.
    """

    channels: int

    @abstractmethod
    def forward(self, voxels_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """(B, channels, D, H, W) from the patch and `Encoder.features` of it."""


@contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Running statistics of a batch norm count a batch once: here copies of them are updated."""
    norms = [m for m in layer.modules() if isinstance(m, _BatchNorm)]
    kept = [dict(norm.named_buffers()) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
