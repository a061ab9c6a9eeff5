"""M2: the Dice that is reported is that of the masks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from medssl.audit.result import Check, Evidence, Finding, Status
from medssl.audit.study_files import CASES, DamagedFile, StudyFiles, predictions_path
from medssl.audit.wording import counted, key, listed
from medssl.efficiency.cells import Cell
from medssl.efficiency.ledger import inside
from medssl.errors import MedsslError
from medssl.store.b2nd import open_array
from medssl.volume import Array

CASES_CHECKED = 10
TOLERANCE = 1e-6


def run(study: StudyFiles) -> Finding:
    if study.plan.task.kind != "segmentation":
        return Finding(Status.NOT_RUN, "a study of classes has no masks")
    chosen = list(_chosen(study))
    if not chosen:
        return Finding(Status.NOT_RUN, "no cell has predictions")
    evidence = [study.evidence(CASES)]
    problems: list[str] = []
    cases = set()
    for cell, row in chosen:
        path = str(row["mask_path"])
        predicted = _read_mask(study, cell, row)
        evidence.append(Evidence(path, study.sha256(path)))
        problems += _compare(study, cell, row, predicted)
        cases.add(row["volume_uid"])
    evidence += [study.evidence(predictions_path(c)) for c in dict.fromkeys(c for c, _ in chosen)]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    told = f"{counted(chosen, 'mask')} of {counted(cases, 'case')} in every arm"
    if study.brought.store is None:
        return Finding(
            Status.NOT_RUN,
            f"the reference masks are voxels: --store; {told} have the hash and the size told",
            evidence,
        )
    return Finding(Status.PASS, f"Dice of {told} found again", evidence)


def _chosen(study: StudyFiles) -> Iterable[tuple[Cell, pd.Series]]:
    """Ten test cases, for each arm in a cell of its own choice: all by hash, none by hand."""
    cases = study.cases
    test = sorted(cases.loc[cases["role"] == "test", "volume_uid"], key=_rank)[:CASES_CHECKED]
    arms: dict[str, list[Cell]] = {}
    for cell in study.cells_there:
        arms.setdefault(cell.arm, []).append(cell)
    for cells in arms.values():
        for number, uid in enumerate(test):
            cell = sorted(cells, key=lambda cell: _rank(cell.name))[number % len(cells)]
            frame = study.predictions(cell)
            for column in ("mask_path", "mask_sha256"):
                if column not in frame:
                    raise DamagedFile(predictions_path(cell), f"has no column {column}")
            for _, row in frame[
                (frame["volume_uid"] == uid) & (frame["split"] == "test")
            ].iterrows():
                yield cell, row


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _read_mask(study: StudyFiles, cell: Cell, row: pd.Series) -> Array:
    """The predicted mask, (D, H, W).

    Raises:
        DamagedFile: it is missing, is not the one that was written, or no mask.
    """
    path = str(row["mask_path"])
    if not inside(path) or PurePosixPath(path).parts[0] != "masks":
        raise DamagedFile(predictions_path(cell), f"mask_path {path[:80]} is no path in masks/")
    if study.sha256(path) != row["mask_sha256"]:
        raise DamagedFile(path, f"is not the mask that {predictions_path(cell)} names")
    try:
        return open_array(study.root / path).read()
    except (MedsslError, OSError, ValueError, RuntimeError) as error:
        raise DamagedFile(path, "is no readable mask") from error


def _compare(study: StudyFiles, cell: Cell, row: pd.Series, predicted: Array) -> Iterable[str]:
    uid, store = str(row["volume_uid"]), study.brought.store
    where = f"cell {cell.name}, case {key(uid)}"
    reference = None
    if store is not None:
        reference = store.read_label(uid, study.plan.task.label).voxels
        if reference.shape != predicted.shape:
            yield f"{where}: the mask's shape is {predicted.shape}, the case's {reference.shape}"
            return
    for name in study.plan.task.classes:
        here = predicted == int(name)
        size = int(np.count_nonzero(here))
        told = int(row[f"tp_{name}"]), int(row[f"fp_{name}"]), int(row[f"fn_{name}"])
        if told[0] + told[1] != size:
            yield f"{where}: {told[0] + told[1]} voxels of class {name} told, {size} in the mask"
            continue
        if reference is None:
            continue
        there = reference == int(name)
        tp = int(np.count_nonzero(here & there))
        found = (tp, size - tp, int(np.count_nonzero(there)) - tp)
        if abs(_dice(*found) - _dice(*told)) > TOLERANCE or told != found:
            yield (
                f"{where}: Dice of class {name} is {_dice(*told):.4f} as told, "
                f"{_dice(*found):.4f} as found"
            )


def _dice(tp: int, fp: int, fn: int) -> float:
    """2 TP / (2 TP + FP + FN); 1 where neither mask has the class."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0


CHECK = Check("M2", "Dice recomputed from masks of ten cases or more", "FAIL", run)
