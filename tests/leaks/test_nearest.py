"""The nearest of many pairs and the threshold against a full sort."""

from __future__ import annotations

import numpy as np

from medssl.leaks import nearest
from medssl.leaks.nearest import Natural, Nearest, Volumes


def test_every_pair_is_counted_and_the_nearest_are_kept() -> None:
    rng = np.random.default_rng(0)
    distance = rng.integers(0, 40, 5000).astype(np.float32)  # many ties
    first, second = rng.permutation(5000), rng.permutation(5000)
    kept = Nearest(most=70)
    for start in range(0, 5000, 37):
        some = slice(start, start + 37)
        kept.add(first[some], second[some], distance[some])
    assert kept.found == 5000
    expected = sorted(zip(distance, first, second, strict=True))[:70]
    got_first, got_second, got = kept.pairs()
    assert list(zip(got, got_first, got_second, strict=True)) == expected


def test_nothing_added_is_nothing_kept() -> None:
    kept = Nearest(most=3)
    kept.add(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    assert kept.found == 0
    assert [len(part) for part in kept.pairs()] == [0, 0, 0]


def test_at_most_a_thousandth_lies_below_the_threshold() -> None:
    rng = np.random.default_rng(1)
    for distances in (rng.normal(size=12_345), rng.integers(0, 60, 12_345).astype(float)):
        natural = Natural.of(distances)
        below = np.count_nonzero(distances < natural.threshold)
        assert below <= 0.001 * len(distances) < np.count_nonzero(distances <= natural.threshold)
        assert natural.nearest == distances.min()
    assert np.isnan(Natural.of(rng.normal(size=999)).threshold)


def test_strangers_are_of_one_corpus_and_two_patients() -> None:
    patient = np.array([0, 0, 1, 2, 0, 1, 3, 3])
    pixels = np.array([0, 1, 2, 3, 0, 4, 5, 3])
    volumes = Volumes(4, patient, pixels)
    first, second = volumes.strangers()
    expected = {
        (i, j)
        for start, stop in ((0, 4), (4, 8))
        for i in range(start, stop)
        for j in range(i + 1, stop)
        if patient[i] != patient[j] and pixels[i] != pixels[j]
    }
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_a_large_corpus_is_sampled_and_the_same_again() -> None:
    n = 2000
    volumes = Volumes(n, np.arange(2 * n), np.arange(2 * n))
    first, second = volumes.strangers()
    again, _ = volumes.strangers()
    np.testing.assert_array_equal(first, again)
    assert 2 * nearest.SAMPLED_PAIRS * 0.99 < len(first) <= 2 * nearest.SAMPLED_PAIRS
    assert ((first < n) == (second < n)).all()
