"""One cell of the grid: one training, one look at the test set, one file of predictions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
from pydantic import Field

from medssl import tracking
from medssl.efficiency import subsets
from medssl.efficiency.canonical import sha256_file, sha256_json
from medssl.efficiency.cells import Cell, StudyPaths
from medssl.efficiency.ledger import Ledger
from medssl.efficiency.plan import cell_seed, write_table
from medssl.efficiency.provenance import provenance
from medssl.engine.run_folder import RunFolder
from medssl.errors import StudyError
from medssl.progress import Progress
from medssl.store import Store
from medssl.transfer.config import FitConfig
from medssl.transfer.metrics import all_metrics

if TYPE_CHECKING:
    from medssl.engine.loop import TrainOutcome

WEIGHTS = "model.safetensors"


class CellConfig(FitConfig):
    """What decides a cell, kept in its run folder."""

    arm: str = Field(description="Arm of the study.")
    fraction: float = Field(description="Fraction of the development patients.")
    draw: int = Field(description="Draw of the patients.")
    seed: int = Field(description="Decides weights, patches, augmentation and dropout.")
    plan_sha256: str = Field(description="Hash of the frozen plan.")


class FitFunction(Protocol):
    """`medssl.transfer.fit.fit_and_predict`, or what stands in for it."""

    def __call__(
        self,
        config: FitConfig,
        store: Store,
        cases: pd.DataFrame,
        run: RunFolder,
        tracker: tracking.Tracker | None,
        progress: Progress,
        seed: int,
        on_chosen: Callable[[str, TrainOutcome], None] | None,
    ) -> pd.DataFrame: ...


class CellRunner:
    """What all cells of a study share: the store, the plan, the tables, the ledger."""

    def __init__(
        self,
        paths: StudyPaths,
        store: Store,
        plan: dict[str, Any],
        plan_sha256: str,
        fit_config: FitConfig,
        encoder: Path | None,
        ledger: Ledger,
        fit: FitFunction,
    ) -> None:
        self.paths, self.store = paths, store
        self.plan, self.plan_sha256 = plan, plan_sha256
        self.cases = pd.read_parquet(paths.cases)
        self.splits = pd.read_parquet(paths.splits)
        self._fit_config, self._encoder = fit_config, encoder
        self._ledger, self._fit = ledger, fit
        self._subset_hashes = {(s["fraction"], s["draw"]): s["sha256"] for s in plan["subsets"]}
        self._written = {e.path: e.sha256 for e in ledger.entries if e.event == "file_written"}

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell's predictions are there as the ledger says.

        Raises:
            StudyError: they are there, but were changed after they had been written.
        """
        path = self.paths.predictions(cell)
        told = self._written.get(self.paths.relative(path))
        if told is None:
            return False
        if not path.is_file() or sha256_file(path) != told:
            raise StudyError(
                f"{self.paths.relative(path)} is not what the ledger says was written; restore it, "
                "or run the study again in another --out"
            )
        return True

    def run(self, cell: Cell, parent_id: str | None, progress: Progress) -> None:
        """Train, predict and write one cell; resumes one that was cut short."""
        cases = self._cases_of(cell)
        config = self._config_of(cell)
        run = RunFolder.open(self.paths.run_of(cell), config, "cell")
        tracker = self._start_tracking(cell, run, config, cases, parent_id)
        status = "FAILED"
        try:
            self._ledger.append(
                "training_started",
                **cell.facts,
                seed=config.seed,
                plan_sha256=self.plan_sha256,
                subset_sha256=subsets.subset_sha256(cases),
                init_sha256=self._init_sha256(cell),
            )
            told = _Told(self._ledger, cell, self.plan_sha256)
            predictions = self._fit(
                config, self.store, cases, run, tracker, progress, config.seed, told
            )
            self._keep(cell, predictions, run)
            tracker.log(config.steps, self._finish(cell, predictions, run, told))
            status = "FINISHED"
        finally:
            tracker.close(status)
            run.close()
        _forget_training_state(run.checkpoints)

    def _cases_of(self, cell: Cell) -> pd.DataFrame:
        cases = subsets.subset_of(self.splits, self.cases, cell.fraction, cell.draw)
        if subsets.subset_sha256(cases) != self._subset_hashes[cell.fraction, cell.draw]:
            raise StudyError(
                f"{cell.name}: the subset is not the planned one; restore cases.parquet and "
                "splits.parquet"
            )
        return cases[["volume_uid", "patient_key", "split", "y_true"]]

    def _config_of(self, cell: Cell) -> CellConfig:
        values = self._fit_config.model_dump()
        values["init"] = self._encoder if self._init_sha256(cell) else None
        # From scratch there is no encoder to take the network of: the plan names it.
        values["model"] = self.plan["fit"]["model"]
        return CellConfig(
            **values,
            arm=cell.arm,
            fraction=cell.fraction,
            draw=cell.draw,
            seed=cell_seed(self.plan["fit"]["seed"], cell.draw),
            plan_sha256=self.plan_sha256,
        )

    def _init_sha256(self, cell: Cell) -> str | None:
        encoder = self.plan["arms"][cell.arm]["encoder"]
        return encoder["weights_sha256"] if encoder else None

    def _start_tracking(
        self,
        cell: Cell,
        run: RunFolder,
        config: CellConfig,
        cases: pd.DataFrame,
        parent_id: str | None,
    ) -> tracking.Tracker:
        tags = {
            "medssl.schema": self.plan["schema"],
            "plan_sha256": self.plan_sha256,
            "arm": cell.arm,
            **provenance(),
        }
        resumed = run.recall("mlflow_run")
        tracker = tracking.start(
            "cell",
            f"{cell.arm}|{cell.fraction:g}|{cell.draw}",
            config.model_dump(mode="json", exclude={"init", "runtime"}),
            tags,
            run_id=resumed,
            parent_id=parent_id,
        )
        if resumed != tracker.run_id:
            run.remember("mlflow_run", tracker.run_id)
            for split, rows in cases.groupby("split"):
                digest = sha256_json(sorted(rows["volume_uid"]))
                context = "training" if split == "train" else str(split)
                tracker.dataset(str(split), digest, len(rows), context)
        return tracker

    def _keep(self, cell: Cell, predictions: pd.DataFrame, run: RunFolder) -> None:
        """Move the masks to the study, write the predictions, tell the ledger."""
        masks = run.path / "masks"
        if masks.is_dir():
            target = self.paths.masks(cell)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            os.replace(masks, target)
        predictions = predictions.sort_values(["split", "volume_uid"], ignore_index=True)
        if "mask_path" in predictions:
            inside = predictions["mask_path"].str.removeprefix("masks/")
            predictions["mask_path"] = f"masks/{cell.name}/" + inside
        path = self.paths.predictions(cell)
        write_table(path, predictions)
        self._ledger.append("file_written", self.paths.relative(path), sha256_file(path))

    def _finish(
        self, cell: Cell, predictions: pd.DataFrame, run: RunFolder, told: _Told
    ) -> dict[str, float]:
        """The cell's figures for MLflow; also its summary."""
        test = all_metrics(predictions[predictions["split"] == "test"])
        figures = {f"test/{name}": value for name, value in test.items()}
        figures |= {"cost/steps": float(told.steps), "cost/seconds": told.seconds}
        run.finish({**cell.facts, **figures, **provenance()})
        return figures


class _Told:
    """Called once the weights are chosen: only then may the test set be looked at."""

    def __init__(self, ledger: Ledger, cell: Cell, plan_sha256: str) -> None:
        self._ledger, self._cell, self._plan_sha256 = ledger, cell, plan_sha256
        self.steps, self.seconds = 0, 0.0

    def __call__(self, weights_sha256: str, outcome: TrainOutcome) -> None:
        self.steps, self.seconds = outcome.steps, outcome.seconds
        self._ledger.append(
            "training_finished",
            cell=self._cell.name,
            plan_sha256=self._plan_sha256,
            steps=outcome.steps,
            weights_sha256=weights_sha256,
            selected="last" if outcome.best_step is None else "best",
        )
        self._ledger.append("test_look", cell=self._cell.name, weights_sha256=weights_sha256)


def _forget_training_state(checkpoints: Path) -> None:
    """Of a cell that is done only the weights that predicted are kept."""
    for path in checkpoints.iterdir():
        if path.name == WEIGHTS:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
