"""What a fine-tuning run reports of its test part: metrics with intervals, of all cases and of
subgroups, compared with size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medssl.store import Store
from medssl.transfer.classification_metrics import num_classes
from medssl.transfer.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    paired_difference,
)
from medssl.transfer.metrics import kind_of, metric_names
from medssl.transfer.size_baseline import size_only_predictions
from medssl.transfer.subgroups import Subgroup, subgroup_table, subgroups_of
from medssl.transfer.task_config import PRIMARY_METRIC

COMPARED = "auc_macro"


@dataclass(frozen=True)
class SizeComparison:
    """A classifier beside the model that knows the foreground's size alone, on the same cases."""

    predictions: pd.DataFrame
    size_only: Interval
    difference: Interval


@dataclass(frozen=True)
class Results:
    """Intervals of every metric of the test part.

    Attributes:
        primary: the metric to read first.
        subgroups: see `medssl.transfer.subgroups`.
        size: in classification alone.
    """

    metrics: dict[str, Interval]
    primary: str
    subgroups: list[Subgroup]
    size: SizeComparison | None

    def figures(self) -> dict[str, float]:
        """Flat names and numbers, as they go to MLflow."""
        intervals = {f"test/{name}": interval for name, interval in self.metrics.items()}
        if self.size is not None:
            intervals[f"test/size_only_{COMPARED}"] = self.size.size_only
            intervals[f"test/{COMPARED}_minus_size_only"] = self.size.difference
        flat: dict[str, float] = {}
        for name, interval in intervals.items():
            flat |= {name: interval.value, f"{name}_lo": interval.low, f"{name}_hi": interval.high}
        return flat

    def lines(self) -> list[str]:
        """For the reader, one line each; a single class is not told twice."""
        single = len({name.split("/")[1] for name in self.metrics if "/" in name}) == 1
        lines = [
            f"{name} {interval}"
            for name, interval in self.metrics.items()
            if not (single and "/" in name)
        ]
        if self.size is not None:
            lines.append(f"{COMPARED} of size alone {self.size.size_only}")
            lines.append(f"{COMPARED} minus size alone {self.size.difference}")
        return lines

    def summary(self) -> dict[str, Any]:
        """For summary.json; null stands for what is not defined."""
        return {
            name: None if math.isnan(value) else value for name, value in self.figures().items()
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """What is written beside the predictions, by the file's name."""
        names = [name for name in self.metrics if "/" not in name]
        tables = {"subgroups.parquet": subgroup_table(self.subgroups, names)}
        if self.size is not None:
            tables["predictions_size_only.parquet"] = self.size.predictions
        return tables


def results_of_test_part(store: Store, cases: pd.DataFrame, predictions: pd.DataFrame) -> Results:
    """Metrics of the rows of split `test`, with patient-clustered 95 % intervals.

    Args:
        cases: volume_uid, patient_key, split, y_true of all parts.
    """
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    metrics = bootstrap_intervals(test, metric_names(test))
    size = None
    if num_classes(test):
        by_size = size_only_predictions(store.manifest, cases, num_classes(test))
        size = SizeComparison(
            by_size,
            bootstrap_interval(by_size, COMPARED),
            paired_difference(test, by_size, COMPARED),
        )
    groups = subgroups_of(test, store.manifest)
    return Results(metrics, PRIMARY_METRIC[kind_of(test)], groups, size)
