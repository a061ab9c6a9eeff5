"""L6: from labels that mean nothing, nothing is learned about the test set."""

from __future__ import annotations

import numpy as np

from medssl.audit.checks.draws import LEAST
from medssl.audit.curve import recompute_grid
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import PLAN, StudyFiles, predictions_path
from medssl.audit.wording import counted
from medssl.efficiency.statistics import percentiles

CHANCE = 0.5


def run(study: StudyFiles) -> Finding:
    """One interval of the arm, over its fractions together: many would miss chance by chance."""
    arms = [name for name, arm in study.plan.arms.items() if arm.labels == "permuted"]
    evidence = [study.evidence(PLAN)]
    if not arms:
        return Finding(Status.NOTE, "no arm was trained on permuted labels", evidence)
    cells = [cell for cell in study.cells_there if cell.arm in arms]
    evidence += [study.evidence(predictions_path(cell)) for cell in cells]
    if study.plan.metric != "auc_macro":
        return Finding(Status.NOTE, f"{study.plan.metric} has no value of chance", evidence)
    grid, status, told = recompute_grid(study), Status.PASS, []
    for arm in arms:
        at = grid.arms.index(arm)
        theta = float(np.nanmean(grid.theta_AF[at]))
        lo, hi = percentiles(grid.replicates_AFB[at].mean(axis=0), study.plan.statistics.level)
        draws = grid.complete_draws(*((arm, fraction) for fraction in grid.fractions))
        told.append(
            f"AUC of {arm} {theta:.3f} ({lo:.3f} to {hi:.3f}) over "
            f"{counted(grid.fractions, 'fraction')} and {counted(draws, 'draw')}"
        )
        if not lo <= CHANCE <= hi:
            status = Status.WARN if draws >= LEAST else Status.NOTE
            told[-1] += " does not contain 0.5"
            told[-1] += f", but under {LEAST} draws tell little" if draws < LEAST else ""
    return Finding(status, "; ".join(told), evidence)


CHECK = Check(
    "L6", "the permuted_labels arm's AUC interval contains 0.5", "WARN; not run: NOTE", run
)
