"""Rotation prediction: which way was the patch turned?

Taleb et al., 3D self-supervised methods for medical imaging, 2020 (3D-Rot), after Gidaris et al.,
Unsupervised representation learning by predicting image rotations, 2018.

What for: a cheap task that is solved by knowing which organ is seen and how it lies; most of use as
a part of `multitask`. It asks for anatomy that has a way up: pretrain without flips
(`augment.spatial.flip: []`, for two flips are half a turn), with little rotation, and with cubic
voxels, since the direction of thick slices gives the answer away. Cost: one step of the encoder.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.augment.rng import generator
from medssl.errors import ConfigError
from medssl.methods.base import Method
from medssl.methods.config import RotationConfig
from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, PatchSize

_TURN_STREAM = 1000


@dataclass(frozen=True)
class Turn:
    """A rotation by quarter turns: its axis a is the patch's axes[a], mirrored if mirrored[a]."""

    axes: tuple[int, int, int]
    mirrored: tuple[bool, bool, bool]

    def __call__(self, voxels_CDHW: Tensor) -> Tensor:
        """The patch, turned."""
        turned = voxels_CDHW.permute(0, *(axis + 1 for axis in self.axes))
        return turned.flip([a + 1 for a, mirrored in enumerate(self.mirrored) if mirrored])


class Rotation(Method):
    """Cross-entropy of a linear layer on the pooled embedding, over the turns that a patch allows.

    A cube is turned in one of 24 ways, a patch of two equal sides by quarter turns about its other
    axis. What lies outside the body is painted as background, so that neither the table nor air's
    noise says which way is up; a sample without any body takes no part.
    """

    num_views = 1
    intensity = True
    overlap = None

    def __init__(
        self,
        config: RotationConfig,
        model_config: ModelConfig,
        in_channels: int,
        patch_size: PatchSize,
        seed: int,
    ) -> None:
        super().__init__()
        del config  # nothing to set
        self.seed = seed
        self.turns = turns_of(patch_size)
        self.encoder = build_encoder(model_config, in_channels, patch_size)
        self.head = nn.Linear(self.encoder.embed_dim, len(self.turns))

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`; accuracy is the share of the samples that were turned back right.

        One in 24 (or 4) is chance. A sample without body counts in the loss as 0.
        """
        image = batch["image"][:, 0]
        inside = batch.get("body", batch["valid"])[:, 0]
        if "body" in batch:
            nothing = batch["background"].reshape(-1, 1, 1, 1, 1)
            image = torch.where(inside, image, nothing.to(image.dtype))
        chosen = self.draw(batch["index"], step)
        turned = torch.stack(
            [self.turns[turn](patch) for turn, patch in zip(chosen, image, strict=True)]
        )
        embedded = self.encoder.embed(turned)
        present = inside.flatten(1).any(dim=1)
        asked = torch.tensor(chosen, device=image.device)
        with torch.autocast(image.device.type, enabled=False):
            logits = self.head(embedded.float())
            surprise = F.cross_entropy(logits, asked, reduction="none")
            loss = torch.where(present, surprise, 0.0).mean()
        right = (logits.argmax(dim=1) == asked) & present
        return {"loss": loss, "accuracy": right.sum() / present.sum().clamp_min(1)}

    def draw(self, indices: Tensor, step: int) -> list[int]:
        """The turn of each sample (B,) of the global batch, by its place in `turns`."""
        return [
            int(generator(self.seed, step, index, _TURN_STREAM).integers(len(self.turns)))
            for index in indices.tolist()
        ]


def turns_of(patch_size: PatchSize) -> list[Turn]:
    """The 24 rotations of a cube; of another patch, the 4 about the axis of its odd side.

    The first one leaves the patch as it is.

    Raises:
        ConfigError: no two sides are equal, so no quarter turn leaves the patch's shape.
    """
    either = (False, True)
    whole = [
        Turn(axes, mirrored)
        for axes in itertools.permutations(range(3), 3)
        for mirrored in itertools.product(either, either, either)
        if np.linalg.det(np.eye(3)[list(axes)]) * (-1) ** sum(mirrored) > 0
    ]
    if len(set(patch_size)) == 1:
        return whole
    odd = [a for a in range(3) if patch_size.count(patch_size[a]) == 1]
    if len(odd) == 3:
        shown = "x".join(str(n) for n in patch_size)
        raise ConfigError(
            f"rotation: a patch of {shown} voxels has no two equal sides, so it cannot be turned; "
            "set augment.patch.size to a cube, or to two equal sides"
        )
    return [turn for turn in whole if turn.axes[odd[0]] == odd[0] and not turn.mirrored[odd[0]]]
