"""From what is left visible of a patch to all of it: one network for tokens, one for blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medssl.models.encoder import Decoder, Encoder
from medssl.models.tokens import cut_tokens
from medssl.models.vit import ViTEncoder, init_linears, positions_on, transformer_block

_DECODER_DEPTH = 2


class TokenReconstruction(nn.Module):
    """A light transformer of half the encoder's width, from visible tokens' codes to all tokens.

    He et al. 2022: the encoder sees the visible tokens alone; a learned token stands for each of
    the others from here on.
    """

    def __init__(self, encoder: ViTEncoder) -> None:
        super().__init__()
        config = encoder.config
        self.dim = config.heads * max(1, config.dim // config.heads // 2)
        self.enter = nn.Linear(config.dim, self.dim)
        self.mask_token = nn.Parameter(torch.zeros(self.dim))
        self.blocks = nn.Sequential(
            *(
                transformer_block(self.dim, config.heads, config.mlp_ratio)
                for _ in range(_DECODER_DEPTH)
            )
        )
        self.norm = nn.LayerNorm(self.dim)
        self.leave = nn.Linear(self.dim, encoder.in_channels * config.token_size**3)
        init_linears(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, encoder: ViTEncoder, voxels_BCDHW: Tensor, masked_BN: Tensor) -> Tensor:
        """Predicted tokens (B, N, C * token_size^3); the same number is masked in each sample."""
        visible = visible_tokens(masked_BN)
        codes = self.enter(encoder.encode_visible(voxels_BCDHW, visible))
        tokens = self.mask_token.to(codes.dtype).expand(*masked_BN.shape, -1)
        tokens = tokens.scatter(1, visible[..., None].expand(-1, -1, self.dim), codes)
        d, h, w = voxels_BCDHW.shape[2:]
        positions = positions_on(encoder.config.grid((d, h, w)), self.dim, tokens.device)
        predicted: Tensor = self.leave(self.norm(self.blocks(tokens + positions)))
        return predicted


class BlockReconstruction(nn.Module):
    """A segmenter's decoder over the encoder's maps of a patch whose hidden blocks are painted."""

    def __init__(self, decoder: Decoder, in_channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.decoder = decoder
        self.leave = nn.Conv3d(decoder.channels, in_channels, kernel_size=1)
        self.paint = nn.Parameter(torch.zeros(in_channels, 1, 1, 1))

    def forward(self, encoder: Encoder, voxels_BCDHW: Tensor, masked_BN: Tensor) -> Tensor:
        """Predicted voxels, as tokens (B, N, C * side^3)."""
        painted = self.painted(voxels_BCDHW, masked_BN)
        return cut_tokens(self.decoded(painted, encoder.features(painted)), self.side)

    def painted(self, voxels_BCDHW: Tensor, masked_BN: Tensor) -> Tensor:
        """The patch with one learned value a channel in place of every hidden voxel."""
        d, h, w = (n // self.side for n in voxels_BCDHW.shape[2:])
        hidden = block_voxels(masked_BN, (d, h, w), self.side)
        return torch.where(hidden, self.paint.to(voxels_BCDHW.dtype), voxels_BCDHW)

    def decoded(self, painted_BCDHW: Tensor, features: list[Tensor]) -> Tensor:
        """Predicted voxels (B, C, D, H, W) from the painted patch and the encoder's maps of it."""
        predicted: Tensor = self.leave(self.decoder(painted_BCDHW, features))
        return predicted


def block_voxels(masked_BN: Tensor, grid: tuple[int, int, int], side: int) -> Tensor:
    """(B, 1, D, H, W) bool: the voxels of the masked blocks of `side` voxels on a `grid`."""
    hidden = masked_BN.reshape(-1, 1, *grid)
    for axis in (2, 3, 4):
        hidden = hidden.repeat_interleave(side, dim=axis)
    return hidden


def visible_tokens(masked_BN: Tensor) -> Tensor:
    """(B, M) indices, ascending, of the tokens that are not masked; M from the first sample."""
    count = int((~masked_BN[0]).sum())
    return masked_BN.byte().argsort(dim=1, stable=True)[:, :count]
