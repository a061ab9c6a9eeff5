"""MoCo: negatives from a queue of earlier steps, so that a small batch has many of them.

He et al., Momentum contrast for unsupervised visual representation learning, 2020. Two crops ask
for each other as in Chen et al., An empirical study of training self-supervised vision
transformers, 2021, section 3; unlike there, a queue stands in for a batch of thousands, and there
is no predictor.

What for: as `simclr`, for classification above all, where the batch that fits is small: one GPU.
Cost: a step is `simclr`'s and a pass of the teacher over the same crops without backward; the queue
is 8 MiB at its default size, in memory and in every checkpoint.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.methods.base import Method
from medssl.methods.config import MoCoConfig
from medssl.methods.contrast import (
    NOBODY,
    NegativesWatch,
    contrast_figures,
    nt_xent,
    patients_to_compare,
    projector,
)
from medssl.methods.gather import gather, rank
from medssl.methods.momentum import cosine_momentum, follow, teacher_of
from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, PatchSize


class MoCo(Method):
    """A student whose crops are to find their twins among the keys of a slow teacher.

    Each crop's key is the teacher's projection of the volume's other crop. Negatives are the
    teacher's keys of other patients: those of this batch on all ranks, and those in the queue,
    which is empty at first. Keys enter the queue when their step has been taken, in the order of
    the global batch, so that every rank has the queue that one rank alone would have.
    """

    num_views = 2
    intensity = True

    def __init__(
        self,
        config: MoCoConfig,
        model_config: ModelConfig,
        in_channels: int,
        patch_size: PatchSize,
        seed: int,
    ) -> None:
        super().__init__()
        del seed  # nothing here is drawn: the two crops differ already
        self.config = config
        self.overlap = config.overlap
        self.encoder = build_encoder(model_config, in_channels, patch_size)
        self.projector = projector(self.encoder.embed_dim, config.hidden_dim, config.output_dim)
        self.teacher_encoder = teacher_of(self.encoder)
        self.teacher_projector = teacher_of(self.projector)
        self.queue = KeyQueue(config.queue_size, config.output_dim)
        # What forward leaves for after_step: (index, keys, patient) of each part of the batch.
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self._pending_step = -1
        self._watch = NegativesWatch("moco")

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`; figures as for `SimCLR`.

        A crop without any negative adds 0 to the loss.

        Raises:
            TrainingError: all crops so far are of one patient, and are not just few.
        """
        crops = batch["image"].flatten(0, 1)
        patient = patients_to_compare(batch)
        keys, fresh = self._keys_of_all_ranks(crops, patient, batch["index"], step)
        patients = torch.cat([fresh, self.queue.patient])
        self._watch.look(patients, fresh)
        embedded = self.encoder.embed(crops)
        with torch.autocast(crops.device.type, enabled=False):
            projected = F.normalize(self.projector(embedded.float()), dim=1)
            loss, figures = nt_xent(
                projected,
                torch.cat([keys, self.queue.keys]),
                patient.repeat_interleave(self.num_views),
                patients,
                first_anchor=rank() * len(projected),
                temperature=self.config.temperature,
            )
        return {"loss": loss, **figures, **contrast_figures(projected, embedded)}

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """See `Method.after_step`: the teacher follows, and the step's keys enter the queue."""
        momentum = cosine_momentum(self.config.momentum, step, steps)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_projector, self.projector, momentum)
        if self._pending and self._pending_step == step:
            index, keys, patient = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
            order = index.argsort()
            views = self.num_views
            self.queue.push(keys[order].flatten(0, 1), patient[order].repeat_interleave(views))
        self._pending = []

    @torch.no_grad()
    def _keys_of_all_ranks(
        self, crops: Tensor, patient: Tensor, index: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """The teacher's (G, K) of all ranks' crops, and their patients (G,)."""
        embedded = self.teacher_encoder.embed(crops)
        with torch.autocast(crops.device.type, enabled=False):
            local = F.normalize(self.teacher_projector(embedded.float()), dim=1)
        keys = gather(local.reshape(-1, self.num_views, local.shape[1]))
        patients = gather(patient)
        if self.training:
            if self._pending_step != step:  # what a skipped step left is of no use
                self._pending = []
            self._pending_step = step
            self._pending.append((gather(index.to(keys.device)), keys, patients))
        return keys.flatten(0, 1), patients.repeat_interleave(self.num_views)


class KeyQueue(nn.Module):
    """The last keys of earlier steps with their patients; the oldest are overwritten.

    Attributes:
        keys: (size, dim) float32.
        patient: (size,) int64, the run's own numbers for patients; NOBODY where a place is empty.
        next: int64, the place that the next key takes.
    """

    keys: Tensor
    patient: Tensor
    next: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("patient", torch.full((size,), NOBODY))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    def push(self, keys: Tensor, patient: Tensor) -> None:
        """Put (N, dim) keys and their (N,) patients in one after another; N may be any number."""
        size, count = len(self.keys), len(keys)
        kept = min(size, count)
        places = (self.next + torch.arange(count - kept, count, device=keys.device)) % size
        self.keys[places] = keys[count - kept :]
        self.patient[places] = patient[count - kept :]
        self.next.add_(count).remainder_(size)
