"""C1: enough draws, and intervals that know of them."""

from __future__ import annotations

from medssl.audit.curve import recompute_grid
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import ANALYSIS, PLAN, StudyFiles, predictions_path
from medssl.audit.wording import counted

ENOUGH = 10
LEAST = 5


def run(study: StudyFiles) -> Finding:
    grid = recompute_grid(study)
    points = [(arm, fraction) for arm in grid.arms for fraction in grid.fractions]
    draws = min(grid.complete_draws(point) for point in points)
    statistics = study.plan.statistics
    observed = (
        f"{counted(draws, 'draw')} of every cell; {statistics.replicates} replicates over "
        f"{counted(grid.test_patients, 'test patient')} × draws"
    )
    evidence = [study.evidence(PLAN)]
    evidence += [study.evidence(predictions_path(cell)) for cell in study.cells_there]
    if study.has(ANALYSIS):
        evidence.append(study.evidence(ANALYSIS))
        told = study.analysis.intervals
        planned = (statistics.replicates, statistics.level, grid.draws)
        if told is None or (told.replicates, told.level, told.draws) != planned:
            return Finding(
                Status.INCONCLUSIVE,
                f"{observed}; the intervals of {ANALYSIS} are not by patients × draws as planned",
                evidence,
            )
    if draws < LEAST:
        return Finding(Status.INCONCLUSIVE, observed, evidence)
    if draws < ENOUGH:
        return Finding(
            Status.WARN, f"{observed}; no statement of significance under {ENOUGH} draws", evidence
        )
    return Finding(Status.PASS, observed, evidence)


CHECK = Check(
    "C1",
    "ten draws, intervals by patients × draws",
    "5–9: WARN; under 5: INCONCLUSIVE",
    run,
)
