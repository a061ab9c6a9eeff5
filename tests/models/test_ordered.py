"""Probabilities of ordered classes, against the cumulative link written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from medssl.models.ordered import OrderedHead, cumulative_logits


def head(num_classes: int = 5) -> OrderedHead:
    torch.manual_seed(0)
    made = OrderedHead(3, num_classes)
    with torch.no_grad():
        made.gaps.add_(torch.randn(num_classes - 2))
    return made


def test_probabilities_are_differences_of_the_cumulative_ones() -> None:
    ordered = head()
    embedding = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)) * 3
    p = ordered(embedding).exp().detach().numpy()
    score = embedding.numpy() @ ordered.score.weight.detach().numpy()[0]
    above = expit(score[:, None] - ordered.thresholds().detach().numpy())
    edges = np.concatenate([np.ones((20, 1)), above, np.zeros((20, 1))], axis=1)
    np.testing.assert_allclose(p, edges[:, :-1] - edges[:, 1:], atol=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert (np.diff(ordered.thresholds().detach().numpy()) > 0).all()


def test_far_scores_stay_finite_with_finite_gradients() -> None:
    ordered = head()
    embedding = torch.tensor([[300.0, 300, 300], [-300.0, -300, -300]], requires_grad=True)
    logits = ordered(embedding)
    assert logits.isfinite().all()
    cumulative_logits(logits).sum().backward()
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()


def test_cumulative_logits_are_taken_back_out() -> None:
    ordered = head()
    embedding = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    expected = ordered.score(embedding) - ordered.thresholds()
    torch.testing.assert_close(
        cumulative_logits(ordered(embedding)), expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("num_classes", [2, 3, 6])
def test_classes_begin_equally_likely_at_a_score_of_zero(num_classes: int) -> None:
    p = OrderedHead(3, num_classes)(torch.zeros(1, 3)).exp()
    torch.testing.assert_close(p, torch.full((1, num_classes), 1 / num_classes))
