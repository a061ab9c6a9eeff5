"""The search by embeddings against scipy's cosine distances."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from medssl.leaks.vectors import natural_distance, near_vectors, unit_vectors


def test_the_search_finds_what_scipy_finds() -> None:
    rng = np.random.default_rng(0)
    everything = rng.normal(size=(2300, 24)) + 5.0
    everything[1500] = 2 * everything[3] - everything.mean(axis=0)
    unit = unit_vectors(everything)
    a, b = unit[:700], unit[700:]
    centred = everything - everything.mean(axis=0)
    distances = cdist(centred[:700], centred[700:], "cosine")
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
