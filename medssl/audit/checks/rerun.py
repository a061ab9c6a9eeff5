"""R1: a cell that is trained again comes to the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.audit.recompute import test_metrics
from medssl.audit.records import ProvenanceRecord
from medssl.audit.rerun import NotRerun, rerun_cell
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import PLAN, StudyFiles, cell_path, predictions_path
from medssl.efficiency.cells import Cell

SAME = 1e-4
NEAR = 0.01


def run(study: StudyFiles) -> Finding:
    if not study.brought.rerun:
        return Finding(Status.NOT_RUN, "runs cells again: --rerun auto --store STORE")
    if not study.cells_there:
        return Finding(Status.NOT_RUN, "no cell has run")
    told, statuses = [], set()
    evidence = [study.evidence(PLAN)]
    for cell in cheapest_cells(study):
        needs_encoder = study.plan.arms[cell.arm].init == "encoder"
        if needs_encoder and study.brought.encoder is None:
            told.append(f"{cell.name} not run: --encoder")
            statuses.add(Status.NOTE)
            continue
        evidence += [study.evidence(path(cell)) for path in (cell_path, predictions_path)]
        try:
            with tempfile.TemporaryDirectory(prefix="medssl-rerun-") as folder:
                again = rerun_cell(study, cell, Path(folder))
        except NotRerun as reason:
            told.append(f"{cell.name} could not be run again ({reason})")
            statuses.add(Status.INCONCLUSIVE)
            continue
        status, line = _agrees(study, cell, again)
        told.append(line)
        statuses.add(status)
    order = (Status.FAIL, Status.INCONCLUSIVE, Status.NOTE, Status.PASS)
    return Finding(next(s for s in order if s in statuses), "; ".join(told), evidence)


def cheapest_cells(study: StudyFiles) -> list[Cell]:
    """Of each arm the cell that took the least time, by its own account."""

    def cost(cell: Cell) -> tuple[float, str]:
        seconds = study.cell_file(cell).cost.seconds
        return (float("inf") if seconds is None else float(seconds), cell.name)

    cells = study.cells_there
    return [
        min((cell for cell in cells if cell.arm == arm), key=cost)
        for arm in study.plan.arms
        if any(cell.arm == arm for cell in cells)
    ]


def _agrees(study: StudyFiles, cell: Cell, again: pd.DataFrame) -> tuple[Status, str]:
    """Whether a cell's new predictions are its old ones, and how far they are apart."""
    first = study.predictions(cell)
    again = again.sort_values(["split", "volume_uid"], ignore_index=True)
    keys = ["split", "volume_uid"]
    if not first[keys].equals(again[keys].astype(object)):
        return Status.FAIL, f"{cell.name} has predictions of other cases"
    classes = study.plan.task.classes
    if study.plan.task.kind == "classification":
        columns, what = [f"logit_{k}" for k in range(len(classes))], "logits"
    else:
        columns, what = [f"dice_{c}" for c in classes], "Dice"
    apart = np.abs(first[columns].to_numpy("f8") - again[columns].to_numpy("f8"))
    both_empty = first[columns].isna().to_numpy() & again[columns].isna().to_numpy()
    largest = float(np.where(both_empty, 0.0, apart).max(initial=0.0))
    metric = study.plan.metric
    moved = abs(
        test_metrics(study.plan.task, first)[metric] - test_metrics(study.plan.task, again)[metric]
    )
    line = f"{cell.name}: {what} within {largest:.1g}, {metric} within {moved:.1g}"
    if same_machine(study.cell_file(cell).provenance):
        return (Status.PASS if largest <= SAME else Status.FAIL), f"{line}, on the same hardware"
    return (Status.PASS if moved <= NEAR else Status.FAIL), f"{line}, on other hardware"


def same_machine(then: ProvenanceRecord) -> bool:
    """Whether this machine computes as that of the cell did, digit by digit."""
    from medssl.efficiency.provenance import machine

    now = machine()
    names = ("device", "torch", "threads")
    return bool(then.deterministic) and all(getattr(then, n) == now[n] for n in names)


CHECK = Check(
    "R1",
    "a cell run again agrees: ≤ 1e-4 in logits on the same hardware, deterministic; else the "
    "metric within 0.01",
    "FAIL; could not be run: INCONCLUSIVE",
    run,
)
