"""The search by embeddings against scipy's cosine distances."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from medssl.leaks.vectors import natural_distance, near_vectors, unit_vectors


def test_the_search_finds_what_scipy_finds() -> None:
    rng = np.random.default_rng(0)
    everything = rng.normal(size=(2300, 24)) + 5.0
    unit = unit_vectors(everything)
    a, b = unit[:700], unit[700:]
    white = PCA(whiten=True).fit_transform(everything)
    distances = cdist(white[:700], white[700:], "cosine")
    threshold = float(np.sort(distances, axis=None)[1119:1121].mean())  # on no distance
    patient = rng.integers(0, 50, 2300)
    found = near_vectors(a, b, threshold, lambda i, j: patient[i] != patient[700 + j], most=10_000)
    truth = (distances < threshold) & (patient[:700, None] != patient[None, 700:])
    first, second, distance = found.pairs()
    assert found.found == truth.sum() > 500
    assert truth[first, second].all()
    np.testing.assert_allclose(distance, distances[first, second], atol=1e-5)
    assert (np.diff(distance) >= 0).all()


def test_the_natural_distance_is_that_of_the_pairs_given() -> None:
    rng = np.random.default_rng(1)
    vectors = unit_vectors(rng.normal(size=(300, 16)))
    first, second = np.triu_indices(300, 1)
    expected = cdist(vectors, vectors, "cosine")[first, second]
    natural = natural_distance(vectors, first, second)
    assert natural.pairs == len(first)
    assert abs(natural.threshold - np.sort(expected)[int(0.001 * (len(first) - 1))]) < 1e-5
    assert abs(natural.nearest - expected.min()) < 1e-5


def test_a_copy_is_found_where_one_direction_holds_nearly_everything() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(400, 32)) * np.append(1000.0, np.full(31, 0.1)) + 50
    copies = vectors[:40] + 0.01 * rng.normal(size=(40, 32))
    white = unit_vectors(np.concatenate([vectors, copies]))
    assert white.shape == (440, 32)
    distances = cdist(white[400:], white[:400], "cosine")
    np.testing.assert_array_equal(distances.argmin(axis=1), np.arange(40))


def test_few_vectors_keep_few_directions() -> None:
    rng = np.random.default_rng(3)
    assert unit_vectors(rng.normal(size=(80, 64))).shape == (80, 10)
    same = unit_vectors(np.ones((20, 4)))
    assert np.isfinite(same).all()
