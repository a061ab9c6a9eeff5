"""SimCLR: crops of one volume attract, crops of other patients repel.

Chen et al., A simple framework for contrastive learning of visual representations, 2020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.errors import TrainingError
from medssl.methods.base import Method
from medssl.methods.config import SimCLRConfig
from medssl.methods.gather import gather, gather_with_gradient, rank
from medssl.methods.representation import alignment, feature_deviation, uniformity
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

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`; the figures are those of Wang and Isola 2020, and the spread.

        Raises:
            TrainingError: all crops of the global batch are of one patient, so nothing repels.
        """
        crops = batch["image"].flatten(0, 1)
        embedded = self.encoder.embed(crops)
        with torch.autocast(crops.device.type, enabled=False):
            projected = F.normalize(self.projector(embedded.float()), dim=1)
            patient = batch["patient"].repeat_interleave(self.num_views)
            loss = nt_xent(
                projected,
                gather_with_gradient(projected),
                patient,
                gather(patient),
                first_anchor=rank() * len(projected),
                temperature=self.config.temperature,
            )
        return {"loss": loss, **_figures(projected.detach(), embedded.detach().float())}


def nt_xent(
    anchors: Tensor,
    keys: Tensor,
    anchor_patient: Tensor,
    key_patient: Tensor,
    first_anchor: int,
    temperature: float,
) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1), with the patient's other crops left out of the sum.

    Args:
        anchors: (A, K) of unit length, this rank's crops, the two of a volume side by side.
        keys: (G, K) of unit length, the crops of all ranks in the order of ranks.
        anchor_patient: (A,) patient codes.
        key_patient: (G,) patient codes.
        first_anchor: where `anchors` begin among `keys`.
        temperature: tau.

    Returns:
        The mean over anchors. Its mean over ranks is the loss over all anchors, and so are the
        gradients: gathering sums each key's gradient over ranks, and DDP divides by their number.

    Raises:
        TrainingError: no anchor has a negative.
    """
    own = first_anchor + torch.arange(len(anchors), device=anchors.device)
    other_patient = anchor_patient[:, None] != key_patient[None, :]
    if not bool(other_patient.any()):
        raise TrainingError(
            "simclr: all crops of the batch are of one patient, so there are no negatives; "
            "enlarge the batch, or pretrain on more patients"
        )
    twin = own ^ 1
    compared = other_patient.scatter(1, twin[:, None], True)
    logits = (anchors @ keys.T / temperature).masked_fill(~compared, -torch.inf)
    return F.cross_entropy(logits, twin)


def projector(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two hidden layers with LayerNorm: batch statistics would tell crops of a batch apart."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, out),
    )


@torch.no_grad()
def _figures(projected: Tensor, embedded: Tensor) -> dict[str, Tensor]:
    """Of this rank's crops: closeness of twins, spread on the sphere, spread of the features.

    See `medssl.methods.representation` for what they say.
    """
    return {
        "alignment": alignment(projected[0::2], projected[1::2]),
        "uniformity": uniformity(projected),
        "feature_std": feature_deviation(embedded),
    }
