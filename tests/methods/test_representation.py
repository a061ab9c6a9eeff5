"""The figures of a representation against loops over numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medssl.methods.representation import alignment, feature_deviation, rank_me, uniformity


@pytest.fixture
def embedded() -> torch.Tensor:
    """(12, 5), of different lengths and spreads."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(12, 5, generator=generator) * torch.tensor([3.0, 1, 0.5, 0.1, 0]) + 0.3


def unit(rows: torch.Tensor) -> list[list[float]]:
    return [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows.double().tolist()]


def test_rank_me_is_the_exponential_of_the_entropy_of_singular_values(embedded):
    # Singular values are the roots of the eigenvalues of Z'Z.
    z = embedded.double().numpy()
    values = np.sqrt(np.clip(np.linalg.eigvalsh(z.T @ z), 0, None))
    shares = values / values.sum()
    entropy = -sum(p * math.log(p) for p in shares if p > 0)
    assert float(rank_me(embedded)) == pytest.approx(math.exp(entropy), rel=1e-4)


def test_rank_me_of_known_shapes():
    assert float(rank_me(torch.eye(6))) == pytest.approx(6, rel=1e-4)
    line = torch.tensor([[1.0, 2, 3]]) * torch.tensor([[-1.0], [2], [5], [0.5]])
    assert float(rank_me(line)) == pytest.approx(1, abs=1e-4)
    assert float(rank_me(torch.zeros(4, 3))) == pytest.approx(1, abs=1e-3)


def test_uniformity_is_the_log_of_the_mean_over_pairs(embedded):
    rows = unit(embedded)
    pairs = [
        math.exp(-2 * sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)))
        for i in range(len(rows))
        for j in range(i)
    ]
    expected = math.log(sum(pairs) / len(pairs))
    assert float(uniformity(torch.tensor(rows))) == pytest.approx(expected, rel=1e-6)
    assert float(uniformity(torch.tensor(rows[:1] * 4))) == pytest.approx(0, abs=1e-6)


def test_alignment_is_the_mean_squared_distance_of_twins(embedded):
    rows = unit(embedded)
    first, second = rows[:6], rows[6:]
    apart = [
        sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
        for x, y in zip(first, second, strict=True)
    ]
    got = alignment(torch.tensor(first), torch.tensor(second))
    assert float(got) == pytest.approx(sum(apart) / 6, rel=1e-5)


def test_feature_deviation_against_numpy(embedded):
    rows = np.array(unit(embedded))
    expected = rows.std(axis=0).mean() * math.sqrt(5)
    assert float(feature_deviation(embedded)) == pytest.approx(expected, rel=1e-5)
    assert float(feature_deviation(torch.ones(9, 5))) == pytest.approx(0, abs=1e-6)
    isotropic = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert float(feature_deviation(isotropic)) == pytest.approx(1, abs=0.02)
