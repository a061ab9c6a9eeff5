"""Running a cell of a study again, in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from medssl.audit.study_files import CASES, LEDGER, PLAN, SPLITS, StudyFiles
from medssl.efficiency.cells import Cell, StudyPaths
from medssl.errors import MedsslError


class NotRerun(Exception):
    """The cell cannot be run again here; the message says why."""


def rerun_cell(study: StudyFiles, cell: Cell, folder: Path) -> pd.DataFrame:
    """Train the cell's trials and predict once more, by the plan and the auditor's store.

    Args:
        folder: an empty folder, where everything of it lies.

    Returns:
        Predictions, by split and volume_uid.

    Raises:
        NotRerun: the store, the encoder or this machine do not allow it.
    """
    from medssl.efficiency.cell import CellTrainer, StudyWork
    from medssl.engine.config import RuntimeConfig
    from medssl.transfer.config import FitConfig

    store, encoder = study.brought.store, study.brought.encoder
    assert store is not None, "asked for with a store alone"
    for name in (PLAN, CASES, SPLITS, LEDGER):
        shutil.copyfile(study.root / name, folder / name)
    threads = study.cell_file(cell).provenance.threads
    runtime = RuntimeConfig(num_workers=0, threads=threads)
    values = {name: value for name, value in study.plan.fit.items() if name != "seed"}
    try:
        fit = FitConfig.model_validate({**values, "runtime": runtime})
        work = StudyWork(folder, store.root, fit, encoder, study.sha256(PLAN), threads)
        CellTrainer(work).run(cell, lambda _: None)
    except (MedsslError, ValueError, OSError) as error:
        raise NotRerun(str(error) if isinstance(error, MedsslError) else "") from error
    return pd.read_parquet(StudyPaths(folder).predictions(cell))
