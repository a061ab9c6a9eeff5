"""Masked autoencoders: what was hidden is to be reconstructed.

He et al., Masked autoencoders are scalable vision learners, 2022, for a ViT, which sees the
visible tokens alone; for a CNN the hidden blocks of the input are painted over. Either way the
loss looks at hidden voxels of the body only, and at those inside the scan where no body is known.

What for: segmentation above all; over twelve segmentation sets Wald et al. (OpenMind, 2024) found
no method ahead of it, with a CNN and with a transformer. Pooled features are weaker for
classification than those of a contrast. Cost: for a ViT the encoder's step on the visible quarter
of the tokens and two narrow blocks on all of them, the cheapest step there is; for a CNN that of
training a segmenter on the patch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.augment.masks import draw_token_masks
from medssl.errors import ConfigError
from medssl.methods.base import Pictures
from medssl.methods.config import MAEConfig
from medssl.methods.masked import MaskedMethod
from medssl.methods.reconstruction import BlockReconstruction, TokenReconstruction, block_voxels
from medssl.models.build import build_decoder, build_encoder
from medssl.models.config import ModelConfig, PatchSize, ViTConfig
from medssl.models.encoder import Encoder
from medssl.models.tokens import cut_tokens
from medssl.models.vit import ViTEncoder

_LARGEST_BLOCK = 16
_FEWEST_BLOCKS = 27
_VARIANCE_FLOOR = 1e-6


class MAE(MaskedMethod):
    """Reconstruction of masked cubes: a ViT's tokens, or blocks of a CNN's input.

    A ViT is to predict each token normalised by its own mean and deviation, a CNN the voxels as
    they are. The decoder of a ViT's reconstruction is thrown away after pretraining; that of a CNN
    is a segmenter's and is exported.
    """

    num_views = 1
    intensity = False
    overlap = None

    def __init__(
        self,
        config: MAEConfig,
        model_config: ModelConfig,
        in_channels: int,
        patch_size: PatchSize,
        seed: int,
    ) -> None:
        super().__init__()
        self.mask_ratio = config.mask_ratio
        self.seed = seed
        self.encoder = build_encoder(model_config, in_channels, patch_size)
        self.side = cube_side(config, model_config, patch_size)
        d, h, w = (n // self.side for n in patch_size)
        self.grid = (d, h, w)
        cubes = math.prod(self.grid)
        if not 0 < round(config.mask_ratio * cubes) < cubes:
            raise ConfigError(
                f"method.mask_ratio {config.mask_ratio} of {cubes} cubes of {self.side} voxels "
                "masks none or all of them; enlarge augment.patch.size, or choose smaller cubes "
                "(model.token_size for a vit, method.block_size for a CNN)"
            )
        self.reconstruction = _reconstruction(self.encoder, in_channels, self.side)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`.

        explained is the share of the hidden voxels' variance within each sample that the
        reconstruction explains (0: no better than their mean), counted the share of hidden voxels
        that the loss looks at.
        """
        image, inside, masked = self._hide(batch, step)
        predicted = self.reconstruction(self.encoder, image, masked)
        with torch.autocast(image.device.type, enabled=False):
            target = cut_tokens(image.float(), self.side)
            if isinstance(self.reconstruction, TokenReconstruction):
                target = normalised_tokens(target, inside)
            counted = masked[:, :, None] & inside
            loss = masked_mean_square(predicted.float(), target, counted)
            explained = explained_share(predicted.detach().float(), target, counted)
        share = counted.sum() / (masked.sum() * target.shape[2])
        return {"loss": loss, "explained": explained, "counted": share}

    def pictures(self, batch: Batch, step: int) -> Pictures:
        """See `Method.pictures`; nothing was asked of the output where the input was shown."""
        image, _, masked = self._hide(batch, step)
        hidden = block_voxels(masked, self.grid, self.side)
        output = self.fill(image, _to_predict(batch), masked)
        return Pictures(image.masked_fill(hidden, torch.nan), output, image)

    def fill(self, image_BCDHW: Tensor, inside_B1DHW: Tensor, masked_BN: Tensor) -> Tensor:
        """See `MaskedMethod.fill`.

        A ViT says each token but for its mean and deviation: its answer is given those of the true
        token, so that its brightness and contrast are no merit of the network.
        """
        predicted = self.reconstruction(self.encoder, image_BCDHW, masked_BN).float()
        if isinstance(self.reconstruction, TokenReconstruction):
            inside = cut_tokens(inside_B1DHW.expand_as(image_BCDHW), self.side)
            mean, deviation = _moments(cut_tokens(image_BCDHW.float(), self.side), inside)
            predicted = predicted * deviation + mean
        return _joined(predicted, self.grid, self.side)

    def _hide(self, batch: Batch, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Patches, their tokens' voxels of body (or scan), and which tokens (B, N) are hidden."""
        image = batch["image"][:, 0]
        inside = cut_tokens(_to_predict(batch).expand_as(image), self.side)
        bodies = None
        if "body" in batch:
            bodies = inside.any(dim=2).reshape(-1, *self.grid).cpu()
        indices = batch["index"].cpu()
        masks = draw_token_masks(self.seed, step, indices, self.grid, self.mask_ratio, bodies)
        return image, inside, masks.to(image.device)

    @property
    def trained_decoder(self) -> nn.Module | None:
        """For a CNN the decoder, which a segmenter goes on with."""
        if isinstance(self.reconstruction, BlockReconstruction):
            return self.reconstruction.decoder
        return None


def _to_predict(batch: Batch) -> Tensor:
    """(B, 1, D, H, W) bool: the body where the batch says where it is, else all of the scan."""
    return batch.get("body", batch["valid"])[:, 0]


def cube_side(config: MAEConfig, model_config: ModelConfig, patch_size: PatchSize) -> int:
    """Side in voxels of the cubes that are masked: tokens of a ViT, else `block_size`.

    Raises:
        ConfigError: a block_size that does not divide the patch, or that a ViT has no use for.
    """
    if isinstance(model_config, ViTConfig):
        if config.block_size is not None:
            raise ConfigError("method.block_size has no effect on a vit, which masks its tokens")
        return model_config.token_size
    if config.block_size is None:
        return largest_block(patch_size)
    sides = _common_divisors(patch_size)
    if config.block_size not in sides:
        shown = "x".join(str(n) for n in patch_size)
        raise ConfigError(
            f"method.block_size {config.block_size} does not divide the patch {shown}; "
            f"choose from {', '.join(str(n) for n in sides)}, or change augment.patch.size"
        )
    return config.block_size


def largest_block(patch_size: PatchSize) -> int:
    """The largest common divisor of the patch's sides, at most 16, that makes 27 blocks or more."""
    return max(
        n
        for n in _common_divisors(patch_size)
        if n == 1 or (n <= _LARGEST_BLOCK and math.prod(patch_size) >= _FEWEST_BLOCKS * n**3)
    )


def masked_mean_square(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean squared error over each sample's counted voxels, then over samples.

    A sample without any counts as 0 and still divides, so that the mean over ranks of equally
    many samples is the mean over all of them.

    Args:
        predicted, target: (B, N, K).
        counted: (B, N, K) bool.
    """
    squares = torch.where(counted, predicted - target, 0.0).square().sum(dim=(1, 2))
    return (squares / counted.sum(dim=(1, 2)).clamp_min(1)).mean()


def normalised_tokens(tokens: Tensor, inside: Tensor) -> Tensor:
    """Each token less its mean, over its deviation, both over its voxels `inside`.

    He et al. 2022, section 3: normalised pixels as the target. Tokens (B, N, K).
    """
    mean, deviation = _moments(tokens, inside)
    return torch.where(inside, tokens - mean, 0.0) / deviation


def _moments(tokens: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (B, N, 1) of each token's voxels `inside`."""
    count = inside.sum(dim=2, keepdim=True).clamp_min(1)
    mean = torch.where(inside, tokens, 0.0).sum(dim=2, keepdim=True) / count
    centred = torch.where(inside, tokens - mean, 0.0)
    variance = centred.square().sum(dim=2, keepdim=True) / count
    return mean, (variance + _VARIANCE_FLOOR).sqrt()


def _joined(tokens_BNK: Tensor, grid: tuple[int, int, int], side: int) -> Tensor:
    """(B, C, D, H, W): what `cut_tokens` cut."""
    d, h, w = grid
    cubes = tokens_BNK.reshape(-1, d, h, w, tokens_BNK.shape[2] // side**3, side, side, side)
    voxels = cubes.permute(0, 4, 1, 5, 2, 6, 3, 7)
    return voxels.reshape(len(tokens_BNK), -1, d * side, h * side, w * side)


def explained_share(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Share of the counted voxels' variance within each sample that is explained, at most 1.

    Args:
        predicted, target: (B, N, K); 0 where `predicted` is no better than each sample's mean.
        counted: (B, N, K) bool.
    """
    count = counted.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    mean = torch.where(counted, target, 0.0).sum(dim=(1, 2), keepdim=True) / count
    of_the_mean = masked_mean_square(mean.expand_as(target), target, counted)
    error = masked_mean_square(predicted, target, counted)
    return 1 - error / of_the_mean.clamp_min(_VARIANCE_FLOOR)


def _common_divisors(patch_size: PatchSize) -> list[int]:
    return [n for n in range(1, min(patch_size) + 1) if all(size % n == 0 for size in patch_size)]


def _reconstruction(
    encoder: Encoder, in_channels: int, side: int
) -> TokenReconstruction | BlockReconstruction:
    if isinstance(encoder, ViTEncoder):
        return TokenReconstruction(encoder)
    return BlockReconstruction(build_decoder(encoder.config, in_channels), in_channels, side)
