"""What an analysis reports besides the curve, held against the same computed again.

Calibration, subgroups, controls and paired tests are computed by the study's own functions from the
predictions. Bounds, and what is made of replicates, agree to a tenth of the interval's width, since
another numpy may draw other replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from medssl.audit.curve import claim_to_judge, planned_claim, recompute_grid
from medssl.audit.study_files import StudyFiles
from medssl.efficiency.analysis import compared_points
from medssl.efficiency.calibration import calibration_rows
from medssl.efficiency.controls import doubled_steps, permuted_labels
from medssl.efficiency.paired_tests import paired_tests
from medssl.efficiency.subgroups import subgroup_report

Row = dict[str, Any]
Compared = tuple[str, float, float]  # what is compared, as reported, as found; NaN: no value

# A bound that a hand has moved to change a conclusion moves by more than this share of the width.
BOUND_TOLERANCE = 0.1
_NAMES = ("arm", "versus", "fraction", "measure", "column", "group", "test")
_VALUES = ("value", "gain", "delta", "gap", "versus_gap", "versus_value", "change")
_BOUNDS = (("lo", "hi"), ("delta_lo", "delta_hi"))


def compare_secondary(study: StudyFiles) -> Iterator[Compared]:
    """Every number of the sections that the analysis has."""
    analysis = study.analysis
    told = {
        "calibration": analysis.calibration,
        "paired_tests": analysis.paired_tests,
        **{f"controls.{name}": rows for name, rows in (analysis.controls or {}).items()},
        **{
            f"subgroups.{name}": (analysis.subgroups or {}).get(name) for name in ("groups", "gaps")
        },
    }
    for section, rows in told.items():
        if not isinstance(rows, list):
            continue
        reported = {_name(row): row for row in rows if isinstance(row, dict)}
        found = {_name(row): row for row in _FOUND[section](study)} if section in _FOUND else {}
        for name in sorted(reported.keys() | found.keys()):
            yield from _rows(f"{section}, {name}", reported.get(name, {}), found.get(name, {}))


def subgroups_again(study: StudyFiles, planned: bool = True) -> Row | None:
    """The subgroups at the points that the plan's claim (or the auditor's) compares, if any."""
    claim = planned_claim(study) if planned else claim_to_judge(study)
    plan = study.plan.model_dump()
    points = compared_points(plan, claim)
    if points is None:
        return None
    frames = {
        cell: study.predictions(cell)
        for cell in study.cells_there
        if (cell.arm, cell.fraction) in points
    }
    return subgroup_report(plan, frames, study.cases, *points, study.plan.statistics.level)


def _calibration(study: StudyFiles) -> list[Row]:
    frames = {cell: study.predictions(cell) for cell in study.cells_there}
    return calibration_rows(study.plan.model_dump(), frames, study.plan.statistics.level)


def _paired_tests(study: StudyFiles) -> list[Row]:
    frames = {cell: study.predictions(cell) for cell in study.cells_there}
    return paired_tests(study.plan.model_dump(), frames)


_FOUND: dict[str, Callable[[StudyFiles], list[Row]]] = {
    "calibration": _calibration,
    "paired_tests": _paired_tests,
    "controls.permuted_labels": lambda s: permuted_labels(recompute_grid(s), _level(s)),
    "controls.scratch_2x": lambda s: doubled_steps(recompute_grid(s), _level(s)),
    "subgroups.groups": lambda study: (subgroups_again(study) or {}).get("groups", []),
    "subgroups.gaps": lambda study: (subgroups_again(study) or {}).get("gaps", []),
}


def _level(study: StudyFiles) -> float:
    return study.plan.statistics.level


def _name(row: Row) -> str:
    """What the row is of: its arms, fraction and groups."""
    told = (row.get(name) for name in _NAMES)
    return " ".join(
        f"{v:g}" if isinstance(v, int | float) else str(v) for v in told if v is not None
    )


def _rows(what: str, reported: Row, found: Row) -> Iterator[Compared]:
    for name in _VALUES:
        if name in reported or name in found:
            yield f"{name}, {what},", _number(reported.get(name)), _number(found.get(name))
    if "test" in found or "test" in reported:  # without replicates
        for name in ("p", "p_holm"):
            yield f"{name}, {what},", _number(reported.get(name)), _number(found.get(name))
    for pair in _BOUNDS:
        if pair[0] not in reported and pair[0] not in found:
            continue
        lo, hi = (_number(found.get(name)) for name in pair)
        for name, bound in zip(pair, (lo, hi), strict=True):
            told = _number(reported.get(name))
            near = abs(told - bound) <= BOUND_TOLERANCE * abs(hi - lo)
            yield f"{name}, {what},", bound if near else told, bound


def _number(value: object) -> float:
    """A JSON value as a number; what is no number is NaN."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan  # type: ignore[arg-type]
