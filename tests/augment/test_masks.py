"""The hidden share is exact in every sample, and drawn for each by its number."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from medssl.augment.masks import draw_token_masks


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_exactly_the_ratio_is_hidden(grid: tuple[int, int, int], ratio: float, step: int) -> None:
    masks = draw_token_masks(3, step, torch.arange(4), grid, ratio)
    count = grid[0] * grid[1] * grid[2]
    assert masks.shape == (4, count)
    assert masks.dtype == torch.bool
    assert masks.sum(dim=1).tolist() == [round(ratio * count)] * 4


def test_a_row_depends_on_its_index_alone() -> None:
    together = draw_token_masks(3, 7, torch.arange(8), (4, 4, 4), 0.75)
    apart = draw_token_masks(3, 7, torch.tensor([5, 2]), (4, 4, 4), 0.75)
    assert torch.equal(apart, together[[5, 2]])
    assert not torch.equal(together[0], together[1])


def test_tokens_are_hidden_equally_often() -> None:
    masks = draw_token_masks(0, 0, torch.arange(4000), (2, 2, 2), 0.75)
    assert (masks.float().mean(dim=0) - 0.75).abs().max() < 0.03
