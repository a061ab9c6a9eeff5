"""Probes, each against an independent computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from medssl.errors import TrainingError
from medssl.transfer.probe import DEFAULT_PENALTY, INVERSE_PENALTIES, knn_probe, linear_probe


def clouds(
    number: int, apart: float, seed: int = 0, features: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Two classes whose first feature differs by `apart` deviations, off the origin."""
    rng = np.random.default_rng(seed)
    y = np.arange(number) % 2
    x = rng.normal(size=(number, features)) + 5.0
    x[:, 0] += apart * y
    return x * rng.uniform(0.1, 50.0, features), y


def naive_knn(train: np.ndarray, y: np.ndarray, test: np.ndarray, k: int) -> np.ndarray:
    """Case by case, in Python."""
    means = [sum(column) / len(train) for column in train.T]
    spreads = [
        math.sqrt(sum((v - m) ** 2 for v in column) / len(train)) or 1.0
        for column, m in zip(train.T, means, strict=True)
    ]

    def direction(row: np.ndarray) -> list[float]:
        z = [(v - m) / s for v, m, s in zip(row, means, spreads, strict=True)]
        length = math.sqrt(sum(v * v for v in z))
        return [v / length for v in z]

    ours = [direction(row) for row in train]
    rows = []
    for row in test:
        there = direction(row)
        cosines = [
            (sum(a * b for a, b in zip(o, there, strict=True)), n) for n, o in enumerate(ours)
        ]
        nearest = sorted(cosines, reverse=True)[: max(1, min(k, len(train) // 2))]
        votes = [0.0] * (max(y) + 1)
        for cosine, n in nearest:
            votes[y[n]] += math.exp(cosine / 0.07)
        rows.append([vote / sum(votes) for vote in votes])
    return np.array(rows)


@pytest.mark.parametrize(("number", "k"), [(60, 20), (12, 20), (2, 20), (60, 1)])
def test_neighbours_vote_as_counted_one_by_one(number: int, k: int) -> None:
    train, y = clouds(number, 1.0)
    test, _ = clouds(9, 1.0, seed=1)
    found = knn_probe(train, y, test, k)
    np.testing.assert_allclose(found, naive_knn(train, y, test, k), rtol=1e-9)


def test_probes_do_not_mind_how_features_are_scaled() -> None:
    train, y = clouds(40, 2.0)
    test, _ = clouds(30, 2.0, seed=1)
    factors = np.array([1e-3, 1.0, 10.0, 1e3, 5.0, 0.2])
    patients = np.arange(40)
    np.testing.assert_allclose(
        knn_probe(train, y, test), knn_probe(train * factors, y, test * factors), rtol=1e-6
    )
    one, two = (
        linear_probe(train * f, y, patients, test * f).probabilities for f in (np.ones(6), factors)
    )
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_a_linear_difference_is_found() -> None:
    train, y = clouds(100, 3.0)
    test, truth = clouds(200, 3.0, seed=1)
    result = linear_probe(train, y, np.arange(100), test)
    # Two normal clouds three deviations apart: the best possible area is Phi(3 / sqrt 2) = 0.983.
    assert roc_auc_score(truth, result.probabilities[:, 1]) > 0.96
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1.0)


def test_the_probabilities_are_those_of_the_minimum() -> None:
    """The gradient of the penalised loss, written out, is zero at what was found."""
    train, y = clouds(80, 1.0)
    result = linear_probe(train, y, np.arange(80), train)
    p = result.probabilities[:, 1]
    z = (train - train.mean(axis=0)) / train.std(axis=0)
    weights = np.linalg.lstsq(np.column_stack([z, np.ones(80)]), np.log(p / (1 - p)), rcond=None)[
        0
    ][:-1]
    gradient = result.inverse_penalty * z.T @ (p - y) + weights
    np.testing.assert_allclose(gradient, 0.0, atol=2e-3)


def test_noise_gets_a_strong_penalty_and_signal_a_weak_one() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    noise = rng.normal(size=(60, 40))
    signal = noise.copy()
    signal[:, 0] += 8.0 * y
    chosen = [linear_probe(x, y, np.arange(60), x).inverse_penalty for x in (noise, signal)]
    assert chosen[0] < chosen[1]
    assert set(chosen) <= set(INVERSE_PENALTIES)


def test_a_patient_is_never_on_both_sides_of_the_validation() -> None:
    """A feature that names the patient: alone it is worth nothing for other patients."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12) % 2, 6)
    patients = np.repeat(np.arange(12), 6)
    named = rng.normal(size=(12, 30))[patients] + 0.01 * rng.normal(size=(72, 30))
    by_patient = linear_probe(named, y, patients, named).inverse_penalty
    by_case = linear_probe(named, y, np.arange(72), named).inverse_penalty
    assert by_patient < by_case


def test_one_patient_of_a_class_leaves_nothing_to_validate_on() -> None:
    train, y = clouds(10, 3.0)
    patients = np.where(y == 1, 99, np.arange(10))
    assert linear_probe(train, y, patients, train).inverse_penalty == DEFAULT_PENALTY


@pytest.mark.parametrize("y", [np.zeros(4, dtype=int), np.array([0, 2, 0, 2])])
def test_a_class_without_a_case_is_refused(y: np.ndarray) -> None:
    train = np.random.default_rng(0).normal(size=(4, 3))
    with pytest.raises(TrainingError, match="every class"):
        linear_probe(train, y, np.arange(4), train)
    with pytest.raises(TrainingError, match="every class"):
        knn_probe(train, y, train)


def test_an_embedding_that_is_not_finite_is_refused() -> None:
    train, y = clouds(10, 1.0)
    train[3, 2] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        linear_probe(train, y, np.arange(10), train)
    with pytest.raises(TrainingError, match="not finite"):
        knn_probe(train, y, train)


@pytest.mark.parametrize("classes", [2, 3])
def test_weight_and_bias_are_for_embeddings_as_they_are(classes: int) -> None:
    rng = np.random.default_rng(3)
    train, test = rng.normal(5, 2, (60, 4)), rng.normal(5, 2, (7, 4))
    y = np.arange(60) % classes
    train[:, 0] += y
    probe = linear_probe(train, y, np.arange(60), test)
    np.testing.assert_allclose(
        softmax(test @ probe.weight.T + probe.bias, axis=1), probe.probabilities, atol=1e-9
    )
