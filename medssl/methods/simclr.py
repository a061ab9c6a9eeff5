"""SimCLR: crops of one volume attract, crops of other patients repel.

Chen et al., A simple framework for contrastive learning of visual representations, 2020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.augment.batch import Batch
from medssl.methods.base import Method
from medssl.methods.config import SimCLRConfig
from medssl.methods.contrast import (
    NegativesWatch,
    contrast_figures,
    nt_xent,
    patients_to_compare,
    projector,
)
from medssl.methods.gather import gather, gather_with_gradient, rank
from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, PatchSize


class SimCLR(Method):
    """An encoder and a projector under the NT-Xent loss.

    Negatives come from all ranks, with their gradients, and never from the anchor's own patient:
    a second scan of the same anatomy is no negative.
    """

    num_views = 2
    intensity = True

    def __init__(
        self,
        config: SimCLRConfig,
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
        self._watch = NegativesWatch("simclr")

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`.

        A crop without any negative adds 0 to the loss.

        Figures: those of `nt_xent` and of `contrast_figures`.

        Raises:
            TrainingError: all crops so far are of one patient, and are not just few.
        """
        crops = batch["image"].flatten(0, 1)
        patient = patients_to_compare(batch).repeat_interleave(self.num_views)
        patients = gather(patient)
        self._watch.look(patients, patients)
        embedded = self.encoder.embed(crops)
        with torch.autocast(crops.device.type, enabled=False):
            projected = F.normalize(self.projector(embedded.float()), dim=1)
            loss, figures = nt_xent(
                projected,
                gather_with_gradient(projected),
                patient,
                patients,
                first_anchor=rank() * len(projected),
                temperature=self.config.temperature,
            )
        return {"loss": loss, **figures, **contrast_figures(projected, embedded)}
