"""Losses: what is outside the scan has no part in them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medssl.transfer.objectives import ClassificationObjective, SegmentationObjective


class Fixed(nn.Module):
    """Answers with the logits it holds."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits


def test_segmentation_loss_agrees_with_soft_dice_and_cross_entropy_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, 4, generator=generator)
    mask = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=generator)
    batch = {"image": torch.zeros(2, 1, 1, 4, 4, 4), "mask": mask,
             "valid": torch.ones(2, 1, 1, 4, 4, 4, dtype=torch.bool)}  # fmt: skip
    loss = SegmentationObjective(Fixed(logits))(batch, 0)["loss"]
    p = torch.softmax(logits, dim=1)
    dice = []
    for c in (1, 2):
        truth = (mask[:, 0] == c).float()
        overlap = (p[:, c] * truth).sum()
        dice.append(1 - (2 * overlap + 1e-5) / (p[:, c].sum() + truth.sum() + 1e-5))
    cross_entropy = -torch.log(p.gather(1, mask)).mean()
    torch.testing.assert_close(loss, torch.stack(dice).mean() + cross_entropy)


def test_voxels_outside_the_scan_have_no_gradient() -> None:
    logits = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(1, 1, 1, 4, 4, 4, dtype=torch.bool)
    valid[..., 2:] = False
    mask = torch.zeros(1, 1, 4, 4, 4, dtype=torch.int64)
    mask[..., 1:3, 1:3, :] = 1
    network = Fixed(logits)
    batch = {"image": torch.zeros(1, 1, 1, 4, 4, 4), "mask": mask, "valid": valid}
    SegmentationObjective(network)(batch, 0)["loss"].backward()
    gradient = network.logits.grad
    assert gradient is not None
    assert gradient[..., 2:].abs().max() == 0
    assert gradient[..., :2].abs().min() > 0


def test_classification_smooths_its_targets() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    batch = {"image": torch.zeros(1, 1, 1, 2, 2, 2), "target": torch.tensor([0])}
    output = ClassificationObjective(Fixed(logits), 0.3)(batch, 0)
    log_p = torch.log_softmax(logits, dim=1)[0]
    expected = -(torch.tensor([0.8, 0.1, 0.1]) * log_p).sum()
    torch.testing.assert_close(output["loss"], expected)
    assert output["accuracy"] == 1.0
