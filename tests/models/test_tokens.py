from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from medssl.models.tokens import cut_tokens, take_tokens


@given(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * 3), st.integers(1, 4), st.integers(1, 2))
def test_token_n_is_the_nth_cube(batch, grid, side, channels):
    d, h, w = grid
    voxels = torch.randn(batch, channels, d * side, h * side, w * side)
    tokens = cut_tokens(voxels, side)
    assert tokens.shape == (batch, d * h * w, channels * side**3)
    for n in range(d * h * w):
        i, j, k = n // (h * w) * side, n // w % h * side, n % w * side
        cube = voxels[:, :, i : i + side, j : j + side, k : k + side]
        assert torch.equal(tokens[:, n], cube.flatten(1))


def test_each_sample_has_its_own_choice():
    tokens = torch.arange(2 * 4 * 3).reshape(2, 4, 3)
    chosen = torch.tensor([[3, 0], [1, 2]])
    taken = take_tokens(tokens, chosen)
    assert torch.equal(taken, torch.stack([tokens[0, [3, 0]], tokens[1, [1, 2]]]))
