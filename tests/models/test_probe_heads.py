"""Pooling by attention against its formula, votes against the probe, and what freezing keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medssl.errors import ConfigError
from medssl.models.probe_heads import AttentionPool, NearestCases, freeze
from medssl.transfer.probe import VOTE_TEMPERATURE, knn_probe


def test_the_query_attends_to_every_place_in_each_head() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(6, heads=2).double()
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    maps = torch.randn(3, 6, 2, 3, 2, dtype=torch.float64)
    w, b = pool.attention.in_proj_weight, pool.attention.in_proj_bias
    for case, ours in zip(maps, pool(maps), strict=True):
        places = [case[:, i, j, k] for i in range(2) for j in range(3) for k in range(2)]
        tokens = [F.layer_norm(t, (6,), pool.norm.weight, pool.norm.bias) for t in places]
        query = w[:6] @ pool.query[0, 0] + b[:6]
        heads = []
        for part in (slice(0, 3), slice(3, 6)):
            keys = [(w[6:12] @ t + b[6:12])[part] for t in tokens]
            values = [(w[12:] @ t + b[12:])[part] for t in tokens]
            scores = torch.stack([query[part] @ k / math.sqrt(3) for k in keys])
            shares = scores.exp() / scores.exp().sum()
            heads.append(sum(s * v for s, v in zip(shares, values, strict=True)))
        out = pool.attention.out_proj
        attended = out.weight @ torch.cat(heads) + out.bias
        norm = pool.out_norm
        expected = F.layer_norm(pool.query[0, 0] + attended, (6,), norm.weight, norm.bias)
        torch.testing.assert_close(ours, expected)


def test_heads_that_do_not_divide_are_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"regime\.heads 4 does not divide.*one of 1, 2, 3, 6"):
        AttentionPool(6, heads=4)


def test_votes_are_those_of_the_knn_probe() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 2, (40, 5)), rng.normal(3, 2, (9, 5))
    y = np.arange(40) % 3
    head = NearestCases(torch.from_numpy(train), torch.from_numpy(y), 3, 7, VOTE_TEMPERATURE)
    shares = head(torch.from_numpy(test)).exp().numpy()
    np.testing.assert_allclose(shares, np.maximum(knn_probe(train, y, test, k=7), 1e-6), atol=1e-9)


def test_a_frozen_encoder_keeps_weights_and_statistics_in_training_mode() -> None:
    encoder = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    x = torch.randn(2, 1, 3, 3, 3) + 5
    freeze(encoder)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    frozen = encoder.train()(x)
    torch.testing.assert_close(frozen, encoder.eval()(x))
    assert not frozen.requires_grad
    assert all(torch.equal(before[n], v) for n, v in encoder.state_dict().items())
