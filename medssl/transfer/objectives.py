"""Networks with their training losses, as the step loop wants them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.models.build import Segmenter
from medssl.models.ordered import cumulative_logits
from medssl.models.regions import RegionHead

_CERTAIN = 20.0


class ClassificationObjective(nn.Module):
    """Cross-entropy with label smoothing."""

    def __init__(self, network: nn.Module, label_smoothing: float) -> None:
        super().__init__()
        self.network = network
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Loss of a batch with `image` (B, 1, C, D, H, W) and `target` (B,)."""
        logits = self.network(batch["image"][:, 0])
        target = batch["target"]
        loss = F.cross_entropy(logits.float(), target, label_smoothing=self.label_smoothing)
        right = (logits.detach().argmax(dim=1) == target).float().mean()
        return {"loss": loss, "accuracy": right}


class OrdinalObjective(nn.Module):
    """CORAL's loss: the sum of the binary cross-entropies of y > k (Cao et al. 2020, eq. 4)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Loss of a batch with `image` (B, 1, C, D, H, W) and `target` (B,)."""
        above = cumulative_logits(self.network(batch["image"][:, 0]).float())
        ranks = torch.arange(above.shape[1], device=above.device)
        target = (batch["target"][:, None] > ranks).float()
        losses = F.binary_cross_entropy_with_logits(above, target, reduction="none")
        off = ((above.detach() > 0).sum(dim=1) - batch["target"]).abs().float().mean()
        return {"loss": losses.sum(dim=1).mean(), "rank_error": off}


class MultilabelObjective(nn.Module):
    """Binary cross-entropy, averaged over the labels that are known; 0 where none is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Loss of a batch with `image` (B, 1, C, D, H, W) and `target` (B, L), NaN: not known."""
        logits = self.network(batch["image"][:, 0]).float()
        known = ~batch["target"].isnan()
        target = batch["target"].nan_to_num()
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
        right = ((logits.detach() > 0) == (target > 0)) & known
        number = known.sum().clamp(min=1)
        return {"loss": losses.sum() / number, "accuracy": right.sum() / number}


class RegressionObjective(nn.Module):
    """Error of the standardised label: Huber's loss with delta 1 (Huber 1964), or its square.

    Args:
        mean, std: of the label over the training part, in its units.
    """

    def __init__(
        self, network: nn.Module, mean: float, std: float, loss: Literal["huber", "mse"]
    ) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = mean, std
        self.loss = nn.HuberLoss() if loss == "huber" else nn.MSELoss()

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Loss of a batch with `image` (B, 1, C, D, H, W) and `target` (B, 1), in its units."""
        predicted = self.network(batch["image"][:, 0]).float()
        target = (batch["target"] - self.mean) / self.std
        off = (predicted.detach() - target).abs().mean() * self.std
        return {"loss": self.loss(predicted, target), "absolute_error": off}


class SegmentationObjective(nn.Module):
    """Soft Dice over the foreground classes plus cross-entropy (MONAI's DiceCELoss).

    Dice is taken over the batch as a whole, so that a patch without a class does not count as a
    failure. Voxels outside the scan (that of the first channel, which has the mask) get the answer
    for nothing: they have no part in the loss.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        from monai.losses import DiceCELoss

        self.network = network
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Loss of a batch with `image` (B, 1, C, D, H, W) and `mask` (B, 1, D, H, W)."""
        logits = self.network(batch["image"][:, 0]).float()
        valid = batch["valid"][:, 0, :1]
        loss: Tensor = self.loss(only_inside(logits, valid), batch["mask"] * valid)
        return {"loss": loss}


class RegionObjective(nn.Module):
    """Soft Dice plus binary cross-entropy of regions that may overlap, one sigmoid each.

    Dice is MONAI's DiceLoss over the batch as a whole. Voxels outside the scan have no part.

    Args:
        network: a segmenter with a `RegionHead`.
    """

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        from monai.losses import DiceLoss

        assert isinstance(network.head, RegionHead)
        self.network = network
        self.dice = DiceLoss(sigmoid=True, batch=True)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Loss of a batch with `image` (B, 1, C, D, H, W) and `mask` (B, 1, D, H, W)."""
        head = self.network.head
        assert isinstance(head, RegionHead)
        logits = head.regions(self.network.maps(batch["image"][:, 0])).float()
        valid = batch["valid"][:, 0, :1]
        target = head.regions_of(batch["mask"][:, 0] * valid[:, 0])
        logits = torch.where(valid, logits, torch.full_like(logits, -_CERTAIN))
        binary = F.binary_cross_entropy_with_logits(logits, target)
        return {"loss": self.dice(logits, target) + binary}


def only_inside(logits_BKDHW: Tensor, valid_B1DHW: Tensor) -> Tensor:
    """Logits with a certain background, without a gradient, wherever `valid` is False."""
    background = torch.full_like(logits_BKDHW, -_CERTAIN)
    background[:, 0] = _CERTAIN
    return torch.where(valid_B1DHW, logits_BKDHW, background)
