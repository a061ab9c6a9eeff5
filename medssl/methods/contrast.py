"""What contrastive methods share: the loss over pairs, the projector and the figures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.methods.representation import alignment, feature_deviation, uniformity

NOBODY = -1
"""The patient code of a key that is no crop of anybody: an empty place of a queue."""


def nt_xent(
    anchors: Tensor,
    keys: Tensor,
    anchor_patient: Tensor,
    key_patient: Tensor,
    first_anchor: int,
    temperature: float,
) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1), with the patient's other crops left out of the sum.

    Arguments as `compared_logits`.

    Returns:
        The mean over anchors; one without negatives adds 0. Its mean over ranks is the loss over
        all anchors, and so are the gradients: gathering sums each key's gradient over ranks, and
        DDP divides by their number.
    """
    logits, twin = compared_logits(
        anchors, keys, anchor_patient, key_patient, first_anchor, temperature
    )
    return F.cross_entropy(logits, twin)


def compared_logits(
    anchors: Tensor,
    keys: Tensor,
    anchor_patient: Tensor,
    key_patient: Tensor,
    first_anchor: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Similarity over temperature of each anchor with its twin and with other patients' keys.

    Args:
        anchors: (A, K) of unit length, this rank's crops, the two of a volume side by side.
        keys: (G, K) of unit length, the crops of all ranks in the order of ranks; more may follow.
        anchor_patient: (A,) patient codes.
        key_patient: (G,) patient codes; NOBODY: this key is not to be compared.
        first_anchor: where this rank's crops begin among `keys`.
        temperature: tau.

    Returns:
        Logits (A, G), -inf where a key is not compared, and the places (A,) of the twins.
    """
    own = first_anchor + torch.arange(len(anchors), device=anchors.device)
    twin = own ^ 1
    other_patient = (anchor_patient[:, None] != key_patient) & (key_patient != NOBODY)
    compared = other_patient.scatter(1, twin[:, None], True)
    return (anchors @ keys.T / temperature).masked_fill(~compared, -torch.inf), twin


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
def contrast_figures(
    projected: Tensor, embedded: Tensor, logits: Tensor, twin: Tensor
) -> dict[str, Tensor]:
    """Closeness of twins, spread on the sphere, spread of the features, how often the twin is more
    similar than every negative, and the loss of a guess: the log of the number of candidates.

    Args:
        projected: (A, K) of unit length, the two crops of a volume side by side.
        embedded: (A, E), the encoder's features of the same crops.
        logits, twin: as `compared_logits` gives them.
    """
    nearest_other = logits.scatter(1, twin[:, None], -torch.inf).amax(dim=1)
    found = logits.gather(1, twin[:, None])[:, 0] > nearest_other
    return {
        "alignment": alignment(projected[0::2], projected[1::2]),
        "uniformity": uniformity(projected),
        "feature_std": feature_deviation(embedded.float()),
        "accuracy": found.float().mean(),
        "chance": (logits > -torch.inf).sum(dim=1).float().log().mean(),
    }
