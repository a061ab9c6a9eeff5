"""H1: neither the encoder nor a cell's features have collapsed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import PRETRAINING, StudyFiles, cell_path
from medssl.audit.wording import counted, listed

OF_PEAK = 0.5


def run(study: StudyFiles) -> Finding:
    pretrained = any(arm.init == "encoder" for arm in study.plan.arms.values())
    evidence, alarms, known = [], [], []
    if pretrained and study.has(PRETRAINING):
        evidence.append(study.evidence(PRETRAINING))
        told = study.pretraining
        alarms += [f"pretraining: {alarm}" for alarm in told.alarms]
        ranks = [rank for row in told.health if (rank := _rank(row)) is not None]
        if ranks:
            known.append(
                f"pretraining's RankMe at its end {ranks[-1]:.1f}, at most {max(ranks):.1f}"
            )
            if ranks[-1] < OF_PEAK * max(ranks):
                alarms.append(f"{known[-1]}: less than half")
    alarms += _of_cells(study)
    described = [c for c in study.cells_there if study.cell_file(c).representation]
    evidence += [study.evidence(cell_path(cell)) for cell in described]
    if described:
        known.append(f"features of {counted(described, 'cell')} described")
    if alarms:
        return Finding(Status.WARN, listed(alarms), evidence)
    if pretrained and not study.has(PRETRAINING):
        return Finding(Status.NOTE, f"no {PRETRAINING}: nothing is known of its health", evidence)
    if not pretrained and not known:
        return Finding(Status.PASS, "nothing was pretrained", evidence)
    return Finding(Status.PASS, "; ".join(["no alarm", *known]), evidence)


def _of_cells(study: StudyFiles) -> Iterable[str]:
    """Cells that started from the encoder; what random weights come to says nothing of it."""
    for cell in study.cells_there:
        representation = study.cell_file(cell).representation or {}
        if study.plan.arms[cell.arm].init == "encoder" and representation.get("collapse") is True:
            yield f"the features of cell {cell.name} have collapsed"


def _rank(row: Mapping[str, Any]) -> float | None:
    value = row.get("rankme")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


CHECK = Check("H1", "no collapse alarm", "WARN", run)
