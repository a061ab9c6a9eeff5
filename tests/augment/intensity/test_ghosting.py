"""Ghosts stand at multiples of the field of view / N, as strong as set; the centre is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medssl.augment.intensity.base import Views
from medssl.augment.intensity.ghosting import Ghosting


def ghosted(image: Tensor, centre: float = 0.0, **drawn: float) -> Tensor:
    """(D, H, W) signal above a background of -1, with ghosts."""
    views = Views(image[None, None] - 1, torch.tensor([-1.0]), [torch.Generator()])
    return Ghosting((2, 9), (0.0, 0.1), centre).apply(views, [drawn])[0, 0] + 1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ghosts", [2, 3, 4, 8])
def test_a_block_has_ghosts_at_every_nth_of_the_field(axis: int, ghosts: int) -> None:
    size, width, share = 96, 8, 0.05
    line = torch.zeros(size)
    line[40 : 40 + width] = 2.0
    image = torch.zeros(3, 3, 3).index_select(axis, torch.zeros(size, dtype=torch.int64))
    image.movedim(axis, 0)[:, 1, 1] = line
    seen = ghosted(image, axis=axis, ghosts=ghosts, offset=1, intensity=share)
    profile = seen.movedim(axis, 0)[:, 1, 1]
    for number in range(1, ghosts):
        at = (40 + number * size // ghosts) % size
        where = torch.arange(at, at + width) % size
        # Parseval: each ghost holds the square of its share of the block's energy
        energy = profile[where].square().sum() / line.square().sum()
        assert energy.item() == pytest.approx(share**2, rel=1e-3)
        profile[where] = 0.0
    torch.testing.assert_close(profile, (1 - share) * line, atol=1e-5, rtol=1e-5)


def naive(
    image: np.ndarray, axis: int, ghosts: int, offset: int, share: float, centre: float
) -> np.ndarray:
    """Line by line, with sums written out."""
    lines = np.moveaxis(image, axis, 0).astype(np.float64)
    size = len(lines)
    result = np.zeros(lines.shape, dtype=np.complex128)
    for k in range(-(size // 2), size - size // 2):
        wave = np.exp(2j * np.pi * k * np.arange(size) / size)
        sample = np.tensordot(wave.conj(), lines, 1) / size
        if (k - offset) % ghosts == 0 and abs(k) > centre * size / 2:
            sample = sample * (1 - ghosts * share)
        result += wave[:, None, None] * sample
    return np.moveaxis(np.abs(result), 0, axis)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.sampled_from([1, 2, 5, 7, 12, 33])] * 3),
    axis=st.integers(0, 2),
    ghosts=st.integers(2, 9),
    centre=st.sampled_from([0.0, 0.02, 0.5]),
    seed=st.integers(0, 99),
)
def test_it_is_a_weight_on_lines(
    shape: tuple[int, int, int], axis: int, ghosts: int, centre: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image, offset = rng.uniform(0, 3, shape), int(rng.integers(ghosts))
    signal = torch.from_numpy(image.astype(np.float32))
    seen = ghosted(signal, centre, axis=axis, ghosts=ghosts, offset=offset, intensity=0.07)
    expected = naive(image, axis, ghosts, offset, 0.07, centre)
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-5)


def test_the_central_lines_are_kept() -> None:
    x = torch.arange(64) * (2 * torch.pi / 64)
    coarse = (2 + torch.cos(3 * x))[None, :, None].expand(4, 64, 4)
    fine = (2 + torch.cos(20 * x))[None, :, None].expand(4, 64, 4)
    drawn = {"axis": 1, "ghosts": 2, "intensity": 0.1}
    kept = ghosted(coarse, 0.1, offset=1, **drawn)
    torch.testing.assert_close(kept, coarse, atol=1e-5, rtol=0)
    weaker = ghosted(fine, 0.1, offset=0, **drawn)
    torch.testing.assert_close(weaker, 2 + 0.8 * (fine - 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_what_is_drawn_stays_in_its_ranges(strength: float) -> None:
    transform = Ghosting((2, 5), (0.02, 0.08))
    drawn = [transform.draw(np.random.default_rng(s), strength) for s in range(300)]
    assert {one["axis"] for one in drawn} == {0, 1, 2}
    assert {one["ghosts"] for one in drawn} == {2, 3, 4, 5}
    assert all(0 <= one["offset"] < one["ghosts"] for one in drawn)
    shares = np.array([one["intensity"] for one in drawn])
    assert shares.min() >= 0.02
    assert 0.02 + 0.057 * strength <= shares.max() <= 0.02 + 0.06 * strength + 1e-12
