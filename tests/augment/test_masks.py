"""The hidden share is exact in every sample, and drawn for each by its number."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from medssl.augment.masks import deal_token_masks, draw_token_masks

GRIDS = st.tuples(*[st.integers(1, 6)] * 3)


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


@given(
    GRIDS,
    st.floats(0, 0.99),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]),
    st.integers(0, 1000),
)
def test_the_ratio_holds_among_the_tokens_of_body_and_over_all(
    grid: tuple[int, int, int], ratio: float, block: int, share: float, step: int
) -> None:
    body = torch.rand(5, *grid, generator=torch.Generator().manual_seed(step)) < share
    masks = draw_token_masks(3, step, torch.arange(5), grid, ratio, body, block)
    count = grid[0] * grid[1] * grid[2]
    for hidden, is_body in zip(masks, body.flatten(1), strict=True):
        n = int(is_body.sum())
        expected = round(ratio * n)
        if expected == n and n:
            expected = n - 1
        assert int((hidden & is_body).sum()) == expected
        if round(ratio * count) < count:
            assert int(hidden.sum()) == round(ratio * count), "a ViT wants equally many of each"


@given(GRIDS, st.floats(0, 1), st.integers(2, 4), st.integers(0, 1000))
def test_blocks_are_hidden_whole_but_for_one(
    grid: tuple[int, int, int], ratio: float, block: int, step: int
) -> None:
    """For some start, every cube but one is hidden or visible as a whole."""
    hidden = draw_token_masks(3, step, torch.arange(1), grid, ratio, block=block)[0].reshape(grid)
    assert int(hidden.sum()) == round(ratio * hidden.numel())

    def broken(start: tuple[int, ...]) -> int:
        cubes: dict[tuple[int, ...], set[bool]] = {}
        for at in np.ndindex(grid):
            cube = tuple((i + s) // block for i, s in zip(at, start, strict=True))
            cubes.setdefault(cube, set()).add(bool(hidden[at]))
        return sum(len(states) == 2 for states in cubes.values())

    assert min(broken(start) for start in product(range(block), repeat=3)) <= 1


def test_body_and_blocks_leave_a_row_to_its_index_alone() -> None:
    body = torch.rand(8, 4, 6, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    for block in (1, 2, 3):
        together = draw_token_masks(3, 7, torch.arange(8), (4, 6, 5), 0.75, body, block)
        few = body[[5, 2]]
        apart = draw_token_masks(3, 7, torch.tensor([5, 2]), (4, 6, 5), 0.75, few, block)
        assert torch.equal(apart, together[[5, 2]])
        later = draw_token_masks(3, 8, torch.arange(8), (4, 6, 5), 0.75, body, block)
        assert not torch.equal(later, together)


def test_tokens_of_body_are_hidden_equally_often_in_blocks_too() -> None:
    body = torch.zeros(3000, 4, 4, 4, dtype=torch.bool)
    body[:, 1:, :, 2:] = True
    for block in (1, 2):
        masks = draw_token_masks(0, 0, torch.arange(3000), (4, 4, 4), 0.5, body, block)
        often = masks.float().mean(dim=0).reshape(4, 4, 4)[1:, :, 2:]
        assert (often - 0.5).abs().max() < 0.05


def test_neighbours_share_their_fate_in_blocks() -> None:
    def alike(block: int) -> float:
        masks = draw_token_masks(0, 0, torch.arange(200), (8, 8, 8), 0.5, block=block)
        cubes = masks.reshape(-1, 8, 8, 8)
        return float((cubes[:, 1:] == cubes[:, :-1]).float().mean())

    assert 0.45 < alike(1) < 0.55
    assert alike(4) > 0.8


def test_a_whole_body_is_as_no_body() -> None:
    body = torch.ones(4, 3, 3, 3, dtype=torch.bool)
    plain = draw_token_masks(1, 2, torch.arange(4), (3, 3, 3), 0.6)
    assert torch.equal(draw_token_masks(1, 2, torch.arange(4), (3, 3, 3), 0.6, body), plain)


@given(
    st.tuples(st.integers(2, 6), st.integers(1, 6), st.integers(2, 6)),
    st.sampled_from([0.2, 0.4, 0.5, 0.6, 0.75, 0.9]),
    st.integers(1, 3),
    st.integers(0, 50),
)
def test_dealt_masks_hide_every_token_equally_often_and_leave_something_to_see(
    grid: tuple[int, int, int], ratio: float, block: int, seed: int
) -> None:
    masks = deal_token_masks(np.random.default_rng(seed), grid, ratio, None, block)
    times = masks.sum(dim=0)
    assert (times == (1 if ratio < 0.5 else len(masks) - 1)).all()
    if any(n > block for n in grid):
        assert not masks.all(dim=1).any()
        assert masks.any(dim=1).all()


def test_dealt_masks_hide_about_the_ratio_of_the_body() -> None:
    body = torch.zeros(6, 6, 6, dtype=torch.bool)
    body[:2, :4, :5] = True  # 40 tokens
    for ratio, number, hidden in ((0.75, 4, 30), (0.6, 2, 20), (0.25, 4, 10)):
        masks = deal_token_masks(np.random.default_rng(1), (6, 6, 6), ratio, body)
        assert len(masks) == number
        assert (masks & body.flatten()).sum(dim=1).tolist() == [hidden] * number
        assert masks.sum(dim=1).tolist() == [hidden * 216 // 40] * number


def test_dealt_cubes_stay_whole() -> None:
    masks = deal_token_masks(np.random.default_rng(1), (4, 4, 5), 0.5, None, block=2)
    for mask in masks.reshape(-1, 4, 4, 5):
        for i, j, k in product((0, 2), (0, 2), (0, 2, 4)):
            assert mask[i : i + 2, j : j + 2, k : k + 2].unique().numel() == 1
