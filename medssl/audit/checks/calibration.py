"""K1: what a model says of its own certainty, arm by arm."""

from __future__ import annotations

import numpy as np

from medssl.audit.curve import recompute_grid_of
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import BASELINE, PLAN, StudyFiles, predictions_path
from medssl.audit.wording import listed
from medssl.efficiency.curve import MetricGrid
from medssl.efficiency.statistics import Floats, percentiles

_METRICS = {"brier": "Brier score", "ece": "calibration error"}


def run(study: StudyFiles) -> Finding:
    """Each arm's mean over fractions and draws; its difference to scratch with an interval."""
    plan = study.plan
    if plan.task.kind != "classification":
        return Finding(Status.NOT_RUN, "masks come without probabilities")
    told, worse = [], []
    for metric, name in _METRICS.items():
        grid = recompute_grid_of(study, metric)
        told.append(f"{name}: " + ", ".join(f"{a} {_mean(grid, a):.3f}" for a in grid.arms))
        for arm, planned in plan.arms.items():
            if planned.init != "encoder" or planned.regime != "full":
                continue
            delta = _mean(grid, arm) - _mean(grid, BASELINE)
            lo, hi = percentiles(
                _replicates(grid, arm) - _replicates(grid, BASELINE), plan.statistics.level
            )
            if lo > 0:
                worse.append(
                    f"{name} of {arm} is {delta:.3f} ({lo:.3f} to {hi:.3f}) worse than {BASELINE}'s"
                )
    evidence = [study.evidence(PLAN)]
    evidence += [study.evidence(predictions_path(cell)) for cell in study.cells_there]
    status = Status.WARN if worse else Status.PASS
    return Finding(status, listed([*worse, *told]), evidence)


def _mean(grid: MetricGrid, arm: str) -> float:
    return float(np.nanmean(grid.theta_AF[grid.arms.index(arm)]))


def _replicates(grid: MetricGrid, arm: str) -> Floats:
    """(B,) replicates of the mean over fractions."""
    return np.asarray(grid.replicates_AFB[grid.arms.index(arm)].mean(axis=0))


CHECK = Check("K1", "Brier and ECE for each arm; pretraining is not worse", "WARN", run)
