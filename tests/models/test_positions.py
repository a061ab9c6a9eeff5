from __future__ import annotations

import math

import pytest
import torch

from medssl.models.positions import sincos_positions


def test_each_entry_is_its_formula():
    grid, dim = (2, 3, 4), 26
    positions = sincos_positions(grid, dim)
    frequencies = dim // 6
    for token in range(24):
        index = (token // 12, token // 4 % 3, token % 4)
        for axis in range(3):
            at = index[axis] - (grid[axis] - 1) / 2
            for f in range(frequencies):
                angle = at * 10_000 ** (-f / frequencies)
                start = axis * 2 * frequencies
                assert positions[token, start + f] == pytest.approx(math.sin(angle), abs=1e-6)
                assert positions[token, start + frequencies + f] == pytest.approx(
                    math.cos(angle), abs=1e-6
                )
    assert (positions[:, 24:] == 0).all()


def test_a_larger_grid_has_the_smaller_one_in_its_middle():
    small = sincos_positions((2, 2, 2), 24).reshape(2, 2, 2, 24)
    large = sincos_positions((4, 4, 4), 24).reshape(4, 4, 4, 24)
    assert torch.equal(large[1:3, 1:3, 1:3], small)


def test_no_two_tokens_share_a_position():
    positions = sincos_positions((5, 6, 7), 24)
    distances = torch.cdist(positions, positions) + torch.eye(210) * 9
    assert distances.min() > 0.1
