"""The last layer of a segmenter of regions that may overlap, each a union of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Membership = Sequence[Sequence[bool]]
"""For each class, the background being the first, whether it is of each region: (K, R)."""


_NEVER = -1e4  # a logit that half precision holds


class RegionHead(nn.Module):
    """One logit for each region, and from these a logit for each class.

    A class is the regions that it is of. With independent regions its probability is the product of
    sigmoid(z) of these and sigmoid(-z) of the others; as sigmoid(z) = exp(z) sigmoid(-z), softmax
    over the classes of the sum of z over their regions is that product among combinations that a
    mask can have. So a region's answer is a mask as any other's. Of classes in the same regions,
    which cannot be told apart, the first is answered.
    """

    membership: Tensor
    offset: Tensor

    def __init__(self, channels: int, membership: Membership) -> None:
        super().__init__()
        table = torch.tensor(membership, dtype=torch.float32)
        self.regions = nn.Conv3d(channels, table.shape[1], kernel_size=1)
        self.register_buffer("membership", table)
        rows = [tuple(row) for row in table.tolist()]
        again = [row in rows[:number] for number, row in enumerate(rows)]
        self.register_buffer("offset", torch.where(torch.tensor(again), _NEVER, 0.0))

    def forward(self, maps_BCDHW: Tensor) -> Tensor:
        """Logits of the classes, (B, K, D, H, W)."""
        regions = self.regions(maps_BCDHW)
        classes = torch.einsum("kr,brdhw->bkdhw", self.membership.to(regions.dtype), regions)
        return classes + self.offset.to(classes.dtype)[:, None, None, None]

    def regions_of(self, classes_BDHW: Tensor) -> Tensor:
        """Class numbers as regions, (B, R, D, H, W), 0 or 1."""
        return self.membership[classes_BDHW].movedim(-1, 1)
