"""Intervals by resampling patients, not cases.

Cases of one patient are alike; resampling them as if they were independent gives intervals that
are too narrow. Patients are drawn with replacement within their class, each with all his cases.

A resample repeats cases, which makes some metrics larger than they are on the cases themselves: the
percentiles of the expected calibration error can lie wholly above its value. Of these metrics
(`MetricFamily.inflated`) the resamples are first moved by the bootstrap's estimate of that bias,
their mean less the value (Efron and Tibshirani, An introduction to the bootstrap, 1993, section
10.2), and the ends are kept between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.errors import MedsslError
from medssl.store.splits import patient_strata
from medssl.transfer.metrics import family_of, metric_value, weighted_metric
from medssl.transfer.weighted import Floats, Weights

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval; see the module for metrics that resampling inflates."""

    value: float
    low: float
    high: float
    level: float
    resamples: int
    patients: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.level:.0%} {self.low:.3f} to {self.high:.3f})"


def patient_weights(predictions: pd.DataFrame, resamples: int, seed: int) -> Weights:
    """(B, N) how often each case is drawn: its patient's count within his class.

    A patient's class is the rarest, over all cases, that he has; where there are no classes, as in
    segmentation, all patients are drawn together. The draw depends on the patients and the seed,
    not on the order of rows.
    """
    strata = patient_strata(predictions, family_of(predictions).stratum)
    counts = drawn_counts(strata.to_numpy(), resamples, seed)
    patient = strata.index.get_indexer(pd.Index(predictions["patient_key"]))
    return np.take(counts, patient, axis=1)


def drawn_counts(stratum_P: npt.NDArray[Any], resamples: int, seed: int) -> Weights:
    """(B, P) how often each patient is drawn, with replacement among those of his stratum."""
    rng = np.random.Generator(np.random.Philox(seed))
    counts = np.zeros((resamples, len(stratum_P)), dtype=np.float32)
    for stratum in np.unique(stratum_P):
        members = np.flatnonzero(stratum_P == stratum)
        drawn = rng.integers(0, len(members), (resamples, len(members)))
        rows = np.arange(resamples)[:, None] * len(members)
        flat = np.bincount((rows + drawn).ravel(), minlength=resamples * len(members))
        counts[:, members] = flat.reshape(resamples, len(members))
    return counts


def bootstrap_intervals(
    predictions: pd.DataFrame,
    metrics: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """The patient-clustered percentile interval of each metric, all under the same draws.

    Raises:
        MedsslError: the frame does not allow a metric.
    """
    weights = patient_weights(predictions, resamples, seed)
    patients = predictions["patient_key"].nunique()
    inflated = family_of(predictions).inflated
    found = {}
    for name in metrics:
        value = metric_value(name, predictions)
        values = weighted_metric(name, predictions, weights)
        if name in inflated:
            values = np.clip(values - (np.nanmean(values) - value), 0.0, 1.0)
        found[name] = _interval(value, values, level, patients)
    return found


def bootstrap_interval(
    predictions: pd.DataFrame,
    metric: str,
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of one metric; see `bootstrap_intervals`."""
    return bootstrap_intervals(predictions, [metric], resamples=resamples, level=level, seed=seed)[
        metric
    ]


def paired_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    metric: str,
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of metric(first) - metric(second), both under the same draws of patients.

    Raises:
        MedsslError: the frames are not of the same cases, or do not allow the metric.
    """
    first = first.sort_values("volume_uid", ignore_index=True)
    second = second.sort_values("volume_uid", ignore_index=True)
    shared = [c for c in ("volume_uid", "patient_key", "y_true") if c in first and c in second]
    if len(first) != len(second) or not first[shared].equals(second[shared]):
        raise MedsslError(
            "a paired difference needs predictions of the same cases; "
            f"these have {len(first)} and {len(second)}, with other volumes, patients or labels"
        )
    weights = patient_weights(first, resamples, seed)
    values = weighted_metric(metric, first, weights) - weighted_metric(metric, second, weights)
    value = metric_value(metric, first) - metric_value(metric, second)
    return _interval(value, values, level, first["patient_key"].nunique())


def _interval(value: float, values: Floats, level: float, patients: int) -> Interval:
    defined = values[np.isfinite(values)]
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
    return Interval(value, float(low), float(high), level, len(values), patients)
