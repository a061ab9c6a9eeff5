"""Averages over mirror images, against a loop over them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from medssl.transfer.flips import averaged_over_flips


class Logits(nn.Module):
    """A map of logits that depends on places, or their first corner's."""

    def __init__(self, dense: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 3, 3, padding=1)
        self.dense = dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place = torch.arange(x.shape[2], dtype=x.dtype).view(1, 1, -1, 1, 1)
        maps: torch.Tensor = self.conv(x) + place * torch.tensor([0.0, 0.5, 1.0]).view(
            1, 3, 1, 1, 1
        )
        return maps if self.dense else maps[:, :, 0, 1, 2]


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("axes", [(0,), (0, 2), (0, 1, 2)])
@torch.no_grad()
def test_probabilities_are_means_over_all_combinations(dense: bool, axes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = Logits(dense)
    x = torch.randn(2, 1, 4, 5, 6)
    means = []
    for flags in itertools.product((False, True), repeat=len(axes)):
        dims = tuple(axis + 2 for axis, flag in zip(axes, flags, strict=True) if flag)
        p = torch.softmax(network(torch.flip(x, dims)), dim=1)
        means.append(torch.flip(p, dims) if dense else p)
    expected = torch.stack(means).mean(dim=0)
    upright = network(x)
    with averaged_over_flips(network, axes):
        averaged = torch.softmax(network(x), dim=1)
    torch.testing.assert_close(averaged, expected)
    assert not torch.allclose(torch.softmax(upright, dim=1), expected)
    torch.testing.assert_close(network(x), upright)


@torch.no_grad()
def test_without_axes_nothing_changes() -> None:
    network = Logits(dense=True)
    x = torch.randn(1, 1, 4, 4, 4)
    with averaged_over_flips(network, ()):
        torch.testing.assert_close(network(x), network(x))
        assert not network._forward_hooks
