"""Running a study: cell by cell, taking up again wherever it was cut short."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl import tracking
from medssl.efficiency.cell import CellRunner, FitFunction
from medssl.efficiency.cells import Cell, StudyPaths, cells_of_plan
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.grid_progress import GridProgress
from medssl.efficiency.ledger import Ledger
from medssl.efficiency.plan import STAGE, plan_study, refuse_changed_encoder, refuse_other_key
from medssl.efficiency.provenance import provenance
from medssl.engine.run_folder import RunFolder
from medssl.errors import NO_ROOM, Interrupted, MedsslError, StudyError
from medssl.progress import SILENT, Progress
from medssl.store import open_store


@dataclass(frozen=True)
class StudyResult:
    """Where the study is; `trained` cells of this call, of `cells` in all."""

    study: Path
    cells: int
    trained: int
    ledger_root: str

    @property
    def was_done(self) -> bool:
        return self.trained == 0


def run_study(
    config: StudyConfig,
    out: Path,
    progress: Progress = SILENT,
    fit: FitFunction | None = None,
) -> StudyResult:
    """Plan where nothing is planned, then train every cell that is not done.

    Run again after a crash, it goes on where it stopped: a cell that was cut short resumes from its
    own checkpoint. A cell that fails is listed and the others go on.

    Args:
        fit: what trains a cell; None: `medssl.transfer.fit.fit_and_predict`.

    Raises:
        StudyError: cells failed (the message names them); or as `plan_study`.
        ConfigError: `out` holds a study of another configuration.
    """
    planned = plan_study(config, out, progress)
    store = open_store(config.store)
    refuse_other_key(store, planned.plan)
    refuse_changed_encoder(config, planned.plan)
    if fit is None:
        from medssl.transfer.fit import fit_and_predict

        fit = fit_and_predict
    paths = StudyPaths(out)
    folder = RunFolder.open(out, config, STAGE)
    try:
        with Ledger(paths.ledger) as ledger:
            runner = CellRunner(
                paths,
                store,
                planned.plan,
                planned.plan_sha256,
                config.fit,
                config.encoder,
                ledger,
                fit,
            )
            cells = cells_of_plan(planned.plan)
            left = [cell for cell in cells if not runner.is_done(cell)]
            failed = _run_cells(runner, cells, left, folder, ledger, progress) if left else {}
            root = ledger.root()
    finally:
        folder.close()
    if failed:
        listed = "; ".join(f"{name} ({why})" for name, why in failed.items())
        raise StudyError(
            f"{len(failed)} of {len(cells)} cells failed: {listed}. The others are done; the same "
            "command tries these again"
        )
    return StudyResult(out, len(cells), len(left), root)


def _run_cells(
    runner: CellRunner,
    cells: list[Cell],
    left: list[Cell],
    folder: RunFolder,
    ledger: Ledger,
    progress: Progress,
) -> dict[str, str]:
    """Train the cells that are left; those that failed, with the reason."""
    parent = start_parent(folder, runner.plan, runner.plan_sha256)
    parent.dataset("cases", runner.plan["data"]["cases_sha256"], len(runner.cases))
    steps = int(runner.plan["fit"]["steps"])
    bar = GridProgress(progress, len(cells), len(cells) - len(left), steps)
    failed: dict[str, str] = {}
    status = "FAILED"
    try:
        for cell in left:
            shown = bar.cell(cell.name)
            try:
                runner.run(cell, parent.run_id, shown)
            except Interrupted:
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    raise
                failed[cell.name] = reason_of(error)
                ledger.append("cell_failed", cell=cell.name, error=type(error).__name__)
                folder.log(f"{cell.name} failed:\n{traceback.format_exc()}")
                bar.say(f"{cell.name} failed: {reason_of(error)}")
            finally:
                shown.close()
        status = "FAILED" if failed else "FINISHED"
    finally:
        bar.finish()
        parent.tag("ledger_root", ledger.root())
        parent.close(status)
    return failed


def start_parent(folder: RunFolder, plan: dict[str, Any], plan_sha256: str) -> tracking.Tracker:
    """The study's own MLflow run, taken up again where it is there."""
    params = {
        name: plan[name] for name in ("task", "data", "test", "fractions", "draws", "search", "fit")
    }
    parent = tracking.start(
        "study",
        f"le/{plan_sha256[:8]}",
        {**params, "metric": plan["metric"], "margin": plan["margin"]},
        {
            "medssl.schema": plan["schema"],
            "plan_sha256": plan_sha256,
            "audit_status": "not audited",
            **provenance(),
        },
        run_id=folder.recall("mlflow_run"),
    )
    folder.remember("mlflow_run", parent.run_id)
    return parent


def reason_of(error: Exception) -> str:
    """Why a cell failed, in words that hold no path: other errors are told by their kind."""
    return str(error) if isinstance(error, MedsslError) else type(error).__name__
