"""The MLflow run of a fine-tuning: its parameters, data, initial weights, and its trials."""

from __future__ import annotations

import pandas as pd

from medssl import tracking
from medssl.config import without_paths
from medssl.engine.run_folder import RunFolder
from medssl.models.weights import read_metadata
from medssl.progress import Progress
from medssl.store import Store
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.digests import data_digests
from medssl.transfer.initial import weights_file
from medssl.transfer.tuning import Candidate
from medssl.transfer.tuning_config import Setting


def start_tracking(
    stage: str,
    config: FinetuneConfig,
    store: Store,
    cases: pd.DataFrame,
    run: RunFolder,
    parent_id: str | None = None,
) -> tracking.Tracker:
    """Begin the run's MLflow run or take it up again, and record who is in which part.

    Args:
        cases: volume_uid and split.
        parent_id: of the cross-validation that a fold belongs to.
    """
    tags = {}
    if config.init is not None:
        weights = read_metadata(weights_file(config.init)).get("weights_sha256", "")
        tags["medssl.initial_weights_sha256"] = weights
    tracker = tracking.start(
        stage,
        run.path.name if parent_id is None else f"fold {run.path.name}",
        without_paths(config),
        tags,
        run_id=run.recall("mlflow_run"),
        parent_id=parent_id,
        system_metrics=parent_id is None,
    )
    run.remember("mlflow_run", tracker.run_id)
    for part, digest in data_digests(store, cases, config.channels).items():
        tracker.dataset(part, digest, int((cases["split"] == part).sum()), context=part)
    return tracker


class TrackedTrials:
    """Gives each trial of a search a run of its own, trial/i, below that of the fine-tuning.

    Args:
        alone: there is a single setting, whose metrics are the fine-tuning's own.
    """

    def __init__(self, parent: tracking.Tracker, alone: bool, progress: Progress) -> None:
        self._parent, self._alone, self._progress = parent, alone, progress
        self._tracker: tracking.Tracker | None = None

    def started(self, trial: int, setting: Setting, run: RunFolder) -> tracking.Tracker:
        """See `medssl.transfer.tuning.Listener`."""
        if self._alone:
            return self._parent
        shown = ", ".join(f"{key}={value}" for key, value in setting.items())
        self._progress.say(f"trial {trial}: {shown}")
        self._tracker = tracking.start(
            "trial",
            f"trial/{trial}",
            setting,
            run_id=run.recall("mlflow_run"),
            parent_id=self._parent.run_id,
        )
        run.remember("mlflow_run", self._tracker.run_id)
        return self._tracker

    def finished(self, trial: int, trained: Candidate) -> None:
        """See `medssl.transfer.tuning.Listener`."""
        if self._tracker is None:
            return
        outcome = trained.outcome
        figures = {"cost/seconds": outcome.seconds, "cost/steps": float(outcome.steps)}
        if trained.value is not None:
            figures["val/chosen_by"] = trained.value
        self._tracker.log(outcome.steps, figures)
        self._tracker.close()
        self._tracker = None

    def failed(self) -> None:
        """Whatever trial was under way came to nothing."""
        if self._tracker is not None:
            self._tracker.close("FAILED")
