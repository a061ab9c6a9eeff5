"""SimMIM: voxels that were hidden from the input are to be predicted by one linear layer.

Xie et al., SimMIM: a simple framework for masked image modeling, 2022.

What for: as `mae`, for segmentation above all, and for encoders that need the whole grid, such as a
Swin transformer; no decoder helps, so the deepest map itself has to hold the answer. Cost: a step
of the encoder on the whole patch, and next to nothing besides: for a ViT several times that of
`mae`, which encodes the visible tokens alone, for others less than `mae`, whose decoder works at
full resolution. With a transformer, over twelve segmentation sets, Wald et al. (OpenMind, 2024)
measured a Dice of 69.2 %, 70.4 for `mae` and 63.6 from scratch.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.augment.masks import draw_token_masks
from medssl.errors import ConfigError
from medssl.methods.base import Pictures
from medssl.methods.config import SimMIMConfig
from medssl.methods.mae import explained_share, largest_block
from medssl.methods.masked import MaskedMethod
from medssl.methods.reconstruction import block_voxels
from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, PatchSize, ViTConfig
from medssl.models.encoder import Encoder
from medssl.models.tokens import cut_tokens
from medssl.models.vit import ViTEncoder, positions_on


class SimMIM(MaskedMethod):
    """L1 between the hidden voxels of the body and what a linear head makes of the deepest map.

    A learned token stands for each hidden token of a ViT; for other encoders hidden cubes of the
    input are painted with one learned value a channel.
    """

    num_views = 1
    intensity = False
    overlap = None

    def __init__(
        self,
        config: SimMIMConfig,
        model_config: ModelConfig,
        in_channels: int,
        patch_size: PatchSize,
        seed: int,
    ) -> None:
        super().__init__()
        self.mask_ratio = config.mask_ratio
        self.seed = seed
        self.encoder = build_encoder(model_config, in_channels, patch_size)
        self.side, self.block = mask_cells(config, model_config, patch_size)
        d, h, w = (n // self.side for n in patch_size)
        self.grid = (d, h, w)
        cells = math.prod(self.grid)
        if not 0 < round(config.mask_ratio * cells) < cells:
            raise ConfigError(
                f"method.mask_ratio {config.mask_ratio} of {cells} cubes of {self.side} voxels "
                "masks none or all of them; enlarge augment.patch.size, or choose a smaller "
                "method.mask_size"
            )
        if isinstance(self.encoder, ViTEncoder):
            self.mask = nn.Parameter(torch.zeros(self.encoder.config.dim))
            nn.init.normal_(self.mask, std=0.02)
        else:
            self.mask = nn.Parameter(torch.zeros(in_channels, 1, 1, 1))
        self.head = VoxelHead(self.encoder, in_channels, patch_size)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`.

        explained is the share of the hidden voxels' variance within each sample that the
        prediction explains (0: no better than their mean), counted the share of hidden voxels that
        the loss looks at.
        """
        image, inside, masked, hidden = self._hide(batch, step)
        predicted = self._predict(image, masked, hidden)
        with torch.autocast(image.device.type, enabled=False):
            counted = (hidden & inside).expand_as(image)
            loss = masked_mean_distance(predicted.float(), image.float(), counted)
            seen = (predicted.detach().float(), image.float(), counted)
            explained = explained_share(*(voxels.flatten(2) for voxels in seen))
        share = counted.sum() / hidden.expand_as(image).sum()
        return {"loss": loss, "explained": explained, "counted": share}

    def pictures(self, batch: Batch, step: int) -> Pictures:
        """See `Method.pictures`; nothing was asked of the output where the input was shown."""
        image, _, masked, hidden = self._hide(batch, step)
        output = self._predict(image, masked, hidden).float()
        return Pictures(image.masked_fill(hidden, torch.nan), output, image)

    def fill(self, image_BCDHW: Tensor, inside_B1DHW: Tensor, masked_BN: Tensor) -> Tensor:
        """See `MaskedMethod.fill`."""
        hidden = block_voxels(masked_BN, self.grid, self.side)
        return self._predict(image_BCDHW, masked_BN, hidden).float()

    def _hide(self, batch: Batch, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Patches, their voxels of body (or scan), the hidden cells (B, N), and their voxels."""
        image = batch["image"][:, 0]
        inside = batch.get("body", batch["valid"])[:, 0]
        bodies = None
        if "body" in batch:
            bodies = cut_tokens(inside, self.side).any(dim=2).reshape(-1, *self.grid).cpu()
        indices = batch["index"].cpu()
        masks = draw_token_masks(
            self.seed, step, indices, self.grid, self.mask_ratio, bodies, self.block
        )
        masked = masks.to(image.device)
        return image, inside, masked, block_voxels(masked, self.grid, self.side)

    def _predict(self, image: Tensor, masked: Tensor, hidden: Tensor) -> Tensor:
        """(B, C, D, H, W), without a look at what is hidden."""
        if isinstance(self.encoder, ViTEncoder):
            deepest = through_masked_tokens(self.encoder, image, masked, self.mask)
        else:
            painted = torch.where(hidden, self.mask.to(image.dtype), image)
            deepest = self.encoder.features(painted)[-1]
        predicted: Tensor = self.head(deepest)
        return predicted


class VoxelHead(nn.Module):
    """A 1x1x1 convolution from the deepest map to the voxels that each of its places stands for."""

    def __init__(self, encoder: Encoder, out_channels: int, patch_size: PatchSize) -> None:
        super().__init__()
        grid = deepest_grid(encoder, patch_size)
        self.patch_size = patch_size
        d, h, w = (-(-n // cells) for n, cells in zip(patch_size, grid, strict=True))
        self.stride = (d, h, w)
        self.leave = nn.Conv3d(encoder.channels[-1], out_channels * d * h * w, kernel_size=1)

    def forward(self, deepest: Tensor) -> Tensor:
        """(B, out_channels, D, H, W) from the deepest map (B, channels, d, h, w)."""
        voxels = shuffle_voxels(self.leave(deepest), self.stride)
        # Where a side was rounded up on the way down, the last voxels are none of the patch.
        d, h, w = self.patch_size
        return voxels[..., :d, :h, :w]


def deepest_grid(encoder: Encoder, patch_size: PatchSize) -> PatchSize:
    """Sides of a patch's deepest map, from a pass on torch's meta device (no computing)."""
    ghost = copy.deepcopy(encoder).to("meta")
    patch = torch.empty(1, encoder.in_channels, *patch_size, device="meta")
    with torch.no_grad():
        d, h, w = ghost.features(patch)[-1].shape[2:]
    return d, h, w


def shuffle_voxels(map_BKdhw: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """(B, C * s0 * s1 * s2, d, h, w) to (B, C, d * s0, h * s1, w * s2): channels to voxels.

    Shi et al. 2016, Real-time single image super-resolution, eq. 4, in three dimensions.
    """
    b, _, d, h, w = map_BKdhw.shape
    i, j, k = stride
    parts = map_BKdhw.reshape(b, -1, i, j, k, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.reshape(b, -1, d * i, h * j, w * k)


def through_masked_tokens(
    encoder: ViTEncoder, voxels_BCDHW: Tensor, masked_BN: Tensor, mask_token: Tensor
) -> Tensor:
    """The deepest map (B, dim, d, h, w) with `mask_token` (dim,) in place of each masked token.

    The token's place is added afterwards, so that the network knows where it is (Xie et al. 2022,
    section 3.2; Bao et al. 2022, BEiT).
    """
    config = encoder.config
    d, h, w = voxels_BCDHW.shape[2:]
    grid = config.grid((d, h, w))
    tokens = cut_tokens(voxels_BCDHW, config.token_size)
    shown = F.linear(tokens, encoder.stem.weight.flatten(1), encoder.stem.bias)
    x = torch.where(masked_BN[..., None], mask_token.to(shown.dtype), shown)
    x = x + positions_on(grid, config.dim, voxels_BCDHW.device)
    return encoder._through_blocks(x).mT.reshape(len(x), config.dim, *grid)


def mask_cells(
    config: SimMIMConfig, model_config: ModelConfig, patch_size: PatchSize
) -> tuple[int, int]:
    """Side in voxels of the cells that are hidden or shown, and how many make a masked cube's side.

    Raises:
        ConfigError: a mask_size larger than the patch, or no whole number of a ViT's tokens.
    """
    if isinstance(model_config, ViTConfig):
        cell: int = model_config.token_size
        size = config.mask_size or max(cell, largest_block(patch_size) // cell * cell)
    else:
        size = config.mask_size or largest_block(patch_size)
        cell = math.gcd(size, *patch_size)
    if size % cell:
        raise ConfigError(
            f"method.mask_size {size} is no whole number of the vit's tokens of {cell} voxels; "
            f"choose a multiple of {cell}, or null"
        )
    if size > min(patch_size):
        raise ConfigError(
            f"method.mask_size {size} is larger than the patch; choose {min(patch_size)} or less"
        )
    return cell, size // cell


def masked_mean_distance(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean absolute error over each sample's counted voxels, then over samples.

    Xie et al. 2022, section 3.4, but for the mean over samples: one without any counted voxel
    counts as 0 and still divides, so that the mean over ranks of equally many samples is the mean
    over all of them.

    Args:
        predicted, target: (B, C, D, H, W).
        counted: the same shape, bool.
    """
    distances = torch.where(counted, predicted - target, 0.0).abs().flatten(1).sum(dim=1)
    return (distances / counted.flatten(1).sum(dim=1).clamp_min(1)).mean()
