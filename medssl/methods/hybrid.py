"""Masked reconstruction, dense alignment and global contrast of two crops, on one encoder.

The student sees two overlapping crops with blocks painted over and is to say what was hidden, what
a teacher's features say at the same places of the other crop, and which of all volumes that other
crop is of. The teacher sees whole crops and is a moving average of the student.

After Consistent view alignment improves foundation models for 3D medical image segmentation
(arXiv 2509.13846, 2025): reconstruction serves segmentation and contrast classification, so one
encoder is to learn both.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.augment.masks import draw_token_masks
from medssl.errors import ConfigError
from medssl.methods.base import Pictures
from medssl.methods.config import HybridConfig, MAEConfig
from medssl.methods.contrast import (
    NegativesWatch,
    contrast_figures,
    nt_xent,
    patients_to_compare,
    projector,
)
from medssl.methods.dense import (
    centred,
    dense_alignment,
    dense_deviation,
    dense_head,
    features_here,
    features_there,
    match_cells,
)
from medssl.methods.gather import gather, rank
from medssl.methods.mae import cube_side, explained_share
from medssl.methods.masked import MaskedMethod
from medssl.methods.momentum import cosine_momentum, follow, teacher_of
from medssl.methods.reconstruction import BlockReconstruction, block_voxels
from medssl.models.build import build_decoder, build_encoder
from medssl.models.config import ModelConfig, PatchSize


class Hybrid(MaskedMethod):
    """A student that reconstructs what was masked and agrees with its own moving average.

    Blocks of the input are painted over for every encoder, a ViT's tokens among them, so that one
    forward serves the three terms and the decoder is a segmenter's. Padding and air outside the
    body count in no term; a volume that shows none of the body in one of its crops is left out of
    the contrast.
    """

    num_views = 2
    intensity = True
    clean = True

    def __init__(
        self,
        config: HybridConfig,
        model_config: ModelConfig,
        in_channels: int,
        patch_size: PatchSize,
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.mask_ratio = config.mask_ratio
        self.seed = seed
        self.overlap = config.overlap
        self.weights = {
            "masked": config.masked_weight,
            "dense": config.dense_weight,
            "contrast": config.contrast_weight,
        }
        self.encoder = build_encoder(model_config, in_channels, patch_size)
        self.side, self.grid = _blocks(config, model_config, patch_size)
        decoder = build_decoder(model_config, in_channels)
        self.reconstruction = BlockReconstruction(decoder, in_channels, self.side)
        self.heads = _Heads(self.encoder.embed_dim, self.encoder.channels[-1], config)
        self.predictor = dense_head(config.output_dim, config.hidden_dim, config.output_dim)
        self._watch = NegativesWatch("hybrid", ", or set method.contrast_weight to 0")
        self.teacher_encoder = teacher_of(self.encoder)
        self.teacher_heads = teacher_of(self.heads)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`.

        Figures, beside the terms before they are weighted: explained (as for `MAE`), those of
        `nt_xent` and of `contrast_figures`, dense_std (the spread of what the teacher says of
        places, as feature_std is that of crops) and matched (the share of cells in both crops and
        the body).

        Raises:
            TrainingError: all crops so far are of one patient, and are not just few, and the
                contrast has a weight.
        """
        crops, clean = (batch[name].flatten(0, 1) for name in ("image", "clean"))
        inside = batch.get("body", batch["valid"]).flatten(0, 1)
        masks = self._masks(batch["index"], inside, step)
        painted = self.reconstruction.painted(crops, masks)
        maps = self.encoder.features(painted)
        predicted = self.reconstruction.decoded(painted, maps)
        with torch.no_grad():
            seen = self.teacher_encoder.features(crops)[-1]
        with torch.autocast(crops.device.type, enabled=False):
            counted = (block_voxels(masks, self.grid, self.side) & inside).expand_as(clean)
            answer, truth, counted = (_as_one(v) for v in (predicted.float(), clean, counted))
            masked = masked_huber(answer, truth, counted)
            explained = explained_share(answer.detach(), truth, counted)
            deep, seen = maps[-1].float(), seen.float()
            dense, of_places = self._dense(batch, deep, seen)
            contrast, of_crops = self._contrast(batch, deep, seen)
            terms = {"masked": masked, "dense": dense, "contrast": contrast}
            loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        figures = {"explained": explained, **of_places, **of_crops}
        if not self.config.contrast_weight:  # nothing trains the projections: no alarm judges them
            del figures["chance"], figures["uniformity"]
        return {"loss": loss, **{n: term.detach() for n, term in terms.items()}, **figures}

    def after_step(self, step: int, steps: int) -> None:
        """The teacher follows, ever more slowly (Grill et al. 2020, section 3.2)."""
        momentum = cosine_momentum(self.config.momentum, step, steps)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_heads, self.heads, momentum)

    def pictures(self, batch: Batch, step: int) -> Pictures:
        """See `Method.pictures`; of the first crop of each volume."""
        crops, clean = batch["image"][:, 0], batch["clean"][:, 0]
        inside = batch.get("body", batch["valid"]).flatten(0, 1)
        masks = self._masks(batch["index"], inside, step)[0::2]
        hidden = block_voxels(masks, self.grid, self.side)
        output = self.fill(crops, inside[0::2], masks)
        return Pictures(crops.masked_fill(hidden, torch.nan), output, clean)

    def fill(self, image_BCDHW: Tensor, inside_B1DHW: Tensor, masked_BN: Tensor) -> Tensor:
        """See `MaskedMethod.fill`; the student's answer."""
        painted = self.reconstruction.painted(image_BCDHW, masked_BN)
        return self.reconstruction.decoded(painted, self.encoder.features(painted)).float()

    @property
    def trained_decoder(self) -> nn.Module:
        """The decoder, which a segmenter goes on with."""
        return self.reconstruction.decoder

    def _masks(self, index: Tensor, inside: Tensor, step: int) -> Tensor:
        """(2B, N) bool: the masked blocks of each crop, drawn among those that show some body."""
        d, h, w = self.grid
        side = self.side
        blocks = inside.reshape(-1, d, side, h, side, w, side).any(dim=6).any(dim=4).any(dim=2)
        views = (2 * index.cpu()[:, None] + torch.arange(2)).flatten()
        ratio = self.mask_ratio
        masks = draw_token_masks(self.seed, step, views, self.grid, ratio, blocks.cpu())
        return masks.to(inside.device)

    def _dense(self, batch: Batch, deep: Tensor, seen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        d, h, w = deep.shape[2:]
        matches = match_cells(batch, (d, h, w))
        predicted = self.predictor(self.heads.dense(features_here(deep, matches)))
        with torch.no_grad():
            target = self.teacher_heads.dense(features_there(seen, matches))
        figures = {
            "dense_std": dense_deviation(target, matches.counted),
            "matched": matches.counted.float().mean(),
        }
        target = centred(target, matches.counted)
        return dense_alignment(predicted, target, matches.counted), figures

    def _contrast(
        self, batch: Batch, deep: Tensor, seen: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The student's crops against the teacher's keys, and figures.

        As in Chen, Xie and He, An empirical study of training self-supervised vision transformers
        (MoCo v3), 2021, algorithm 1: the positive is the teacher's key of the volume's other crop,
        the negatives are its keys of other patients. Keys have no gradient, so that ranks exchange
        little. An anchor without a negative, or of a volume without body, counts as 0.
        """
        embedded = deep.mean(dim=(2, 3, 4))
        anchors = F.normalize(self.heads.whole(embedded), dim=1)
        with torch.no_grad():
            keys = F.normalize(self.teacher_heads.whole(seen.mean(dim=(2, 3, 4))), dim=1)
        patient = patients_to_compare(batch).repeat_interleave(2)
        patients = gather(patient)
        if self.config.contrast_weight:
            self._watch.look(patients, patients)
        contrast, figures = nt_xent(
            anchors,
            gather(keys),
            patient,
            patients,
            first_anchor=rank() * len(anchors),
            temperature=self.config.temperature,
        )
        return contrast, {**figures, **contrast_figures(anchors.detach(), embedded.detach())}


class _Heads(nn.Module):
    """What the teacher has besides an encoder: projectors of a whole crop and of its places."""

    def __init__(self, embed_dim: int, channels: int, config: HybridConfig) -> None:
        super().__init__()
        self.whole = projector(embed_dim, config.hidden_dim, config.output_dim)
        self.dense = dense_head(channels, config.hidden_dim, config.output_dim)


def masked_huber(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Huber's loss (delta 1) over each crop's counted voxels, then over crops.

    A crop without any counts as 0 and still divides, as for `masked_mean_square`.

    Args:
        predicted, target: (N, M, K).
        counted: (N, M, K) bool.
    """
    error = torch.where(counted, predicted - target, 0.0)
    losses = F.huber_loss(error, torch.zeros_like(error), reduction="none").sum(dim=(1, 2))
    return (losses / counted.sum(dim=(1, 2)).clamp_min(1)).mean()


def _blocks(
    config: HybridConfig, model_config: ModelConfig, patch_size: PatchSize
) -> tuple[int, tuple[int, int, int]]:
    """Side of the masked blocks in voxels, and how many of them lie along each axis."""
    same = MAEConfig(mask_ratio=config.mask_ratio, block_size=config.block_size)
    side = cube_side(same, model_config, patch_size)
    d, h, w = (n // side for n in patch_size)
    blocks = math.prod((d, h, w))
    if not 0 < round(config.mask_ratio * blocks) < blocks:
        raise ConfigError(
            f"method.mask_ratio {config.mask_ratio} of {blocks} blocks of {side} voxels masks none "
            "or all of them; enlarge augment.patch.size, or choose smaller blocks "
            "(model.token_size for a vit, method.block_size for others)"
        )
    return side, (d, h, w)


def _as_one(voxels: Tensor) -> Tensor:
    """(N, C, D, H, W) to (N, 1, C*D*H*W): all of a crop as one token."""
    return voxels.flatten(1)[:, None]
