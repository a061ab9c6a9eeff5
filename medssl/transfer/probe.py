"""Cheap looks at frozen embeddings: a linear probe and the nearest neighbours.

Both are fitted on standardised embeddings: each feature less its mean, over its deviation, both
over the training cases. Pooled features share a large mean, and cosines that include it are all
near one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from medssl.errors import TrainingError
from medssl.transfer.metrics import Floats, Ints

INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
DEFAULT_PENALTY = 1e-2
MOST_FOLDS = 5
NEIGHBOURS = 20
VOTE_TEMPERATURE = 0.07

Patients = npt.NDArray[Any]


@dataclass(frozen=True)
class ProbeResult:
    """What a linear probe says of the test cases.

    Attributes:
        probabilities: (M, C), rows sum to 1; columns are classes 0 ... C - 1.
        inverse_penalty: the C of the logistic regression that was taken.
        weight: (C, K), and
        bias: (C,): softmax(embedding @ weight.T + bias) are the probabilities, for embeddings as
            they are, not standardised.
    """

    probabilities: Floats
    inverse_penalty: float
    weight: Floats
    bias: Floats


def linear_probe(train: Floats, y: Ints, patients: Patients, test: Floats) -> ProbeResult:
    """Logistic regression with an L2 penalty (scikit-learn's), on standardised embeddings.

    The penalty is the one with the least log loss in cross-validation over the training cases,
    stratified and with no patient on two sides; of equals, the stronger. Where a class has a
    single patient there is nothing to validate on, and C is 0.01.

    Args:
        train: (N, K) embeddings.
        y: (N,) class numbers from 0, every class at least once.
        patients: (N,) whose case it is.
        test: (M, K).

    Raises:
        TrainingError: a class below the highest has no case, or there is one class alone.
    """
    classes = _classes(y)
    penalty = _chosen_penalty(train, y, patients)
    model = _fitted(train, y, penalty)
    scores = model.predict_proba(_finite(test))
    assert scores.shape == (len(test), classes)
    scaler, regression = model[0], model[1]
    weight, bias = regression.coef_, regression.intercept_
    if classes == 2:  # scikit-learn's one row is that of class 1 against a zero of class 0
        weight, bias = np.vstack([0 * weight, weight]), np.concatenate([0 * bias, bias])
    weight = weight / scaler.scale_
    bias = bias - weight @ scaler.mean_
    return ProbeResult(np.asarray(scores, dtype=np.float64), penalty, weight, bias)


def knn_probe(train: Floats, y: Ints, test: Floats, k: int = NEIGHBOURS) -> Floats:
    """(M, C) shares of the votes of the k nearest training cases by cosine.

    A neighbour's vote weighs exp(cosine / 0.07) (Wu et al., Unsupervised feature learning via
    non-parametric instance discrimination, 2018, section 3.4; their k is 200, for 1.3 million
    images). Where there are fewer than 2 k training cases, half of them vote, and at least one.

    Args:
        train: (N, K) embeddings.
        y: (N,) class numbers from 0.
        test: (M, K).

    Raises:
        TrainingError: as `linear_probe`.
    """
    classes = _classes(y)
    mean, deviation = _moments(train)
    ours, theirs = (_unit((_finite(part) - mean) / deviation) for part in (train, test))
    k = max(1, min(k, len(train) // 2))
    cosine = theirs @ ours.T
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    weights = softmax(np.take_along_axis(cosine, nearest, axis=1) / VOTE_TEMPERATURE, axis=1)
    votes = np.eye(classes)[y[nearest]]
    return np.asarray(np.einsum("mk,mkc->mc", weights, votes))


def _chosen_penalty(train: Floats, y: Ints, patients: Patients) -> float:
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold

    classes = _classes(y)
    folds = min(MOST_FOLDS, *(len(np.unique(patients[y == c])) for c in range(classes)))
    if folds < 2:
        return DEFAULT_PENALTY
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    parts = [
        (fit, held)
        for fit, held in splitter.split(train, y, patients)
        if len(np.unique(y[fit])) == classes
    ]
    if not parts:
        return DEFAULT_PENALTY
    losses = []
    for penalty in INVERSE_PENALTIES:
        total = 0.0
        for fit, held in parts:
            predicted = _fitted(train[fit], y[fit], penalty).predict_proba(train[held])
            total += log_loss(y[held], predicted, labels=range(classes), normalize=False)
        losses.append(total)
    return INVERSE_PENALTIES[int(np.argmin(losses))]


def _fitted(train: Floats, y: Ints, penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=5000))
    return model.fit(_finite(train), y)


def _classes(y: Ints) -> int:
    there = np.unique(y)
    if len(there) < 2 or not np.array_equal(there, np.arange(len(there))):
        raise TrainingError(
            f"a probe needs a training case of every class from 0 up, at least two; there are "
            f"{', '.join(str(c) for c in there) or 'none'}; label more cases"
        )
    return len(there)


def _moments(values: Floats) -> tuple[Floats, Floats]:
    deviation = _finite(values).std(axis=0)
    return values.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise TrainingError("an embedding is not finite; the encoder is damaged, pretrain it again")
    return values


def _unit(values: Floats) -> Floats:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1.0))
