"""Counting noise keeps the mean; its variance follows the counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from medssl.augment.intensity.count_noise import CountNoise

from .conftest import change


@pytest.mark.parametrize("suv", [0.05, 0.5, 2.0, 8.0, 20.0])
def test_the_mean_is_kept_and_the_variance_is_the_mean_by_counts(suv: float) -> None:
    image = torch.full((1, 40, 40, 40), math.sqrt(suv))
    noisy = change(CountNoise(20, 20), image, background=0).square()
    assert noisy.mean().item() == pytest.approx(suv, rel=0.02)
    assert noisy.var().item() == pytest.approx(suv / 20, rel=0.03)


@pytest.mark.parametrize("expected", [0.02, 0.7, 5.0, 9.99, 10.01, 13.0, 60.0, 900.0])
@pytest.mark.usefixtures("computed_both_ways")
def test_counts_are_poisson_distributed(expected: float) -> None:
    image = torch.full((1, 40, 40, 40), math.sqrt(expected / 20))
    noisy = change(CountNoise(20, 20), image, seed=2, background=0).square() * 20
    counts = noisy.round().long().flatten().numpy()
    # Bins of about a hundredth of all or more, the tails in the outermost.
    poisson = scipy.stats.poisson(expected)
    edges = np.unique(poisson.ppf(np.linspace(0.003, 0.997, 40)))
    chances = np.diff([0, *poisson.cdf(edges), 1])
    seen = np.bincount(np.searchsorted(edges, counts), minlength=len(chances))
    assert scipy.stats.chisquare(seen, chances * counts.size).pvalue > 1e-3


def test_values_are_whole_counts() -> None:
    noisy = change(CountNoise(5, 5), torch.rand(1, 20, 20, 20), background=0).square() * 5
    torch.testing.assert_close(noisy, noisy.round(), rtol=0, atol=1e-4)
    assert noisy.max() > 5


def test_no_counts_where_there_is_no_uptake() -> None:
    assert (change(CountNoise(5, 5), torch.zeros(1, 9, 9, 9), background=0) == 0).all()


def test_counts_lie_evenly_in_their_logarithm() -> None:
    drawn = [CountNoise(20, 200).draw(np.random.default_rng(s), 1.0)["counts"] for s in range(300)]
    assert 20 <= min(drawn) < 22
    assert 180 < max(drawn) <= 200
    # Of 300 even draws the mean is off by 0.04 (one standard deviation).
    assert np.log(drawn).mean() == pytest.approx(math.log(20 * 200) / 2, abs=0.12)
    stronger = [CountNoise(20, 200).draw(np.random.default_rng(s), 2.0) for s in range(300)]
    assert 2 <= min(one["counts"] for one in stronger) < 2.4
