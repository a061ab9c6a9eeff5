"""Metrics of numbers: pure functions of a frame with y_true and y_pred, in the label's units.

Each is given twice, for one frame and for many case weights at once (see
`medssl.transfer.weighted`); both agree on a frame whose rows are repeated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from medssl.transfer.weighted import Floats, quotient

_NO_SPREAD = 1e-12  # what rounding leaves of the variance, as a share of the whole frame's


def mae(y: Floats, predicted: Floats) -> float:
    """Mean absolute error."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(y, predicted))


def rmse(y: Floats, predicted: Floats) -> float:
    """Root mean squared error."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(y, predicted))


def r2(y: Floats, predicted: Floats) -> float:
    """Coefficient of determination: 1 - squared error / variance; NaN where y does not vary."""
    from sklearn.metrics import r2_score

    return float(r2_score(y, predicted)) if np.ptp(y) else float("nan")


def pearson(y: Floats, predicted: Floats) -> float:
    """Pearson's correlation; NaN where either side does not vary."""
    from scipy.stats import pearsonr

    return float(pearsonr(y, predicted).statistic) if _vary(y, predicted) else float("nan")


def spearman(y: Floats, predicted: Floats) -> float:
    """Spearman's rank correlation, ties taking their mean rank; NaN as `pearson`."""
    from scipy.stats import spearmanr

    return float(spearmanr(y, predicted).statistic) if _vary(y, predicted) else float("nan")


REGRESSION_METRICS: dict[str, Callable[[Floats, Floats], float]] = {
    "mae": mae,
    "rmse": rmse,
    "r2": r2,
    "pearson": pearson,
    "spearman": spearman,
}


def regression_names(predictions: pd.DataFrame) -> list[str]:
    """The metrics that a frame allows: all of a frame with y_pred."""
    return list(REGRESSION_METRICS) if "y_pred" in predictions.columns else []


def regression_value(name: str, predictions: pd.DataFrame) -> float:
    """One of REGRESSION_METRICS of a frame."""
    return REGRESSION_METRICS[name](*_truth_and_prediction(predictions))


def weighted_regression(name: str, predictions: pd.DataFrame, weights_BN: Floats) -> Floats:
    """(B,) values of one of REGRESSION_METRICS; NaN where a resample does not allow it."""
    y, predicted = _truth_and_prediction(predictions)
    total = weights_BN.sum(axis=1)
    if name == "pearson":
        return _correlation(y[None], predicted[None], weights_BN)
    if name == "spearman":
        return _correlation(_ranks(y, weights_BN), _ranks(predicted, weights_BN), weights_BN)
    if name == "mae":
        return quotient(weights_BN @ np.abs(y - predicted), total)
    squared_error = quotient(weights_BN @ np.square(y - predicted), total)
    if name == "rmse":
        return np.sqrt(squared_error)
    return 1 - quotient(squared_error, _variance(y[None], weights_BN))


def _truth_and_prediction(predictions: pd.DataFrame) -> tuple[Floats, Floats]:
    y, predicted = (predictions[name].to_numpy(np.float64) for name in ("y_true", "y_pred"))
    return y, predicted


def _vary(y: Floats, predicted: Floats) -> bool:
    return bool(np.ptp(y) and np.ptp(predicted))


def _ranks(values: Floats, weights_BN: Floats) -> Floats:
    """(B, N) rank of each value among the drawn ones, ties taking their mean."""
    _, place = np.unique(values, return_inverse=True)
    alike = np.zeros((len(weights_BN), int(place.max()) + 1))
    np.add.at(alike.T, place, weights_BN.T)
    below = np.cumsum(alike, axis=1) - alike
    return np.asarray((below + (alike + 1) / 2)[:, place])


def _correlation(a: Floats, b: Floats, weights_BN: Floats) -> Floats:
    """(B,) correlations of two sides, each (B, N) or (1, N)."""
    total = weights_BN.sum(axis=1)
    mean_a, mean_b = (quotient((weights_BN * x).sum(axis=1), total)[:, None] for x in (a, b))
    together = quotient((weights_BN * (a - mean_a) * (b - mean_b)).sum(axis=1), total)
    return quotient(together, np.sqrt(_variance(a, weights_BN) * _variance(b, weights_BN)))


def _variance(values: Floats, weights_BN: Floats) -> Floats:
    """(B,) variances of the drawn values, (B, N) or (1, N); exactly 0 where they do not vary."""
    total = weights_BN.sum(axis=1)
    mean = quotient((weights_BN * values).sum(axis=1), total)[:, None]
    variance = quotient((weights_BN * np.square(values - mean)).sum(axis=1), total)
    return np.where(variance > _NO_SPREAD * values.var(axis=1), variance, 0.0)
