"""Metrics of parts of the test set: by vendor, sex, age band, site and modality.

A group of fewer than ten patients is listed with its size and without a number: an interval of so
few would be wide where it is honest, and resampling makes it too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medssl.transfer.intervals import Interval, bootstrap_intervals
from medssl.transfer.metrics import metric_names

GROUPED_BY = ("manufacturer", "sex", "age_band", "site", "modality")
LEAST_PATIENTS = 10
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Subgroup:
    """The test cases of one value of a manifest column.

    Attributes:
        metrics: intervals of the metrics over all classes; empty where there are fewer than ten
            patients.
    """

    column: str
    value: str
    cases: int
    patients: int
    metrics: dict[str, Interval]

    def record(self) -> dict[str, Any]:
        """For summary.json; null stands for what is not defined."""
        return {
            "column": self.column,
            "value": self.value,
            "cases": self.cases,
            "patients": self.patients,
            "metrics": {
                name: {
                    end: None if math.isnan(number) else number
                    for end, number in (("value", i.value), ("low", i.low), ("high", i.high))
                }
                for name, i in self.metrics.items()
            },
        }


def subgroups_of(predictions: pd.DataFrame, manifest: pd.DataFrame) -> list[Subgroup]:
    """Every group of the cases, by column and value.

    A column in which all cases have one value tells nothing of its own and is left out.

    Args:
        predictions: of the test part.
        manifest: the store's, indexed by volume_uid.
    """
    names = [name for name in metric_names(predictions) if "/" not in name]
    rows = manifest.loc[predictions["volume_uid"]]
    groups = []
    for column in GROUPED_BY:
        values = rows[column].fillna("").astype(str).replace("", NOT_KNOWN).to_numpy()
        if len(set(values)) < 2:
            continue
        for value in sorted(set(values), key=lambda v: (v == NOT_KNOWN, v)):
            members = predictions[values == value].reset_index(drop=True)
            patients = int(members["patient_key"].nunique())
            measured = bootstrap_intervals(members, names) if patients >= LEAST_PATIENTS else {}
            groups.append(Subgroup(column, value, len(members), patients, measured))
    return groups


def subgroup_table(groups: Sequence[Subgroup], names: Sequence[str]) -> pd.DataFrame:
    """One row for each group and metric: column, value, cases, patients, metric, estimate, low,
    high; NaN where the group is too small or does not define the metric."""
    nothing = Interval(math.nan, math.nan, math.nan, math.nan, 0, 0)
    rows = [
        (g.column, g.value, g.cases, g.patients, name, i.value, i.low, i.high)
        for g in groups
        for name in names
        for i in [g.metrics.get(name, nothing)]
    ]
    columns = ["column", "value", "cases", "patients", "metric", "estimate", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
