"""The learning rate rises linearly and falls by half a cosine."""

from __future__ import annotations

import math

import pytest

from medssl.engine.schedule import warmup_cosine


def test_warmup_is_linear_and_ends_at_the_peak() -> None:
    shares = [warmup_cosine(step, 100, 9, 0.0) for step in range(10)]
    assert shares == pytest.approx([0.1 * (i + 1) for i in range(10)])


def test_cosine_ends_at_the_final_factor() -> None:
    assert warmup_cosine(99, 100, 10, 0.05) == pytest.approx(0.05)
    middle = warmup_cosine(55, 101, 10, 0.0)
    assert middle == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5)))


def test_never_negative_or_above_one_for_short_runs() -> None:
    for steps in (1, 2, 3, 10):
        for step in range(steps):
            assert 0 <= warmup_cosine(step, steps, 50, 0.0) <= 1
