"""A 3D vision transformer that can encode some of its tokens and leave the others unseen.

Dosovitskiy et al., An image is worth 16x16 words, 2021; visible tokens alone as in He et al.,
Masked autoencoders are scalable vision learners, 2022.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, device, inference_mode, nn

from medssl.models.config import ViTConfig
from medssl.models.encoder import Decoder, Encoder
from medssl.models.positions import sincos_positions
from medssl.models.tokens import cut_tokens, take_tokens


class ViTEncoder(Encoder):
    """Tokens through pre-norm transformer blocks; positions are fixed, so any grid will do."""

    def __init__(self, config: ViTConfig, in_channels: int) -> None:
        super().__init__()
        self.config: ViTConfig = config
        self.in_channels = in_channels
        self.embed_dim = config.dim
        self.channels = (config.dim,) * config.num_features
        side = config.token_size
        self.stem = nn.Conv3d(in_channels, config.dim, kernel_size=side, stride=side)
        self.blocks = nn.ModuleList(
            transformer_block(config.dim, config.heads, config.mlp_ratio)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim)
        init_linears(self)

    def features(self, voxels_BCDHW: Tensor) -> list[Tensor]:
        """`num_features` maps (B, dim, d, h, w) of one grid, from evenly spaced blocks."""
        grid = self._grid(voxels_BCDHW)
        count = self.config.num_features
        wanted = {self.config.depth * (i + 1) // count - 1 for i in range(count)}
        x = self._embed_tokens(voxels_BCDHW)
        maps = []
        for number, block in enumerate(self.blocks):
            x = self._through(block, x)
            if number in wanted:
                last = number == len(self.blocks) - 1
                maps.append((self.norm(x) if last else x).mT.unflatten(2, grid))
        return maps

    def layers(self) -> list[nn.Module]:
        """See `Encoder.layers`."""
        return [self.stem, *self.blocks, self.norm]

    def embed(self, voxels_BCDHW: Tensor) -> Tensor:
        """(B, dim): the mean of the normalised tokens."""
        return self._through_blocks(self._embed_tokens(voxels_BCDHW)).mean(dim=1)

    def encode_visible(self, voxels_BCDHW: Tensor, visible_BM: Tensor) -> Tensor:
        """(B, M, dim): the tokens of `visible_BM` (indices, row-major), seeing only each other."""
        return self._through_blocks(self._embed_tokens(voxels_BCDHW, visible_BM))

    def _embed_tokens(self, voxels_BCDHW: Tensor, visible_BM: Tensor | None = None) -> Tensor:
        grid = self._grid(voxels_BCDHW)
        tokens = cut_tokens(voxels_BCDHW, self.config.token_size)
        positions = positions_on(grid, self.config.dim, voxels_BCDHW.device)
        # They follow the weights as a buffer would; type_as leaves no device in a trace's code.
        positions = positions.type_as(self.stem.weight).expand(tokens.shape[0], -1, -1)
        if visible_BM is not None:
            tokens = take_tokens(tokens, visible_BM)
            positions = take_tokens(positions, visible_BM)
        # A convolution whose stride is its kernel is this product over the tokens.
        return F.linear(tokens, self.stem.weight.flatten(1), self.stem.bias) + positions

    def _through_blocks(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = self._through(block, x)
        out: Tensor = self.norm(x)
        return out

    def _grid(self, voxels_BCDHW: Tensor) -> tuple[int, int, int]:
        d, h, w = (int(side) for side in voxels_BCDHW.shape[2:])  # in a trace they are tensors
        size = (d, h, w)
        self.config.check_patch(size)
        return self.config.grid(size)


class UNETRDecoder(Decoder):
    """UNETR's decoder (Hatamizadeh et al. 2022) out of MONAI's blocks, for tokens of 2^k voxels.

    Hidden states of `num_features` = k depths are brought to the scales 2^(k-1) .. 2 by
    transposed convolutions and joined on the way up with the one below; the voxels themselves
    give the skip at full resolution.
    """

    def __init__(self, config: ViTConfig, in_channels: int) -> None:
        from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock

        super().__init__()
        filters = [config.decoder_filters * 2**i for i in range(config.num_features)]
        norm: Literal["instance"] = "instance"
        self.channels = config.decoder_filters
        self.voxels = UnetrBasicBlock(3, in_channels, filters[0], 3, 1, norm, res_block=True)
        self.projections = nn.ModuleList(
            UnetrPrUpBlock(
                3,
                config.dim,
                filters[level],
                layers,
                3,
                1,
                2,
                norm,
                conv_block=True,
                res_block=True,
            )
            for layers, level in enumerate(range(config.num_features - 1, 0, -1))
        )
        below = [config.dim, *filters[:0:-1]]
        self.ups = nn.ModuleList(
            UnetrUpBlock(3, deep, shallow, 3, 2, norm, res_block=True)
            for deep, shallow in zip(below, filters[::-1], strict=True)
        )

    def forward(self, voxels_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """(B, channels, D, H, W) from the patch and the encoder's maps of it."""
        *earlier, x = features
        skips = [
            project(state)
            for project, state in zip(self.projections, reversed(earlier), strict=True)
        ]
        for up, skip in zip(self.ups, [*skips, self.voxels(voxels_BCDHW)], strict=True):
            x = up(x, skip)
        return x


def transformer_block(dim: int, heads: int, mlp_ratio: float) -> nn.TransformerEncoderLayer:
    """A pre-norm block without dropout; attention is torch's scaled_dot_product_attention."""
    return nn.TransformerEncoderLayer(
        dim,
        heads,
        dim_feedforward=int(dim * mlp_ratio),
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def init_linears(module: nn.Module) -> None:
    """Xavier's uniform weights and zero biases, for token embeddings too (He et al. 2022, A.1)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            nn.init.xavier_uniform_(part.weight.data.flatten(1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@cache
def positions_on(grid: tuple[int, int, int], dim: int, where: device) -> Tensor:
    """`sincos_positions` on a device, made once for each grid."""
    with inference_mode(False):
        return sincos_positions(grid, dim).to(where)
