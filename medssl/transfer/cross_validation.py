"""Cross-validation: every labelled patient is tested once, by a network that has not seen him.

Each fold is a run of its own in RUN/folds/k that resumes by itself. RUN/folds.parquet says who was
in which part of which fold, RUN/predictions.parquet holds the out-of-fold predictions of all cases,
and RUN/ensemble.json names the folds' networks for prediction on new scans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from medssl import tracking
from medssl.engine.run_folder import RunFolder
from medssl.progress import Progress
from medssl.report.cross_validation import write_cross_validation_report
from medssl.store import Store
from medssl.transfer.cases import describe_parts
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.ensemble import write_ensemble
from medssl.transfer.folds import cases_of_fold, keep_folds
from medssl.transfer.metrics import all_metrics, with_case_columns
from medssl.transfer.operating_point import with_operating_point
from medssl.transfer.predictions import write_predictions
from medssl.transfer.results import Results, results_of_test_part
from medssl.transfer.tracked import start_tracking
from medssl.transfer.tuned_fit import tuned_fit
from medssl.transfer.tuning import forget_trials


class FoldConfig(FinetuneConfig):
    """What decides one fold, kept in its folder."""

    fold: int = Field(ge=0, description="Number of the fold, from 0.")


@dataclass(frozen=True)
class FoldResult:
    """One fold that is done.

    Attributes:
        predictions: of its validation and test part; mask_path is relative to its own folder.
        summary: what its summary.json holds.
    """

    run: Path
    predictions: pd.DataFrame
    summary: dict[str, Any]

    @property
    def weights(self) -> Path:
        """The network that predicted."""
        return self.run / "checkpoints" / "model.safetensors"


def cross_validate(
    config: FinetuneConfig,
    store: Store,
    folds: pd.DataFrame,
    notes: list[str],
    run: RunFolder,
    progress: Progress,
) -> None:
    """Train and test every fold, judge the out-of-fold predictions, and mark the run as done.

    Args:
        folds: see `medssl.transfer.folds.deal_folds`.
        notes: what the reader was told of the cases; it goes to the report.

    Raises:
        ConfigError: the run was begun with other folds.
        CheckpointError, TrainingError: as `medssl.transfer.fit.fit`.
    """
    keep_folds(run.path / "folds.parquet", folds)
    everybody = cases_of_fold(folds, 0).assign(split="cross-validation")
    tracker = start_tracking("finetune", config, store, everybody, run)
    status = "FAILED"
    try:
        done = []
        for number in range(config.split.folds):
            progress.say(f"fold {number + 1} of {config.split.folds}")
            done.append(_fold(number, config, store, folds, run, tracker.run_id, progress))
        predictions = out_of_fold(done, run.path)
        results = results_of_test_part(store, folds, predictions)
        _write(config, store, notes, predictions, done, results, run, tracker)
        status = "FINISHED"
    finally:
        tracker.close(status)


def out_of_fold(done: list[FoldResult], root: Path) -> pd.DataFrame:
    """The test predictions of all folds in one frame, with the column `fold`.

    Paths of masks become relative to `root`. Where a fold's validation part chose no threshold,
    nothing is called positive or negative in any.
    """
    parts = []
    for number, fold in enumerate(done):
        part = fold.predictions[fold.predictions["split"] == "test"].copy()
        if "mask_path" in part:
            part["mask_path"] = f"{fold.run.relative_to(root).as_posix()}/" + part["mask_path"]
        part.insert(3, "fold", number)
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    # A fold whose validation part lacks a class has no threshold, so that not every case is called.
    return whole.drop(columns=[c for c in ("called",) if c in whole and whole[c].isna().any()])


def _fold(
    number: int,
    config: FinetuneConfig,
    store: Store,
    folds: pd.DataFrame,
    whole: RunFolder,
    parent_id: str,
    progress: Progress,
) -> FoldResult:
    """Train and test one fold; one that is done is read."""
    cases = cases_of_fold(folds, number)
    own = FoldConfig(**config.model_dump(), fold=number)
    run = RunFolder.open(whole.path / "folds" / str(number), own, "fold")
    try:
        predicted = run.path / "predictions.parquet"
        if not run.is_done:
            tracker = start_tracking("fold", config, store, cases, run, parent_id)
            status = "FAILED"
            try:
                tuned = tuned_fit(config, store, cases, run, tracker, progress)
                fitted = tuned.trained.predict_test(cases, run, progress)
                called = with_operating_point(fitted.predictions, fitted.threshold)
                frame = with_case_columns(called)
                write_predictions(predicted, frame)
                test = frame[frame["split"] == "test"]
                figures = {f"test/{name}": value for name, value in all_metrics(test).items()}
                cost = {"cost/seconds": tuned.seconds, "cost/steps": float(tuned.steps)}
                tracker.log(config.steps, {**figures, **cost})
                run.finish(
                    {
                        "metrics": {n: None if math.isnan(v) else v for n, v in figures.items()},
                        "seconds": tuned.seconds,
                        "steps": fitted.outcome.steps,
                        "selected_step": fitted.outcome.best_step or fitted.outcome.steps,
                        "parts": describe_parts(cases),
                        "load_report": fitted.load_report,
                        "calibration": fitted.calibration and fitted.calibration.as_dict(),
                        "told": fitted.told,
                        **tuned.record,
                    }
                )
                forget_trials(run)
                status = "FINISHED"
            finally:
                tracker.close(status)
        return FoldResult(run.path, pd.read_parquet(predicted), run.summary())
    finally:
        run.close()


def _write(
    config: FinetuneConfig,
    store: Store,
    notes: list[str],
    predictions: pd.DataFrame,
    done: list[FoldResult],
    results: Results,
    run: RunFolder,
    tracker: tracking.Tracker,
) -> None:
    """Predictions, ensemble, report and, last, the summary that says that the run is done."""
    written = [run.path / "predictions.parquet"]
    write_predictions(written[0], predictions)
    for name, table in results.tables().items():
        written.append(run.path / name)
        write_predictions(written[-1], table)
    written.append(write_ensemble(run.path, [fold.weights for fold in done]))
    written.append(
        write_cross_validation_report(run, config, store, notes, predictions, done, results)
    )
    for path in written:
        tracker.artifact(path)
    seconds = sum(fold.summary["seconds"] for fold in done)
    tracker.log(config.steps, {**results.figures(), "cost/seconds": seconds})
    lines = [*results.lines(), f"over {len(done)} folds: {spread_told(done, config)}"]
    for line in lines:
        run.log(f"out of fold: {line}")
    run.finish(
        {
            "metrics": results.summary(),
            "subgroups": [group.record() for group in results.subgroups],
            "seconds": seconds,
            "folds": [fold.summary for fold in done],
            "notes": notes,
            "lines": lines,
        }
    )


def spread_told(done: list[FoldResult], config: FinetuneConfig) -> str:
    """The primary metric of the folds: mean, lowest and highest, for a reader."""
    name = config.selection_metric
    values = [fold.summary["metrics"][f"test/{name}"] for fold in done]
    known = [value for value in values if value is not None]
    if not known:
        return f"{name} is defined in none"
    return f"{name} {sum(known) / len(known):.3f} on average, {min(known):.3f} to {max(known):.3f}"
