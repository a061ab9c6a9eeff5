"""The analysis of a study: a function of its plan and its predictions, nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.cells import Cell, StudyPaths, cells_of_plan
from medssl.efficiency.claim import ClaimOutcome, judge_claim
from medssl.efficiency.config import ClaimConfig
from medssl.efficiency.curve import MetricGrid, metric_grid, read_predictions, test_part
from medssl.efficiency.plan import read_plan
from medssl.efficiency.savings import Savings, label_savings
from medssl.efficiency.statistics import (
    area_under_learning_curve,
    holm,
    is_significant,
    minimal_detectable,
    percentiles,
    sign_flip_p,
    standard_error,
)
from medssl.transfer.metrics import all_metrics

SCHEMA = "medssl.analysis/1"
BASELINE = "scratch"


@dataclass(frozen=True)
class Analysis:
    """What a study shows; `as_json` is the content of analysis.json."""

    plan: dict[str, Any]
    plan_sha256: str
    grid: MetricGrid
    cells: list[dict[str, Any]]
    missing: list[str]
    effects: list[dict[str, Any]]
    savings: Savings | None
    claim: ClaimOutcome | None

    @property
    def as_json(self) -> dict[str, Any]:
        statistics = self.plan["statistics"]
        values: dict[str, Any] = {
            "schema": SCHEMA,
            "plan_sha256": self.plan_sha256,
            "metric": self.grid.metric,
            "missing": self.missing,
            "cells": self.cells,
            "curve": curve_points(self.grid, statistics["level"]),
            "effects": self.effects,
            "aulc": areas(self.grid, statistics["level"]),
            "lsf": _savings_json(self.plan, self.savings),
            "claim": _claim_json(self.claim),
            "intervals": {
                "replicates": statistics["replicates"],
                "level": statistics["level"],
                "seed": statistics["seed"],
                "draws": self.grid.draws,
                "test_patients": self.grid.test_patients,
            },
        }
        finite: dict[str, Any] = _without_gaps(values)
        return finite


def analyse(paths: StudyPaths, claim: ClaimConfig | None = None) -> Analysis:
    """Compute everything that analysis.json holds from the plan and the predictions.

    Args:
        claim: the claim to judge in place of the plan's.

    Raises:
        StudyError: the plan or a file of predictions is missing, changed or damaged.
    """
    plan = read_plan(paths)
    frames = read_predictions(paths, plan)
    grid = metric_grid(plan, frames, plan["metric"])
    savings = savings_of(grid, plan)
    claim = claim or (ClaimConfig(**plan["claim"]) if plan["claim"] else None)
    return Analysis(
        plan=plan,
        plan_sha256=sha256_file(paths.plan),
        grid=grid,
        cells=_cell_rows(paths, plan, frames),
        missing=[cell.name for cell in cells_of_plan(plan) if cell not in frames],
        effects=effects_of(grid, plan["statistics"]["level"]),
        savings=savings,
        claim=None if claim is None else judge_claim(claim, grid, savings),
    )


def effects_of(grid: MetricGrid, level: float) -> list[dict[str, Any]]:
    """Each arm's difference to scratch at each fraction; Holm's correction is over fractions."""
    rows: list[dict[str, Any]] = []
    for arm in (a for a in grid.arms if a != BASELINE):
        of_arm = []
        for i, fraction in enumerate(grid.fractions):
            a, b = grid.arms.index(arm), grid.arms.index(BASELINE)
            by_draw = grid.values_AFD[a, i] - grid.values_AFD[b, i]
            difference = grid.replicates(arm, fraction) - grid.replicates(BASELINE, fraction)
            lo, hi = percentiles(difference, level)
            se = standard_error(difference)
            of_arm.append(
                {
                    "fraction": fraction,
                    "labels": grid.labels_F[i],
                    "arm": arm,
                    "versus": BASELINE,
                    "delta": grid.theta(arm, fraction) - grid.theta(BASELINE, fraction),
                    "lo": lo,
                    "hi": hi,
                    "se": se,
                    "mdd": minimal_detectable(se),
                    "p": sign_flip_p(by_draw),
                }
            )
        adjusted = holm([row["p"] for row in of_arm])
        for row, p_holm in zip(of_arm, adjusted, strict=True):
            draws = grid.complete_draws((arm, row["fraction"]), (BASELINE, row["fraction"]))
            row["p_holm"] = p_holm
            row["significant"] = is_significant(p_holm, row["lo"], row["hi"], draws)
        rows += of_arm
    return rows


def curve_points(grid: MetricGrid, level: float) -> list[dict[str, Any]]:
    """Each arm's mean with its interval and its draws, at each fraction."""
    points = []
    for a, arm in enumerate(grid.arms):
        for i, fraction in enumerate(grid.fractions):
            lo, hi = percentiles(grid.replicates_AFB[a, i], level)
            points.append(
                {
                    "arm": arm,
                    "fraction": fraction,
                    "labels": grid.labels_F[i],
                    "patients": grid.patients_F[i],
                    "mean": grid.theta_AF[a, i],
                    "lo": lo,
                    "hi": hi,
                    "draws": list(grid.values_AFD[a, i]),
                }
            )
    return points


