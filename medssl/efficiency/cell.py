"""One cell of the grid: its trials, one look at the test set, one file of predictions.

It may be trained in any process that sees the study's folder: it writes its own files, and tells
all else as events, which the study's parent takes to the ledger and to MLflow.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
from pydantic import Field

from medssl.efficiency import subsets
from medssl.efficiency.arms import fit_of_arm, permuted_labels
from medssl.efficiency.canonical import canonical_json, sha256_file, sha256_json
from medssl.efficiency.cells import Cell, StudyPaths
from medssl.efficiency.events import Tell
from medssl.efficiency.grid_progress import StepCounter
from medssl.efficiency.plan import cell_seed, read_plan, write_table
from medssl.efficiency.provenance import machine, provenance
from medssl.engine.cost import Meter, cost_figures
from medssl.engine.run_folder import RunFolder
from medssl.errors import StudyError
from medssl.models.config import ModelConfig
from medssl.models.encoder import Encoder
from medssl.progress import Progress
from medssl.store import open_store
from medssl.store.writer import write_atomically
from medssl.tracking import MetricLog
from medssl.transfer.config import FitConfig
from medssl.transfer.metrics import all_metrics
from medssl.transfer.tuning import Candidate, TrainFunction, Tuned, forget_trials, tune
from medssl.transfer.tuning_config import Setting

if TYPE_CHECKING:
    from medssl.efficiency.representation import ProbeSet

SCHEMA = "medssl.cell/1"
WEIGHTS = "model.safetensors"
_COST = "cost"  # what the parts of a cell that was cut short cost


class CellConfig(FitConfig):
    """What decides a cell, kept in its run folder."""

    arm: str = Field(description="Arm of the study.")
    fraction: float = Field(description="Fraction of the development patients.")
    draw: int = Field(description="Draw of the patients.")
    seed: int = Field(description="Decides weights, patches, augmentation and dropout.")
    plan_sha256: str = Field(description="Hash of the frozen plan.")


class Predicted(Protocol):
    @property
    def predictions(self) -> pd.DataFrame: ...


class CellCandidate(Candidate, Protocol):
    """`medssl.transfer.fit.Trained`, or what stands in for it."""

    @property
    def encoder(self) -> Encoder | None: ...

    def predict_test(
        self, cases: pd.DataFrame, run: RunFolder, progress: Progress
    ) -> Predicted: ...


@dataclass(frozen=True)
class StudyWork:
    """What a process needs to train cells of a study.

    Attributes:
        threads: of torch's, for one cell; None: its own choice.
        workers: processes that train cells on this machine beside each other.
    """

    root: Path
    store: Path
    fit: FitConfig
    encoder: Path | None
    plan_sha256: str
    threads: int | None = None
    workers: int = 1


class CellTrainer:
    """Trains cells of one study, one after the other.

    Args:
        train: what trains a trial; None: `medssl.transfer.fit.train_and_choose`.
    """

    def __init__(self, work: StudyWork, train: TrainFunction[CellCandidate] | None = None) -> None:
        if train is None:
            from medssl.transfer.fit import train_and_choose

            train = train_and_choose
        self.work, self._train = work, train
        self.paths = StudyPaths(work.root)
        self.store = open_store(work.store)
        self.plan = read_plan(self.paths)
        self.cases = pd.read_parquet(self.paths.cases)
        self.splits = pd.read_parquet(self.paths.splits)
        self._subset_hashes = {
            (s["fraction"], s["draw"]): s["sha256"] for s in self.plan["subsets"]
        }

    def run(self, cell: Cell, tell: Tell) -> None:
        """Train, predict and write one cell; resumes one that was cut short."""
        if self.work.threads is not None and self.work.fit.runtime.threads is None:
            import torch

            torch.set_num_threads(self.work.threads)
        cases = self._cases_of(cell)
        config = self._config_of(cell)
        settings = settings_of(self.plan, cell)
        run = RunFolder.open(self.paths.run_of(cell), config, "cell")
        try:
            tell(_begun(config, cases))
            story = _Story(self, cell, config, cases, settings, tell)
            with _measured(run, 1 / self.work.workers) as meter:
                tuned = tune(
                    self._train,
                    config,
                    settings,
                    self.store,
                    cases,
                    run,
                    story,
                    story.progress,
                    config.seed,
                )
                story.chosen(tuned)
                began = time.monotonic()
                predicted = tuned.trained.predict_test(cases, run, story.progress)
                predicting = time.monotonic() - began
            predictions = self._keep(cell, predicted.predictions, run, tell)
            seconds = sum(trial.seconds for trial in tuned.trials) + predicting
            record = self._record(cell, config, cases, tuned, meter, seconds)
            path = self.paths.cell_record(cell)
            write_atomically(path, canonical_json(record).decode())
            tell(ledger_event("file_written", self.paths.relative(path), sha256_file(path)))
            if len(settings) > 1:
                for row in run.read_metrics():
                    values = {name: value for name, value in row.items() if name != "step"}
                    tell(metric_event(None, int(row["step"]), values))
            figures = _figures(predictions, record)
            tell(metric_event(None, config.steps, figures))
            run.finish({**cell.facts, **figures, **provenance()})
        finally:
            run.close()
        forget_trials(run)
        _forget_training_state(run.checkpoints)

    def _cases_of(self, cell: Cell) -> pd.DataFrame:
        cases = subsets.subset_of(self.splits, self.cases, cell.fraction, cell.draw)
        if subsets.subset_sha256(cases) != self._subset_hashes[cell.fraction, cell.draw]:
            raise StudyError(
                f"{cell.name}: the subset is not the planned one; restore cases.parquet and "
                "splits.parquet"
            )
        cases = cases[["volume_uid", "patient_key", "split", "y_true"]]
        if self.plan["arms"][cell.arm]["labels"] == "permuted":
            return permuted_labels(cases, self.plan["data"]["cases_sha256"], cell.draw)
        return cases

    def _config_of(self, cell: Cell) -> CellConfig:
        # From scratch there is no encoder to take the network of: the plan names it.
        named = self.work.fit.model_dump() | {"model": self.plan["fit"]["model"]}
        fit = FitConfig.model_validate(named)
        own = fit_of_arm(self.plan["arms"][cell.arm], fit, self.work.encoder)
        return CellConfig(
            **own.model_dump(),
            arm=cell.arm,
            fraction=cell.fraction,
            draw=cell.draw,
            seed=cell_seed(self.plan["fit"]["seed"], cell.draw),
            plan_sha256=self.work.plan_sha256,
        )

    def init_sha256(self, cell: Cell) -> str | None:
        encoder = self.plan["arms"][cell.arm]["encoder"]
        return encoder["weights_sha256"] if encoder else None

    def _keep(
        self, cell: Cell, predictions: pd.DataFrame, run: RunFolder, tell: Tell
    ) -> pd.DataFrame:
        """Move the masks to the study, write the predictions, tell of it."""
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
        tell(ledger_event("file_written", self.paths.relative(path), sha256_file(path)))
        return predictions

    @cached_property
    def _probe_set(self) -> ProbeSet | None:
        from medssl.efficiency.representation import draw_probe_set

        development = self.cases[self.cases["role"] == "dev"]
        seed = int(self.plan["fit"]["seed"])
        return draw_probe_set(self.store, development, self.work.fit, self._model, seed)

    @property
    def _model(self) -> ModelConfig:
        fit = self.work.fit.model_dump() | {"model": self.plan["fit"]["model"]}
        model = FitConfig.model_validate(fit).model
        assert model is not None, "the plan names the network"
        return model

    def _record(
        self,
        cell: Cell,
        config: CellConfig,
        cases: pd.DataFrame,
        tuned: Tuned[CellCandidate],
        meter: Meter,
        seconds: float,
    ) -> dict[str, Any]:
        """What cell.json holds."""
        encoder = tuned.trained.encoder
        return {
            "schema": SCHEMA,
            **cell.facts,
            "seed": config.seed,
            "trials": [
                {
                    "setting": trial.setting,
                    "steps": trial.steps,
                    "selected_step": trial.selected_step,
                    "val": trial.value,
                    "seconds": trial.seconds,
                }
                for trial in tuned.trials
            ],
            "chosen": tuned.chosen,
            "setting": tuned.setting,
            "provenance": {**provenance(), **machine()},
            "fitted_on": fitted_on(config, cases),
            "cost": {"seconds": seconds, **meter.state_dict()},
            "representation": None if encoder is None else self._look_at(encoder, cases, config),
        }

    def _look_at(
        self, encoder: Encoder, cases: pd.DataFrame, config: CellConfig
    ) -> dict[str, Any] | None:
        """What cell.json holds of the encoder; None where there is no probe set."""
        from medssl.efficiency.representation import neighbours_auc

        if self._probe_set is None:
            return None
        figures: dict[str, Any] = _finite(self._probe_set.figures(encoder))
        if self.plan["task"]["kind"] == "classification":
            figures["knn"] = neighbours_auc(encoder, self.store, cases, config)
        return figures


@contextmanager
def _measured(run: RunFolder, share: float) -> Iterator[Meter]:
    """Measure what is done to a cell, with what was measured of it before it was cut short."""
    meter = Meter(share)
    kept = run.recall(_COST)
    if kept is not None:
        meter.load_state_dict(json.loads(kept))
    try:
        with meter:
            yield meter
    finally:
        run.remember(_COST, json.dumps(meter.state_dict()))


def settings_of(plan: Mapping[str, Any], cell: Cell) -> list[Setting]:
    """What a cell tries: one setting where nothing is trained or nothing validates."""
    if plan["arms"][cell.arm]["regime"] != "full":
        return [{}]
    settings: list[Setting] = plan["search"]["settings"]
    subset = next(
        s for s in plan["subsets"] if (s["fraction"], s["draw"]) == (cell.fraction, cell.draw)
    )
    return settings if subset["val_cases"] else settings[:1]


def steps_of(plan: Mapping[str, Any], cell: Cell) -> int:
    """Training steps of a cell, all trials together."""
    return int(plan["arms"][cell.arm]["steps"]) * len(settings_of(plan, cell))


def fitted_on(config: FitConfig, cases: pd.DataFrame) -> dict[str, str | None]:
    """The hash of the cases that each part of a cell was fitted on; null where it was on none.

    Intensities are normalised scan by scan.
    """
    uids = {part: sorted(rows["volume_uid"]) for part, rows in cases.groupby("split")}
    val = sha256_json(uids["val"]) if "val" in uids else None
    return {
        "normalisation": None,
        "tuning": val if config.regime.name == "full" else None,
        "weights": sha256_json(uids["train"]),
        "temperature": val if config.temperature_scaling else None,
    }


def ledger_event(
    event: str, path: str | None = None, sha256: str | None = None, **facts: Any
) -> dict[str, Any]:
    """An event for the ledger."""
    return {"kind": "ledger", "event": event, "path": path, "sha256": sha256, "facts": facts}


def metric_event(trial: int | None, step: int, values: Mapping[str, float]) -> dict[str, Any]:
    """An event for MLflow; NaN, which JSON does not have, is left out."""
    known = {name: float(value) for name, value in values.items() if math.isfinite(value)}
    return {"kind": "metrics", "trial": trial, "step": step, "metrics": known}


class _Story:
    """Tells of a cell's trials as they go."""

    def __init__(
        self,
        trainer: CellTrainer,
        cell: Cell,
        config: CellConfig,
        cases: pd.DataFrame,
        settings: list[Setting],
        tell: Tell,
    ) -> None:
        self._trainer, self._cell, self._config, self._tell = trainer, cell, config, tell
        self._subset_sha256 = subsets.subset_sha256(cases)
        self._alone = len(settings) == 1
        self.progress = StepCounter(tell)

    def started(self, trial: int, setting: Setting, run: RunFolder) -> MetricLog:
        steps = self._config.steps if self._config.regime.name == "full" else 0
        self.progress.begin(steps)
        self._tell(
            ledger_event(
                "training_started",
                **self._cell.facts,
                trial=trial,
                seed=self._config.seed,
                plan_sha256=self._config.plan_sha256,
                subset_sha256=self._subset_sha256,
                init_sha256=self._trainer.init_sha256(self._cell),
            )
        )
        if not self._alone:
            self._tell({"kind": "trial", "trial": trial, "setting": setting})
        return _ToldMetrics(self._tell, None if self._alone else trial)

    def finished(self, trial: int, trained: Candidate) -> None:
        outcome = trained.outcome
        self.progress.end()
        self._tell(
            ledger_event(
                "training_finished",
                cell=self._cell.name,
                trial=trial,
                plan_sha256=self._config.plan_sha256,
                steps=outcome.steps,
                weights_sha256=trained.weights_sha256,
                selected="last" if outcome.best_step is None else "best",
                val=trained.value,
            )
        )
        if not self._alone:
            figures = {"cost/seconds": outcome.seconds, "cost/steps": float(outcome.steps)}
            if trained.value is not None:
                figures["val/chosen_by"] = trained.value
            self._tell({"kind": "trial_end", "trial": trial, "figures": figures})

    def chosen(self, tuned: Tuned[CellCandidate]) -> None:
        """Only after this may the test set be looked at."""
        self._tell(
            ledger_event(
                "trial_chosen",
                cell=self._cell.name,
                trial=tuned.chosen,
                metric=self._config.selection_metric,
                values=[trial.value for trial in tuned.trials],
            )
        )
        weights = tuned.trained.weights_sha256
        self._tell(ledger_event("test_look", cell=self._cell.name, weights_sha256=weights))


