"""The MLflow run of a fine-tuning: its parameters, its data, and the weights it starts from."""

from __future__ import annotations

import hashlib

import pandas as pd

from medssl import tracking
from medssl.engine.run_folder import RunFolder
from medssl.models.weights import read_metadata
from medssl.store import Store
from medssl.transfer.config import FinetuneConfig
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
        config.model_dump(mode="json", exclude={"store", "init"}),
        tags,
        run_id=run.recall("mlflow_run"),
        parent_id=parent_id,
        system_metrics=parent_id is None,
    )
    run.remember("mlflow_run", tracker.run_id)
    for part, rows in cases.groupby("split"):
        pixels = store.manifest.loc[rows["volume_uid"], "pixel_sha256"]
        listed = "\n".join(sorted(pixels.index + " " + pixels))
        digest = hashlib.sha256(listed.encode()).hexdigest()
        tracker.dataset(str(part), digest, len(rows), context=str(part))
    return tracker
