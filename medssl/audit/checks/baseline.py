"""B2: the baseline is as good as this study could have made it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from statistics import fmean

from medssl.audit.curve import recompute_grid
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import BASELINE, PLAN, StudyFiles, cell_path, predictions_path
from medssl.audit.wording import counted, listed
from medssl.efficiency.controls import doubled_steps

LEAST_TRIALS = 5
LEAST_VALUES = 3  # of two values both are an edge
LONGER = "scratch_2x"


def run(study: StudyFiles) -> Finding:
    trials = study.plan.search.trials
    edges = list(_edges(study)) if trials >= LEAST_TRIALS else []
    short, told = _stopped_short(study)
    read = [cell for cell in study.cells_there if cell.arm in (BASELINE, LONGER)]
    evidence = [study.evidence(PLAN), *(study.evidence(cell_path(cell)) for cell in read)]
    if LONGER in study.plan.arms:
        evidence += [study.evidence(predictions_path(cell)) for cell in read]
    if edges or short:
        return Finding(Status.WARN, listed([*edges, told]), evidence)
    if trials < LEAST_TRIALS:
        few = f"{counted(trials, 'trial')} for each arm, too few to look for the search's edge"
        return Finding(Status.NOTE, f"{few}; {told}", evidence)
    return Finding(
        Status.PASS, f"{BASELINE}'s best settings lie inside the search; {told}", evidence
    )


def _edges(study: StudyFiles) -> Iterable[str]:
    """Settings of which most of the baseline's tuned cells chose the same end of what was tried."""
    files = [study.cell_file(cell) for cell in study.cells_there if cell.arm == BASELINE]
    tuned = [file for file in files if len(file.trials) > 1]
    for name in study.plan.search.space:
        tried = set(_numbers(setting.get(name) for setting in study.plan.search.settings))
        if len(tried) < LEAST_VALUES or not tuned:
            continue
        chosen = Counter(_numbers(file.setting.get(name) for file in tuned))
        for end, what in ((min(tried), "lowest"), (max(tried), "highest")):
            if chosen[end] > len(tuned) / 2:
                yield (
                    f"{chosen[end]} of {counted(tuned, 'tuned cell')} of {BASELINE} chose {name} "
                    f"{end:g}, the {what} that was tried"
                )


def _numbers(values: Iterable[object]) -> list[float]:
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def _stopped_short(study: StudyFiles) -> tuple[bool, str]:
    """Whether twice the steps bring the baseline the margin or more, and what they bring in words.

    In the mean over fractions; or at one fraction, where the interval of the gain lies above zero:
    of several gains of noise alone the largest would often reach the margin.
    """
    if LONGER not in study.plan.arms:
        return False, f"no arm {LONGER}"
    rows = doubled_steps(recompute_grid(study), study.plan.statistics.level)
    rows = [row for row in rows if math.isfinite(row["gain"])]
    if not rows:
        return False, f"arm {LONGER} has no cell to compare"
    mean, margin = fmean(row["gain"] for row in rows), study.plan.margin
    largest = max(rows, key=lambda row: row["gain"])
    short = [row for row in rows if row["gain"] >= margin and row["lo"] > 0]
    return mean >= margin or bool(short), (
        f"twice the steps bring {BASELINE} {mean:+.3f} on average, {largest['gain']:+.3f} at most "
        f"({largest['lo']:+.3f} to {largest['hi']:+.3f}, at {100 * largest['fraction']:g} %; "
        f"margin {margin:g})"
    )


CHECK = Check(
    "B2",
    "with five trials or more, scratch's best setting is not on the search's edge (with fewer: "
    "NOTE); scratch_2x gains less than δ",
    "WARN",
    run,
)
