"""Whether pretraining serves some patients less than others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, norm

from medssl.efficiency.cells import Cell
from medssl.efficiency.curve import MetricGrid, metric_grid
from medssl.efficiency.statistics import LEVEL, percentiles, standard_error
from medssl.efficiency.subsets import classes_of

COLUMNS = ("sex", "age_band", "site", "modality", "manufacturer")
LEAST_PATIENTS = 10
LEAST_OF_EACH_CLASS = 5

Point = tuple[str, float]  # arm, fraction


@dataclass(frozen=True)
class Subgroup:
    """Test cases that share a value of a column."""

    column: str
    name: str
    volume_uids: frozenset[str]
    patients: int


def subgroups_of(cases: pd.DataFrame, kind: str) -> tuple[list[Subgroup], list[dict[str, Any]]]:
    """The groups of the test set that are large enough, and those that are not.

    Large enough: ten patients, and five that have each class of the test set. A column with fewer
    than two such groups has no gap, so that its group is left out too.

    Args:
        cases: cases.parquet: volume_uid, patient_key, role, label, and any of `COLUMNS`.
        kind: "classification" or "segmentation".

    Returns:
        The groups, and {column, group, patients, why} of those left out.
    """
    test = cases[cases["role"] == "test"]
    groups: list[Subgroup] = []
    left_out: list[dict[str, Any]] = []
    for column in (c for c in COLUMNS if c in test):
        known = test[test[column].notna() & (test[column].astype(str) != "")]
        large = []
        for name, rows in known.groupby(known[column].astype(str)):
            patients = int(rows["patient_key"].nunique())
            why = _too_small(rows, _classes(test, kind), kind)
            told = {"column": column, "group": str(name), "patients": patients}
            if why:
                left_out.append({**told, "why": why})
            else:
                large.append(Subgroup(column, str(name), frozenset(rows["volume_uid"]), patients))
        if len(large) > 1:
            groups += large
        else:
            left_out += [
                {
                    "column": column,
                    "group": group.name,
                    "patients": group.patients,
                    "why": "no other group of the column is large enough to compare with",
                }
                for group in large
            ]
    return groups, left_out


def subgroup_report(
    plan: dict[str, Any],
    frames: Mapping[Cell, pd.DataFrame],
    cases: pd.DataFrame,
    ours: Point,
    theirs: Point,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Each group's metric at two points of the study, and how the gap between groups changes.

    The gap of a group is the metric of the column's other groups less its own; the gap of a column
    the highest less the lowest of its groups. A change is that at `ours` minus that at `theirs`:
    positive where the gap grew. Intervals by the crossed bootstrap; p of a group's change by its
    bootstrap standard error, two-sided, adjusted over all groups (Benjamini & Hochberg, JRSS B 57,
    1995).

    Returns:
        {arm, fraction, versus, versus_fraction, groups: [{column, group, patients, cases, value,
        versus_value, change, lo, hi, p, p_bh}], gaps: [{column, groups, gap, versus_gap, change,
        lo, hi}], left_out: [{column, group, patients, why}]}.
    """
    groups, left_out = subgroups_of(cases, plan["task"]["kind"])
    wanted = {cell: f for cell, f in frames.items() if (cell.arm, cell.fraction) in (ours, theirs)}
    report: dict[str, Any] = {"arm": ours[0], "fraction": ours[1], "versus": theirs[0]}
    report |= {"versus_fraction": theirs[1], "groups": [], "gaps": [], "left_out": left_out}
    if not wanted:
        return report
    for column in dict.fromkeys(group.column for group in groups):
        of_column = [group for group in groups if group.column == column]
        whole = frozenset().union(*(group.volume_uids for group in of_column))
        grids = [metric_grid(plan, wanted, plan["metric"], g.volume_uids) for g in of_column]
        for group, grid in zip(of_column, grids, strict=True):
            others = metric_grid(plan, wanted, plan["metric"], whole - group.volume_uids)
            report["groups"].append(_group_row(group, grid, others, ours, theirs, level))
        report["gaps"].append(_gap_row(column, grids, ours, theirs, level))
    tested = [row for row in report["groups"] if np.isfinite(row["p"])]
    if tested:
        adjusted = false_discovery_control([row["p"] for row in tested])
        for row, p_bh in zip(tested, adjusted, strict=True):
            row["p_bh"] = float(p_bh)
    return report


def _group_row(
    group: Subgroup, grid: MetricGrid, others: MetricGrid, ours: Point, theirs: Point, level: float
) -> dict[str, Any]:
    def gap(point: Point) -> float:
        return others.theta(*point) - grid.theta(*point)

    def resampled(point: Point) -> Any:
        return others.replicates(*point) - grid.replicates(*point)

    change, replicates = gap(ours) - gap(theirs), resampled(ours) - resampled(theirs)
    lo, hi = percentiles(replicates, level)
    se = standard_error(replicates)
    return {
        "column": group.column,
        "group": group.name,
        "patients": group.patients,
        "cases": len(group.volume_uids),
        "value": grid.theta(*ours),
        "versus_value": grid.theta(*theirs),
        "change": change,
        "lo": lo,
        "hi": hi,
        "p": float(2 * norm.sf(abs(change) / se)) if se > 0 else float("nan"),
        "p_bh": float("nan"),
    }


def _gap_row(
    column: str, grids: list[MetricGrid], ours: Point, theirs: Point, level: float
) -> dict[str, Any]:
    gap, versus_gap = (np.ptp([grid.theta(*point) for grid in grids]) for point in (ours, theirs))
    resampled = [
        np.ptp(np.stack([grid.replicates(*point) for grid in grids]), axis=0)
        for point in (ours, theirs)
    ]
    lo, hi = percentiles(resampled[0] - resampled[1], level)
    return {
        "column": column,
        "groups": len(grids),
        "gap": float(gap),
        "versus_gap": float(versus_gap),
        "change": float(gap - versus_gap),
        "lo": lo,
        "hi": hi,
    }


def _classes(test: pd.DataFrame, kind: str) -> list[str]:
    return sorted({name for label in test["label"] for name in classes_of(str(label), kind)})


def _too_small(rows: pd.DataFrame, classes: list[str], kind: str) -> str:
    """Why a group is not compared; empty where it is large enough."""
    patients = rows["patient_key"].nunique()
    if patients < LEAST_PATIENTS:
        return f"{patients} patients, fewer than {LEAST_PATIENTS}"
    for name in classes:
        has = [name in classes_of(str(label), kind) for label in rows["label"]]
        count = rows.loc[has, "patient_key"].nunique()
        if count < LEAST_OF_EACH_CLASS:
            return f"{count} patients of class {name}, fewer than {LEAST_OF_EACH_CLASS}"
    return ""
