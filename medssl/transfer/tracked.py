"""The MLflow run of a fine-tuning: its parameters, its data, and the weights it starts from."""

from __future__ import annotations

import pandas as pd

from medssl import tracking
from medssl.config import without_paths
from medssl.engine.run_folder import RunFolder
from medssl.models.weights import read_metadata
from medssl.store import Store
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.digests import data_digests
from medssl.transfer.initial import weights_file


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
