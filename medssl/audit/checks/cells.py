"""I3: no cell was left out because of what it showed."""

from __future__ import annotations

from collections import defaultdict

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import LEDGER, PLAN, StudyFiles, predictions_path
from medssl.audit.wording import counted, listed
from medssl.efficiency.cells import Cell


def run(study: StudyFiles) -> Finding:
    planned = study.cells
    missing = [cell for cell in planned if not study.has(predictions_path(cell))]
    crashed = {str(e.facts.get("cell")): e for e in study.ledger if e.event == "cell_failed"}
    names = {cell.name for cell in planned}
    unplanned = sorted(
        path.stem
        for path in (study.root / "predictions").glob("*.parquet")
        if path.stem not in names
    )
    unexplained = [cell.name for cell in missing if cell.name not in crashed]
    problems = []
    if unplanned:
        problems.append(f"not in the plan: {listed(unplanned, ', ')}")
    if len(missing) == len(planned):
        problems.append("no cell has predictions: the study has not been run")
    elif unexplained:
        problems.append(f"missing, and no crash is recorded: {listed(unexplained, ', ')}")
    elif _uneven(missing, list(study.plan.arms)):
        problems.append(f"crashed unevenly over the arms: {listed(_names(missing), ', ')}")
    evidence = [study.evidence(PLAN), study.evidence(LEDGER)]
    if problems:
        return Finding(Status.FAIL, "; ".join(problems), evidence)
    there = f"{len(planned) - len(missing)} of {counted(planned, 'planned cell')} there"
    if missing:
        errors = (f"{name} ({crashed[name].facts.get('error', '?')})" for name in _names(missing))
        there += f"; crashed alike in every arm: {listed(errors, ', ')}"
    return Finding(Status.PASS, there, evidence)


def _names(cells: list[Cell]) -> list[str]:
    return [cell.name for cell in cells]


def _uneven(missing: list[Cell], arms: list[str]) -> bool:
    """Whether some arm lacks a fraction and draw that another has."""
    lacking: dict[str, set[tuple[float, int]]] = defaultdict(set)
    for cell in missing:
        lacking[cell.arm].add((cell.fraction, cell.draw))
    return any(lacking[arm] != lacking[arms[0]] for arm in arms)


CHECK = Check(
    "I3",
    "all planned cells are there (crashed ones listed)",
    "FAIL where unexplained or uneven over arms",
    run,
)
