"""Draws depend on what they are for, and on nothing else."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.augment.rng import generator, volume_at

KEY = st.tuples(
    st.integers(0, 2**63), st.integers(0, 2**40), st.integers(0, 2**20), st.integers(0, 200)
)


@given(KEY)
def test_the_same_key_draws_the_same(key: tuple[int, int, int, int]) -> None:
    assert (generator(*key).random(8) == generator(*key).random(8)).all()


@given(KEY, KEY)
def test_another_key_draws_otherwise(
    key: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> None:
    if key != other:
        assert (generator(*key).random(8) != generator(*other).random(8)).all()


def test_neighbouring_keys_are_not_correlated() -> None:
    first = [generator(0, 0, index).random() for index in range(2000)]
    mean = sum(first) / len(first)
    assert abs(mean - 0.5) < 0.03
    shifted = sum((a - 0.5) * (b - 0.5) for a, b in pairwise(first))
    assert abs(shifted / len(first)) < 0.006


@settings(max_examples=30)
@given(st.integers(0, 2**40), st.integers(1, 200), st.integers(0, 50))
def test_every_epoch_visits_every_volume_once(seed: int, n: int, epoch: int) -> None:
    visited = [volume_at(seed, epoch * n + place, n) for place in range(n)]
    assert sorted(visited) == list(range(n))


def test_epochs_differ_and_seeds_differ() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        return [volume_at(seed, number * 50 + place, 50) for place in range(50)]

    assert epoch(1, 0) != epoch(1, 1)
    assert epoch(1, 0) != epoch(2, 0)