class _ToldMetrics:
    """A `MetricLog` whose metrics are told."""

    def __init__(self, tell: Tell, trial: int | None) -> None:
        self._tell, self._trial = tell, trial

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._tell(metric_event(self._trial, step, metrics))


def _begun(config: CellConfig, cases: pd.DataFrame) -> dict[str, Any]:
    datasets = [
        [str(part), sha256_json(sorted(rows["volume_uid"])), len(rows)]
        for part, rows in cases.groupby("split")
    ]
    params = json.loads(config.model_dump_json(exclude={"init", "runtime"}))
    return {"kind": "cell", "params": params, "datasets": datasets}


def _figures(predictions: pd.DataFrame, record: Mapping[str, Any]) -> dict[str, float]:
    """The cell's figures for MLflow; also its summary."""
    test = all_metrics(predictions[predictions["split"] == "test"])
    figures = {f"test/{name}": value for name, value in test.items()}
    cost, seen = record["cost"], record["representation"] or {}
    figures |= cost_figures(cost)
    figures["cost/steps"] = float(sum(trial["steps"] for trial in record["trials"]))
    short = {"alignment": "align", "uniformity": "uniform"}
    figures |= {
        f"repr/{short.get(n, n)}": float(v) for n, v in seen.items() if isinstance(v, float)
    }
    return figures


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _forget_training_state(checkpoints: Path) -> None:
    """Of a cell that is done only the weights that predicted are kept."""
    for path in checkpoints.iterdir():
        if path.name == WEIGHTS:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
