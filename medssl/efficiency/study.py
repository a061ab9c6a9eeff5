"""Running a study: cell by cell, taking up again wherever it was cut short."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl import tracking
from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.cell import CellCandidate, StudyWork, steps_of
from medssl.efficiency.cell_record import CellRecord
from medssl.efficiency.cells import Cell, StudyPaths, cells_of_plan
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.crew import Alone, Crew, Outcome, Workers
from medssl.efficiency.events import FILE_NAME
from medssl.efficiency.grid_progress import GridProgress
from medssl.efficiency.ledger import Ledger
from medssl.efficiency.plan import STAGE, plan_study, refuse_changed_encoder, refuse_other_key
from medssl.efficiency.provenance import provenance
from medssl.engine.run_folder import RunFolder
from medssl.engine.signals import StopRequest
from medssl.errors import ConfigError, Interrupted, StudyError
from medssl.progress import SILENT, Progress
from medssl.store import open_store
from medssl.transfer.tuning import TrainFunction

_LOOK_EVERY_S = 0.5


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
    train: TrainFunction[CellCandidate] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
) -> StudyResult:
    """Plan where nothing is planned, then train every cell that is not done.

    Run again after a crash, it goes on where it stopped: a cell that was cut short resumes from its
    own checkpoint. A cell that fails is listed and the others go on; one whose process was killed
    is tried once more.

    Args:
        train: what trains a trial; None: `medssl.transfer.fit.train_and_choose`.
        workers: processes, each of which trains one cell at a time, in its share of the cores.
        scheduler: address of a Dask scheduler, whose workers train instead.

    Raises:
        StudyError: cells failed (the message names them); or as `plan_study`.
        ConfigError: `out` holds a study of another configuration.
        Interrupted: SIGTERM or SIGUSR1 came.
    """
    if workers < 1:
        raise ConfigError(f"--workers {workers}: at least 1")
    planned = plan_study(config, out, progress)
    store = open_store(config.store)
    refuse_other_key(store, planned.plan)
    refuse_changed_encoder(config, planned.plan)
    folder = RunFolder.open(out, config, STAGE)
    try:
        with Ledger(StudyPaths(out).ledger) as ledger:
            grid = _Grid(config, out, planned.plan, planned.plan_sha256, folder, ledger)
            failed = grid.train(progress, train, workers, scheduler)
            root = ledger.root()
    finally:
        folder.close()
    if failed:
        listed = "; ".join(f"{name} ({why})" for name, why in failed.items())
        raise StudyError(
            f"{len(failed)} of {len(grid.cells)} cells failed: {listed}. The others are done; the "
            "same command tries these again"
        )
    return StudyResult(out, len(grid.cells), grid.trained, root)


def threads_of(workers: int) -> int:
    """torch's threads of a cell where so many are trained at once."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


