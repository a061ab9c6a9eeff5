"""Distillation: a network learns what another one's features say.

Hinton et al., Distilling the knowledge in a neural network, 2015; features in place of classes, and
a learned map where widths differ, from Romero et al., FitNets, 2015. Oquab et al., DINOv2, 2023,
section 5, found small networks better when taught by a large one than when pretrained alone.

What for: a small encoder for a machine beside the scanner, or one of another kind, from a large one
that is already there. Cost: the student's step, and the teacher's pass without gradients.

What the teacher has seen, the student has been told of: patients who are to test the student must
have been held out of the teacher's pretraining too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.errors import CheckpointError
from medssl.methods.base import Method
from medssl.methods.config import DistillConfig
from medssl.methods.dense import average_cells
from medssl.methods.representation import feature_deviation
from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, PatchSize
from medssl.models.pretrained import load_pretrained


class Distill(Method):
    """A student under a frozen teacher: 1 - cosine of the whole, smooth L1 place by place.

    Both see the same patch, the student with its intensities augmented, the teacher without: so
    the student is also to see through what scanners differ in (Xie et al., Self-training with noisy
    student, 2020). The teacher's deepest map is normalised over its channels at each place, so
    that the loss does not depend on the scale of its features; the finer of the two maps is
    averaged to the grid of the coarser one.

    The teacher's weights are in no checkpoint, their hash is: a run resumes under no other teacher.
    """

    num_views = 1
    intensity = True
    clean = True
    overlap = None

    teacher_sha256: Tensor

    def __init__(
        self,
        config: DistillConfig,
        model_config: ModelConfig,
        in_channels: int,
        patch_size: PatchSize,
        seed: int,
    ) -> None:
        super().__init__()
        del seed  # nothing here is drawn
        self.config = config
        self.encoder = build_encoder(model_config, in_channels, patch_size)
        self.teacher = load_pretrained(config.teacher, in_channels, patch_size)
        taught = self.teacher.encoder
        self.to_whole = nn.Linear(self.encoder.channels[-1], taught.channels[-1])
        self.to_places = nn.Conv3d(self.encoder.channels[-1], taught.channels[-1], kernel_size=1)
        digest = torch.tensor(list(bytes.fromhex(self.teacher.sha256)), dtype=torch.uint8)
        self.register_buffer("teacher_sha256", digest)
        self.register_load_state_dict_pre_hook(_same_teacher)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`.

        agreement is the mean cosine of the teacher's pooled features with what the student makes
        of its own, dense the loss place by place, feature_std the spread of the student's (see
        `medssl.methods.representation`). Samples and places without body take no part.
        """
        image, clean = batch["image"][:, 0], batch["clean"][:, 0]
        inside = batch.get("body", batch["valid"])[:, 0]
        learned = self.encoder.features(image)[-1]
        with torch.no_grad():
            taught = self.teacher.encoder.to(image.device).features(clean)[-1]
        with torch.autocast(image.device.type, enabled=False):
            learned, taught = learned.float(), taught.float()
            present = inside.flatten(1).any(dim=1)
            pooled = learned.mean(dim=(2, 3, 4))
            cosine = F.cosine_similarity(self.to_whole(pooled), taught.mean(dim=(2, 3, 4)))
            whole = torch.where(present, 1 - cosine, 0.0).mean()
            grid = coarser_grid(learned, taught)
            said = self.to_places(average_cells(learned, grid))
            cells = F.adaptive_max_pool3d(inside.float(), grid)[:, 0] > 0
            dense = places_loss(said, average_cells(taught, grid), cells)
            loss = whole + self.config.dense_weight * dense
        agreement = torch.where(present, cosine.detach(), 0.0).sum() / present.sum().clamp_min(1)
        return {
            "loss": loss,
            "agreement": agreement,
            "dense": dense.detach(),
            "feature_std": feature_deviation(pooled.detach()),
        }


def coarser_grid(first: Tensor, second: Tensor) -> tuple[int, int, int]:
    """Along each axis, the smaller number of places of two maps (B, C, d, h, w)."""
    d, h, w = (min(n, m) for n, m in zip(first.shape[2:], second.shape[2:], strict=True))
    return d, h, w


def places_loss(said: Tensor, taught: Tensor, counted: Tensor) -> Tensor:
    """Smooth L1 to the normalised features, over counted places of a sample, then over samples.

    A sample without any counts as 0 and still divides, so that the mean over ranks of equally
    many samples is the mean over all of them.

    Args:
        said, taught: (B, C, d, h, w); `taught` is normalised over C at each place.
        counted: (B, d, h, w) bool.
    """
    target = F.layer_norm(taught.movedim(1, -1), taught.shape[1:2])
    errors = F.smooth_l1_loss(said.movedim(1, -1), target, reduction="none").mean(dim=-1)
    total = torch.where(counted, errors, 0.0).flatten(1).sum(dim=1)
    return (total / counted.flatten(1).sum(dim=1).clamp_min(1)).mean()


def _same_teacher(method: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(method, Distill)
    saved = state.get(f"{prefix}teacher_sha256")
    if saved is not None and not torch.equal(saved.cpu(), method.teacher_sha256.cpu()):
        raise CheckpointError(
            f"the weights of the teacher {method.config.teacher} are not those that this run began "
            "with; put them back, or start anew with another --out"
        )
