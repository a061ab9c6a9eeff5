"""The analysis of a study: a function of its plan and its predictions, nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medssl.efficiency.calibration import calibration_rows
from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.cells import Cell, StudyPaths, cells_of_plan
from medssl.efficiency.claim import ClaimOutcome, judge_claim
from medssl.efficiency.config import ClaimConfig
from medssl.efficiency.controls import doubled_steps, permuted_labels
from medssl.efficiency.coverage import coverage_note
from medssl.efficiency.curve import MetricGrid, metric_grid, read_predictions, test_part
from medssl.efficiency.paired_tests import paired_tests
from medssl.efficiency.plan import read_plan
from medssl.efficiency.savings import Savings, label_savings
from medssl.efficiency.statistics import (
    BASELINE,
    area_under_learning_curve,
    holm,
    is_significant,
    minimal_detectable,
    percentiles,
    sign_flip_p,
    standard_error,
)
from medssl.efficiency.subgroups import Point, subgroup_report
from medssl.errors import StudyError
from medssl.transfer.metrics import all_metrics

SCHEMA = "medssl.analysis/2"


@dataclass(frozen=True)
class Analysis:
    """What a study shows; `as_json` is the content of analysis.json.

    Attributes:
        arm: the arm that the savings factor is of; None where scratch is alone.
        paired_tests, subgroups, calibration: secondary; see the modules of these names.
    """

    plan: dict[str, Any]
    plan_sha256: str
    arm: str | None
    grid: MetricGrid
    cells: list[dict[str, Any]]
    missing: list[str]
    effects: list[dict[str, Any]]
    savings: Savings | None
    claim: ClaimOutcome | None
    paired_tests: list[dict[str, Any]]
    subgroups: dict[str, Any] | None
    calibration: list[dict[str, Any]]

    @property
    def as_json(self) -> dict[str, Any]:
        statistics = self.plan["statistics"]
        values: dict[str, Any] = {
            "schema": SCHEMA,
            "plan_sha256": self.plan_sha256,
            "metric": self.grid.metric,
            "arm": self.arm,
            "missing": self.missing,
            "cells": self.cells,
            "curve": curve_points(self.grid, statistics["level"]),
            "effects": self.effects,
            "aulc": areas(self.grid, statistics["level"]),
            "lsf": _savings_json(self.plan, self.savings, self.arm),
            "claim": _claim_json(self.claim),
            "controls": {
                "permuted_labels": permuted_labels(self.grid, statistics["level"]),
                "scratch_2x": doubled_steps(self.grid, statistics["level"]),
            },
            "paired_tests": self.paired_tests,
            "subgroups": self.subgroups,
            "calibration": self.calibration,
            "intervals": _intervals_json(self.plan, self.grid),
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
    claim = claim or (ClaimConfig(**plan["claim"]) if plan["claim"] else None)
    arm = studied_arm(plan, claim)
    savings = savings_of(grid, plan, arm)
    level = plan["statistics"]["level"]
    return Analysis(
        plan=plan,
        plan_sha256=sha256_file(paths.plan),
        arm=arm,
        grid=grid,
        cells=_cell_rows(paths, plan, frames),
        missing=[cell.name for cell in cells_of_plan(plan) if cell not in frames],
        effects=effects_of(grid, level),
        savings=savings,
        claim=None if claim is None else judge_claim(claim, grid, savings),
        paired_tests=paired_tests(plan, frames),
        subgroups=_subgroups(paths, plan, frames, claim, level),
        calibration=calibration_rows(plan, frames, level),
    )


def studied_arm(plan: dict[str, Any], claim: ClaimConfig | None = None) -> str | None:
    """The arm that is said to save labels: the claim's (or the plan's), else the first pretrained.

    None where every arm is scratch.
    """
    named = claim.arm if claim is not None else (plan["claim"] or {}).get("arm")
    others = [arm for arm in plan["arms"] if arm != BASELINE]
    if named in others:
        return str(named)
    pretrained = [arm for arm in others if plan["arms"][arm].get("encoder")]
    return next(iter([*pretrained, *others]), None)


def compared_points(plan: dict[str, Any], claim: ClaimConfig | None) -> tuple[Point, Point] | None:
    """The two points (arm, fraction) whose patients are looked at group by group.

    Those that the claim compares, for the one is to take the other's place; without a claim the
    studied arm and scratch at the reference fraction. None where there is one arm.
    """
    claim = claim or (ClaimConfig(**plan["claim"]) if plan["claim"] else None)
    if claim is not None:
        return (claim.arm, claim.frac), (claim.versus, claim.vs_frac)
    arm, reference = studied_arm(plan), float(plan["reference_fraction"])
    return None if arm is None else ((arm, reference), (BASELINE, reference))


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


def spread_over_draws(grid: MetricGrid) -> float | None:
    """The median, over the points of all curves, of the standard deviation over draws.

    Of points with two draws or more, but for those with every label, whose draws are the same
    patients; None where there is none. The noise of the test set is in it.
    """
    spreads = [
        float(np.nanstd(values, ddof=1))
        for of_arm in grid.values_AFD
        for fraction, values in zip(grid.fractions, of_arm, strict=True)
        if fraction < 1 and np.isfinite(values).sum() > 1
    ]
    return float(np.median(spreads)) if spreads else None


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


def savings_of(grid: MetricGrid, plan: dict[str, Any], arm: str | None = None) -> Savings | None:
    """The label-savings factor of `arm` against scratch; None: `studied_arm`.

    None without a second arm or with a gap in either curve.
    """
    arm = arm or studied_arm(plan)
    if arm is None or len(grid.fractions) < 2:
        return None
    a, b = grid.arms.index(arm), grid.arms.index(BASELINE)
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


def _subgroups(
    paths: StudyPaths,
    plan: dict[str, Any],
    frames: dict[Cell, pd.DataFrame],
    claim: ClaimConfig | None,
    level: float,
) -> dict[str, Any] | None:
    points = compared_points(plan, claim)
    if points is None:
        return None
    try:
        cases = pd.read_parquet(paths.cases)
    except (OSError, ValueError) as error:
        raise StudyError(f"{paths.relative(paths.cases)} is missing or damaged") from error
    return subgroup_report(plan, frames, cases, *points, level)


def _intervals_json(plan: dict[str, Any], grid: MetricGrid) -> dict[str, Any]:
    """How the intervals were made, and how often such intervals hold the truth."""
    statistics, data = plan["statistics"], plan["data"]
    told = coverage_note(
        grid.draws,
        grid.test_patients,
        data["test_cases"] / max(data["test_patients"], 1),
        spread_over_draws(grid),
    )
    return {
        "replicates": statistics["replicates"],
        "level": statistics["level"],
        "seed": statistics["seed"],
        "draws": grid.draws,
        "test_patients": grid.test_patients,
        "coverage": told,
        "note": told["note"],
    }


def _savings_json(
    plan: dict[str, Any], savings: Savings | None, arm: str | None
) -> dict[str, Any] | None:
    if savings is None:
        return None
    law = savings.power_law
    return {
        "arm": arm,
        "versus": BASELINE,
        "target": savings.target,
        "reference_fraction": plan["reference_fraction"],
        "value": savings.value,
        "censored": str(savings.censored),
        "lo": savings.lo or None,
        "hi": savings.hi,
        "scratch_labels": savings.scratch_labels,
        "pretrained_labels": savings.pretrained_labels,
        "power_law": None
        if law is None
        else {
            "target": law.target,
            "value": law.value,
            "censored": str(law.censored),
            "scratch": vars(law.scratch),
            "pretrained": vars(law.pretrained),
        },
        "agreement": savings.agreement,
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
