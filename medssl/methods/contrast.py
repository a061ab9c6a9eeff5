"""What contrastive methods share: the loss over pairs, the projector and the figures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.errors import TrainingError
from medssl.methods.representation import alignment, feature_deviation, uniformity

_NO_CHANCE = 32
"""So many volumes of one patient alone, and the store has no other."""

NOBODY = -1
"""The patient code of what is not to be compared: a crop of air, an empty place of a queue."""


def patients_to_compare(batch: Batch) -> Tensor:
    """(B,) patient codes; NOBODY for a volume that shows none of the body in one of its crops."""
    inside = batch.get("body", batch["valid"])
    shows_body = inside.flatten(2).any(dim=2).all(dim=1)
    return torch.where(shows_body, batch["patient"], NOBODY)


def of_one_patient(patient: Tensor) -> bool:
    """Whether nobody or a single patient is among (N,) codes: then there are no negatives."""
    known = patient[patient != NOBODY]
    return bool((known == known[:1]).all())


class NegativesWatch:
    """Ends a run in which nothing ever repels, until there were negatives for the first time.

    A batch, or a part of one, may be of one patient by chance: then its contrast counts as 0, and
    so many crops of one patient alone are no chance any more.

    Args:
        method: its name, for the message.
        otherwise: what else the reader may do, for the message.
    """

    def __init__(self, method: str, otherwise: str = "") -> None:
        self.method, self.otherwise = method, otherwise
        self._found, self._looked_at = False, 0

    def look(self, patients: Tensor, fresh: Tensor) -> None:
        """Look at the (N,) codes of all keys; the `fresh` ones are this step's, two a volume.

        Raises:
            TrainingError: there are no negatives, and it is no chance.
        """
        if self._found:
            return
        self._found = not of_one_patient(patients)
        self._looked_at += int((fresh != NOBODY).sum()) // 2
        # With a single volume there is nobody to repel, today or later.
        if not self._found and (len(patients) <= 2 or self._looked_at >= _NO_CHANCE):
            raise TrainingError(
                f"{self.method}: all volumes are of one patient ({self._looked_at} so far), so "
                "there are no negatives; pretrain on more patients, or on more volumes at once (a "
                f"larger batch_size, a smaller optim.accumulate){self.otherwise}"
            )


def nt_xent(
    anchors: Tensor,
    keys: Tensor,
    anchor_patient: Tensor,
    key_patient: Tensor,
    first_anchor: int,
    temperature: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """NT-Xent (Chen et al. 2020, eq. 1), with the patient's other crops left out of the sum.

    The keys may be a teacher's (Chen, Xie and He 2021, algorithm 1): then they have no gradient,
    and ranks exchange nothing else.

    Args:
        anchors: (A, K) of unit length, this rank's crops, the two of a volume side by side.
        keys: (G, K) of unit length, the crops of all ranks in the order of ranks; more may follow.
        anchor_patient: (A,) patient codes; NOBODY: this anchor counts as 0.
        key_patient: (G,) patient codes; NOBODY: this key repels no anchor.
        first_anchor: where this rank's crops begin among `keys`.
        temperature: tau.

    Returns:
        The mean over anchors, where one without negatives adds 0, and figures without a gradient:
        accuracy, the share of anchors that are more similar to their twin than to every negative,
        and chance, what the mean is where all candidates are equally similar. The loss's mean over
        ranks is the loss over all anchors, and so are the gradients: gathering sums each key's
        gradient over ranks, and DDP divides by their number.
    """
    twin = (first_anchor + torch.arange(len(anchors), device=anchors.device)) ^ 1
    negative = (anchor_patient[:, None] != key_patient) & (key_patient != NOBODY)
    negative = negative.scatter(1, twin[:, None], False)
    similar = anchors @ keys.T / temperature
    logits = similar.masked_fill(~negative.scatter(1, twin[:, None], True), -torch.inf)
    losses = F.cross_entropy(logits, twin, reduction="none")
    counts = anchor_patient != NOBODY
    with torch.no_grad():
        nearest_other = similar.masked_fill(~negative, -torch.inf).amax(dim=1)
        found = similar.gather(1, twin[:, None])[:, 0] > nearest_other
        guesses = (1.0 + negative.sum(dim=1)).log()
        figures = {
            "accuracy": (found & counts).sum() / counts.sum().clamp_min(1),
            "chance": torch.where(counts, guesses, 0.0).mean(),
        }
    return torch.where(counts, losses, 0.0).mean(), figures


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
def contrast_figures(projected: Tensor, embedded: Tensor) -> dict[str, Tensor]:
    """Of this rank's crops: closeness of twins, spread on the sphere, spread of the features.

    See `medssl.methods.representation` for what they say.

    Args:
        projected: (A, K) of unit length, the two crops of a volume side by side.
        embedded: (A, E), the encoder's features of the same crops.
    """
    return {
        "alignment": alignment(projected[0::2], projected[1::2]),
        "uniformity": uniformity(projected),
        "feature_std": feature_deviation(embedded.float()),
    }
