"""Metrics as pure functions of a predictions frame, one row a case.

Which metrics there are follows from the frame's columns: each family of metrics knows its own. Rows
that have no part in a result (another split, say) are the caller's to leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medssl.errors import MedsslError
from medssl.transfer import classification_metrics as classification
from medssl.transfer import multilabel_metrics as multilabel
from medssl.transfer import ordinal_metrics as ordinal
from medssl.transfer import regression_metrics as regression
from medssl.transfer import segmentation_metrics as segmentation
from medssl.transfer.weighted import Floats as Floats
from medssl.transfer.weighted import Ints as Ints
from medssl.transfer.weighted import Weights

_CHUNK = 4_000_000  # weights handled at once, so that large test sets need little memory


@dataclass(frozen=True)
class MetricFamily:
    """The metrics of one kind of frame.

    Attributes:
        names: what a frame allows; empty where the frame is of another kind.
        value: one metric by its name.
        weighted: (B,) values of one metric under (B, N) case weights; equal to `value` on the frame
            with rows so repeated, NaN where a resample does not allow the metric.
        stratum: column of the class within which a bootstrap draws patients, if any.
        inflated: metrics that resampling makes larger, whatever the truth is: their intervals are
            moved back by as much (`medssl.transfer.intervals`).
        by_case: columns for the reader, each case's own part in the metrics, that the frame does
            not hold yet; no metric is taken of them.
    """

    names: Callable[[pd.DataFrame], list[str]]
    value: Callable[[str, pd.DataFrame], float]
    weighted: Callable[[str, pd.DataFrame, Floats], Floats]
    stratum: str | None = None
    inflated: frozenset[str] = frozenset()
    by_case: Callable[[pd.DataFrame], Mapping[str, Floats | Ints]] = lambda _: {}


FAMILIES: dict[str, MetricFamily] = {
    "multilabel": MetricFamily(
        multilabel.multilabel_names,
        multilabel.multilabel_value,
        multilabel.weighted_multilabel,
    ),
    "ordinal": MetricFamily(
        ordinal.ordinal_names,
        ordinal.ordinal_value,
        ordinal.weighted_ordinal,
        stratum="y_true",
        inflated=frozenset({"ece"}),
    ),
    "regression": MetricFamily(
        regression.regression_names,
        regression.regression_value,
        regression.weighted_regression,
    ),
    "classification": MetricFamily(
        classification.classification_names,
        classification.classification_value,
        classification.weighted_classification,
        stratum="y_true",
        inflated=frozenset({"ece"}),
        by_case=classification.classification_by_case,
    ),
    "segmentation": MetricFamily(
        segmentation.segmentation_names,
        segmentation.segmentation_value,
        segmentation.weighted_segmentation,
    ),
}


def kind_of(predictions: pd.DataFrame) -> str:
    """The name of the first family whose columns the frame has: that of its task.

    Raises:
        MedsslError: none has.
    """
    for kind, family in FAMILIES.items():
        if family.names(predictions):
            return kind
    raise MedsslError(
        f"a frame with the columns {', '.join(map(str, predictions.columns))} holds no "
        f"predictions; those of {', '.join(FAMILIES)} are known"
    )


def family_of(predictions: pd.DataFrame) -> MetricFamily:
    """The family of that name; see `kind_of`."""
    return FAMILIES[kind_of(predictions)]


def metric_names(predictions: pd.DataFrame) -> list[str]:
    """The metrics that a frame allows."""
    return family_of(predictions).names(predictions)


def metric_value(name: str, predictions: pd.DataFrame) -> float:
    """One metric of a predictions frame; NaN where its cases do not define it.

    Raises:
        MedsslError: the frame does not allow it, or has no case.
    """
    family = _family_with(name, predictions)
    if predictions.empty:
        raise MedsslError(f"metric {name}: there is no case to take it of")
    return family.value(name, predictions)


def all_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Every metric that the frame allows, by name."""
    return {name: metric_value(name, predictions) for name in metric_names(predictions)}


def with_case_columns(predictions: pd.DataFrame) -> pd.DataFrame:
    """The frame with each case's own part in the metrics (`MetricFamily.by_case`)."""
    return predictions.assign(**family_of(predictions).by_case(predictions))


def weighted_metric(name: str, predictions: pd.DataFrame, weights_BN: Weights) -> Floats:
    """(B,) values of metric `name`, one for each row of weights (see `MetricFamily.weighted`).

    Raises:
        MedsslError: the frame does not allow the metric.
    """
    family = _family_with(name, predictions)
    step = max(1, _CHUNK // max(1, len(predictions)))
    parts = [
        family.weighted(name, predictions, weights_BN[start : start + step].astype(np.float64))
        for start in range(0, len(weights_BN), step)
    ]
    return np.concatenate(parts)


def _family_with(name: str, predictions: pd.DataFrame) -> MetricFamily:
    family = family_of(predictions)
    names = family.names(predictions)
    if name not in names:
        raise MedsslError(f"no metric {name} for these predictions; there are: {', '.join(names)}")
    return family