def areas(grid: MetricGrid, level: float) -> dict[str, dict[str, float] | None]:
    """The area under each arm's learning curve, with its interval."""
    if len(grid.fractions) < 2:
        return dict.fromkeys(grid.arms)
    result: dict[str, dict[str, float] | None] = {}
    for a, arm in enumerate(grid.arms):
        value = area_under_learning_curve(grid.theta_AF[a], grid.labels_F)
        lo, hi = percentiles(
            area_under_learning_curve(grid.replicates_AFB[a].T, grid.labels_F), level
        )
        result[arm] = {"value": float(value), "lo": lo, "hi": hi}
    return result


def savings_of(grid: MetricGrid, plan: dict[str, Any]) -> Savings | None:
    """The label-savings factor; None without a pretrained arm or with a gap in either curve."""
    others = [a for a in grid.arms if a != BASELINE]
    if not others or len(grid.fractions) < 2:
        return None
    a, b = grid.arms.index(others[0]), grid.arms.index(BASELINE)
    if not np.isfinite(grid.theta_AF[[a, b]]).all():
        return None
    return label_savings(
        grid.theta_AF[b],
        grid.theta_AF[a],
        grid.replicates_AFB[b],
        grid.replicates_AFB[a],
        grid.labels_F,
        grid.fractions.index(plan["reference_fraction"]),
        plan["statistics"]["level"],
    )


def _cell_rows(
    paths: StudyPaths, plan: dict[str, Any], frames: dict[Cell, pd.DataFrame]
) -> list[dict[str, Any]]:
    sizes = {(s["fraction"], s["draw"]): s for s in plan["subsets"]}
    return [
        {
            **cell.facts,
            "labels": sizes[cell.fraction, cell.draw]["cases"],
            "patients": sizes[cell.fraction, cell.draw]["patients"],
            "predictions_sha256": sha256_file(paths.predictions(cell)),
            "metrics": all_metrics(test_part(frame)),
        }
        for cell, frame in frames.items()
    ]


def _savings_json(plan: dict[str, Any], savings: Savings | None) -> dict[str, Any] | None:
    if savings is None:
        return None
    return {
        "target": savings.target,
        "reference_fraction": plan["reference_fraction"],
        "value": savings.value,
        "censored": str(savings.censored),
        "lo": savings.lo or None,
        "hi": savings.hi,
        "scratch_labels": savings.scratch_labels,
        "pretrained_labels": savings.pretrained_labels,
    }


def _claim_json(outcome: ClaimOutcome | None) -> dict[str, Any] | None:
    if outcome is None:
        return None
    return {
        **outcome.claim.model_dump(mode="json"),
        "verdict": str(outcome.verdict),
        "conditions": [vars(condition) for condition in outcome.conditions],
    }


def _without_gaps(value: Any) -> Any:
    """NaN and infinity, which JSON does not have, become null."""
    if isinstance(value, dict):
        return {key: _without_gaps(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_gaps(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