class _Grid:
    """The cells of a study, as its parent process sees them."""

    def __init__(
        self,
        config: StudyConfig,
        out: Path,
        plan: dict[str, Any],
        plan_sha256: str,
        folder: RunFolder,
        ledger: Ledger,
    ) -> None:
        self.paths, self.plan, self.plan_sha256 = StudyPaths(out), plan, plan_sha256
        self.cells = cells_of_plan(plan)
        self.trained = 0
        self._config, self._folder, self._ledger = config, folder, ledger
        self._running: dict[Cell, CellRecord] = {}

    def train(
        self,
        progress: Progress,
        train: TrainFunction[CellCandidate] | None,
        workers: int,
        scheduler: str | None,
    ) -> dict[str, str]:
        """Train the cells that are left; those that failed, with the reason."""
        left = [cell for cell in self.cells if not self.is_done(cell)]
        if not left:
            return {}
        parent = start_parent(self._folder, self.plan, self.plan_sha256)
        data = self.plan["data"]
        parent.dataset("cases", data["cases_sha256"], data["cases"])
        steps = {cell.name: steps_of(self.plan, cell) for cell in self.cells}
        bar = GridProgress(progress, steps, {c.name for c in self.cells} - {c.name for c in left})
        status = "FAILED"
        try:
            left = self._taken_up(left, parent.run_id, bar)
            self.trained = len(left)
            failed = {}
            if left:
                crew = self._crew(train, workers, scheduler)
                failed = self._work_off(crew, left, parent.run_id, bar)
            status = "FAILED" if failed else "FINISHED"
        except (Interrupted, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            bar.finish()
            parent.tag("ledger_root", self._ledger.root())
            parent.close(status)
        return failed

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell's predictions and record are there as the ledger says.

        Raises:
            StudyError: they are there, but were changed after they had been written.
        """
        written = {e.path: e.sha256 for e in self._ledger.entries if e.event == "file_written"}
        for path in (self.paths.predictions(cell), self.paths.cell_record(cell)):
            told = written.get(self.paths.relative(path))
            if told is None:
                return False
            if not path.is_file() or sha256_file(path) != told:
                raise StudyError(
                    f"{self.paths.relative(path)} is not what the ledger says was written; restore "
                    "it, or run the study again in another --out"
                )
        return True

    def _taken_up(self, left: list[Cell], parent_id: str, bar: GridProgress) -> list[Cell]:
        """Take up what processes told before this one's forerunner was killed; what is left now."""
        still = []
        for cell in left:
            told = self.paths.run_of(cell) / FILE_NAME
            if told.is_file():
                record = self._record(cell, parent_id, bar)
                record.take_new()
                done = self.is_done(cell)
                record.close("FINISHED" if done else "KILLED")
                if done:
                    bar.over(cell.name)
                    continue
                told.unlink()
            still.append(cell)
        return still

    def _record(self, cell: Cell, parent_id: str, bar: GridProgress) -> CellRecord:
        return CellRecord(
            cell, self.paths, self.plan, self.plan_sha256, self._ledger, parent_id, bar
        )

    def _crew(
        self, train: TrainFunction[CellCandidate] | None, workers: int, scheduler: str | None
    ) -> Crew:
        config = self._config
        work = StudyWork(
            self.paths.root.resolve(),
            config.store.resolve(),
            config.fit,
            None if config.encoder is None else config.encoder.resolve(),
            self.plan_sha256,
            threads_of(workers) if workers > 1 else None,
            1 if scheduler is not None else workers,
        )
        if scheduler is not None:
            from medssl.efficiency.cluster import ClusterCrew

            return ClusterCrew(work, scheduler)
        if workers == 1:
            return Alone(work, train, lambda cell, event: self._running[cell].take(event))
        return Workers(work, workers, train)

    def _work_off(
        self, crew: Crew, left: list[Cell], parent_id: str, bar: GridProgress
    ) -> dict[str, str]:
        waiting = deque(left)
        died: set[Cell] = set()
        failed: dict[str, str] = {}
        try:
            with StopRequest() as stop:
                while waiting or self._running:
                    while waiting and crew.room():
                        cell = waiting.popleft()
                        self._running[cell] = self._record(cell, parent_id, bar)
                        crew.give(cell)
                    for cell, outcome in crew.wait(_LOOK_EVERY_S):
                        if outcome.died and cell not in died:
                            died.add(cell)
                            waiting.append(cell)
                            self._end(cell, "KILLED")
                            bar.say(f"{cell.name}: its process was killed; it is tried once more")
                            continue
                        self._end(cell, "FAILED" if outcome.error else "FINISHED")
                        if outcome.error:
                            failed[cell.name] = outcome.reason
                            self._tell_failure(cell, outcome, bar)
                        bar.over(cell.name)
                    for record in self._running.values():
                        record.take_new()
                    if stop.requested:
                        raise Interrupted(
                            "stopped by a signal; run the same command again to resume"
                        )
        finally:
            crew.close()
            for cell in list(self._running):
                self._end(cell, "KILLED")
        return failed

    def _end(self, cell: Cell, status: str) -> None:
        """Take up the last that a cell told."""
        record = self._running.pop(cell)
        record.take_new()
        record.close(status)
        (self.paths.run_of(cell) / FILE_NAME).unlink(missing_ok=True)

    def _tell_failure(self, cell: Cell, outcome: Outcome, bar: GridProgress) -> None:
        self._ledger.append("cell_failed", cell=cell.name, error=outcome.error)
        self._folder.log(f"{cell.name} failed:\n{outcome.trace or outcome.reason}")
        bar.say(f"{cell.name} failed: {outcome.reason}")
        if outcome.fatal:
            raise StudyError(
                f"{cell.name}: {outcome.reason}; nothing more is begun (run.log of the study has "
                "the rest); the same command resumes"
            )


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
