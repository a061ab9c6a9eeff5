"""The record in MLflow.

By default a SQLite database `mlflow.db` in the folder where one works; a server by
MLFLOW_TRACKING_URI. Runs are made through the client alone, so that MLflow adds no tag of its own
(source path, user name). One process writes; metrics are buffered and sent in batches, since a
single call can stall for seconds.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

EXPERIMENT = "medssl"
_FLUSH_EVERY_S = 15.0
_BATCH = 900  # MLflow takes at most 1000 metrics a call


class MetricLog(Protocol):
    """What a training needs of a `Tracker`."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take metrics of a step."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite database of the folder where one works."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def start(
    stage: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
    parent_id: str | None = None,
    system_metrics: bool = False,
) -> Tracker:
    """Begin a run, or take up the run `run_id` where it is still there.

    Args:
        stage: pretrain, finetune, study, cell, audit or export; kept as the tag medssl.stage.
        params: nested mappings become dotted names; values of the run's configuration.
        parent_id: the run that this one is shown under.
        system_metrics: also record the machine's processor, memory and disk every ten seconds.
    """
    client = _client()
    resumed = _find(client, run_id)
    if resumed is None:
        all_tags = {
            "mlflow.runName": name,
            "medssl.stage": stage,
            **(tags or {}),
            **({"mlflow.parentRunId": parent_id} if parent_id else {}),
        }
        run = client.create_run(_experiment_id(client), tags=all_tags, run_name=name)
        tracker = Tracker(client, run.info.run_id, {})
        tracker.params(params)
    else:
        client.update_run(resumed.info.run_id, status="RUNNING")
        last = {metric.key: metric.step for metric in resumed.data._metric_objs}
        tracker = Tracker(client, resumed.info.run_id, last)
    if system_metrics:
        tracker.watch_system()
    return tracker


class Tracker:
    """One MLflow run, made by `start`. A metric of a step that is there is not sent twice."""

    def __init__(self, client: Any, run_id: str, last_steps: dict[str, int]) -> None:
        self.run_id = run_id
        self._client = client
        self._last_steps = last_steps
        self._waiting: list[Any] = []
        self._flushed = time.monotonic()
        self._monitor: Any = None

    def params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings become dotted names."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)[:6000]) for key, value in _flatten(params).items()]
        for begin in range(0, len(flat), 100):
            self._client.log_batch(self.run_id, params=flat[begin : begin + 100])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Queue metrics; they are sent every fifteen seconds and at `close`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for key, value in metrics.items():
            if step > self._last_steps.get(key, -1) and not math.isnan(value):
                self._waiting.append(Metric(key, float(value), now, step))
                self._last_steps[key] = step
        if time.monotonic() - self._flushed > _FLUSH_EVERY_S or len(self._waiting) > _BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what waits. A database that does not answer costs no training: it is tried again."""
        self._flushed = time.monotonic()
        while self._waiting:
            batch = self._waiting[:_BATCH]
            try:
                self._client.log_batch(self.run_id, metrics=batch)
            except Exception as error:
                warnings.warn(f"MLflow did not take metrics: {type(error).__name__}", stacklevel=2)
                return
            del self._waiting[: len(batch)]

    def tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self._client.set_tag(self.run_id, key, value)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file to the run's artifacts."""
        self._client.log_artifact(self.run_id, str(path), folder or None)

    def dataset(self, name: str, digest: str, rows: int, context: str = "training") -> None:
        """Record what the run was fed: the SHA-256 of the list of volumes, whole in a tag.

        MLflow shortens a digest to 36 characters, so the first 32 go there.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:32],
            source_type="local",
            source="{}",
            profile=f'{{"num_volumes": {rows}}}',
        )
        tags = [InputTag("mlflow.data.context", context)]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])
        self.tag(f"medssl.dataset.{name}", digest)

    def watch_system(self) -> None:
        """Record processor, memory and disk until `close`."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(
            self.run_id, resume_logging=True, tracking_uri=tracking_uri()
        )
        self._monitor.start()

    def close(self, status: str = "FINISHED") -> None:
        """Send what waits and end the run: FINISHED, FAILED or KILLED."""
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        self.flush()
        self._client.set_terminated(self.run_id, status)


def _client() -> Any:
    """A client of a database that exists: processes that make one together break its migration."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import logging

    from mlflow import MlflowClient

    # After the import, which sets levels of its own.
    for noisy in ("mlflow", "mlflow.system_metrics.system_metrics_monitor", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return MlflowClient(tracking_uri=uri)
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = MlflowClient(tracking_uri=uri)
        client.get_experiment_by_name(EXPERIMENT)
        return client


def _experiment_id(client: Any) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return str(experiment.experiment_id)
    uri = tracking_uri()
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=location))
    except MlflowException:
        # Another process made it in the meantime.
        return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _find(client: Any, run_id: str | None) -> Any:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        return client.get_run(run_id)
    except MlflowException:
        return None


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
