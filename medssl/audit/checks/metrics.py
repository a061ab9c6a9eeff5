"""M1: every number that is reported comes from the predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from medssl.audit.curve import recompute_grid, recompute_savings
from medssl.audit.recompute import test_metrics
from medssl.audit.result import Check, Finding, Status
from medssl.audit.secondary import BOUND_TOLERANCE, Compared, compare_secondary
from medssl.audit.study_files import ANALYSIS, CASES, PLAN, StudyFiles, predictions_path
from medssl.audit.wording import counted, listed
from medssl.efficiency.analysis import areas, curve_points, effects_of

TOLERANCE = 1e-6


def run(study: StudyFiles) -> Finding:
    problems = list(_truth(study))
    compared = [*_cells(study), *_curve(study), *compare_secondary(study)]
    for what, reported, found in compared:
        if _distance(reported, found) > TOLERANCE:
            problems.append(f"{what} is reported as {reported:.6g}, found {found:.6g}")
    problems += _listed_cells(study)
    evidence = [study.evidence(path) for path in (PLAN, CASES, ANALYSIS)]
    evidence += [study.evidence(predictions_path(cell)) for cell in study.cells_there]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    worst = max((_distance(reported, found) for _, reported, found in compared), default=0.0)
    return Finding(
        Status.PASS,
        f"{counted(compared, 'number')} of {counted(study.cells_there, 'cell')} found again from "
        f"the predictions; largest difference {worst:.1g}",
        evidence,
    )


def _truth(study: StudyFiles) -> Iterator[str]:
    """Predictions are of the cases of the study, under their patients and their classes."""
    cases = study.cases
    for cell in study.cells_there:
        predictions = study.predictions(cell)
        path = predictions_path(cell)
        unknown = ~predictions["volume_uid"].isin(cases.index)
        if unknown.any():
            yield f"{path}: {counted(int(unknown.sum()), 'case')} that the study does not have"
            continue
        expected = cases.loc[predictions["volume_uid"]].reset_index(drop=True)
        columns = ["patient_key"]
        if study.plan.task.kind == "classification":
            columns.append("y_true")
        permuted = study.plan.arms[cell.arm].labels == "permuted"
        for column in columns:
            wrong = predictions[column] != expected[column]
            if permuted and column == "y_true":  # the test part alone keeps its own labels
                wrong &= predictions["split"] == "test"
            if wrong.any():
                cases_wrong = counted(int(wrong.sum()), "case")
                yield f"{path}: {column} of {cases_wrong} is not that of {CASES}"
        sealed = set(cases.loc[cases["role"] == "test", "volume_uid"])
        tested = set(predictions.loc[predictions["split"] == "test", "volume_uid"])
        if sealed != tested:
            yield (
                f"{path}: {len(tested)} test cases, of the {len(sealed)} sealed ones "
                f"{len(sealed & tested)}"
            )


def _listed_cells(study: StudyFiles) -> Iterator[str]:
    """The analysis is of these files of predictions: all of them, once each, as they are."""
    reported = [cell.cell for cell in study.analysis.cells]
    there = [cell.name for cell in study.cells_there]
    if sorted(reported) != sorted(there):
        odd = sorted(set(reported) ^ set(there)) or sorted(reported)
        yield f"{ANALYSIS} is not of the cells that are there: {listed(odd, ', ')}"
    for row in study.analysis.cells:
        path = f"predictions/{row.cell}.parquet"
        if row.cell in there and row.predictions_sha256 != study.sha256(path):
            yield f"{ANALYSIS} was computed from other predictions of cell {row.cell}"
    if study.analysis.metric != study.plan.metric:
        yield f"{ANALYSIS} is of {study.analysis.metric}, the plan of {study.plan.metric}"


def _cells(study: StudyFiles) -> Iterator[Compared]:
    rows = {row.cell: row for row in study.analysis.cells}
    for cell in study.cells_there:
        row = rows.get(cell.name)
        if row is None:
            continue
        found = test_metrics(study.plan.task, study.predictions(cell))
        for name in sorted(found.keys() | row.metrics.keys()):
            yield (
                f"{name} of cell {cell.name}",
                _number(row.metrics.get(name)),
                found.get(name, math.nan),
            )


def _curve(study: StudyFiles) -> Iterator[Compared]:
    """The numbers that are made of the cells' metrics."""
    analysis, grid = study.analysis, recompute_grid(study)
    level = study.plan.statistics.level
    found = {
        **{f"curve of {p['arm']} at {p['fraction']:g}": p for p in curve_points(grid, level)},
        **{f"effect of {e['arm']} at {e['fraction']:g}": e for e in effects_of(grid, level)},
        **{f"AULC of {arm}": area or {} for arm, area in areas(grid, level).items()},
    }
    reported = {
        **{f"curve of {p.arm} at {p.fraction:g}": p.model_dump() for p in analysis.curve},
        **{f"effect of {e.arm} at {e.fraction:g}": e.model_dump() for e in analysis.effects},
        **{f"AULC of {arm}": area or {} for arm, area in analysis.aulc.items()},
    }
    savings = recompute_savings(study)
    if savings is not None or analysis.lsf:
        found["savings"] = vars(savings) if savings else {}
        reported["savings"] = analysis.lsf or {}
    for what in sorted(found.keys() | reported.keys()):
        yield from _numbers(what, reported.get(what, {}), found.get(what, {}))


def _numbers(
    what: str, reported: dict[str, object], found: dict[str, object]
) -> Iterable[Compared]:
    for name in ("mean", "delta", "value", "target", "p", "p_holm", "significant"):
        if name in reported or name in found:
            yield f"{name}, {what},", _number(reported.get(name)), _number(found.get(name))
    width = abs(_number(found.get("hi")) - _number(found.get("lo")))
    for name in ("lo", "hi"):
        if name not in reported and name not in found:
            continue
        told, bound = _number(reported.get(name)), _number(found.get(name))
        if what == "savings" and bound in (0.0, math.inf):
            bound = math.nan  # no bound
        near = _distance(told, bound) <= BOUND_TOLERANCE * width
        yield f"{name}, {what},", bound if near else told, bound
    for name in ("draws",):
        for draw, (told, seen) in enumerate(_pairs(reported.get(name), found.get(name))):
            yield f"draw {draw}, {what},", told, seen


def _pairs(reported: object, found: object) -> Iterable[tuple[float, float]]:
    told = reported if isinstance(reported, list) else []
    seen = found if isinstance(found, list) else []
    for index in range(max(len(told), len(seen))):
        yield (
            _number(told[index]) if index < len(told) else math.nan,
            _number(seen[index]) if index < len(seen) else math.nan,
        )


def _number(value: object) -> float:
    """A JSON value as a number: none and what is no number are NaN, true is 1."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _distance(reported: float, found: float) -> float:
    """Absolute difference; none where neither has a value, infinite where only one has."""
    if math.isnan(reported) or math.isnan(found):
        return 0.0 if math.isnan(reported) and math.isnan(found) else math.inf
    if reported == found:
        return 0.0
    return abs(reported - found)


CHECK = Check("M1", "every metric recomputed from predictions, difference ≤ 1e-6", "FAIL", run)
