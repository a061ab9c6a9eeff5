"""The study's run in MLflow, where MLflow can be asked: the root it has, the verdict it gets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medssl.audit.result import AuditResult
from medssl.audit.study_files import PLAN, DamagedFile, StudyFiles
from medssl.tracking import EXPERIMENT

RUN_FILE = ".mlflow_run"
ROOT_TAG = "ledger_root"
PLAN_TAG = "plan_sha256"
STATUS_TAG = "audit_status"

_IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def mlflow_root(study: StudyFiles) -> str | None:
    """The tag `ledger_root` of the study's run; None where nobody can say.

    Asks the server of MLFLOW_TRACKING_URI, or the database `mlflow.db` in the folder where one
    works; never makes one. A machine without MLflow, or with another database, knows nothing.
    """
    with _run_of(study) as (_, run):
        tag = None if run is None else run.data.tags.get(ROOT_TAG)
    return None if tag is None else str(tag)


def record_verdict(result: AuditResult) -> str:
    """Set the tag `audit_status` of the study's run, where it is of this plan; what came of it.

    Never raises: the record is a convenience, the audit does not depend on it.
    """
    status = f"{result.verdict} ({result.exit_code})"
    try:
        study = StudyFiles(result.study)
        with _run_of(study) as (client, run):
            if run is None:
                return "no tracking database here knows this study"
            if not study.has(PLAN) or run.data.tags.get(PLAN_TAG) != study.sha256(PLAN):
                return "the study's run there is of another plan, and was left alone"
            client.set_tag(run.info.run_id, STATUS_TAG, status)
    except Exception as error:
        return f"the verdict could not be recorded ({type(error).__name__})"
    return f"{STATUS_TAG} = {status}"


@contextmanager
def _run_of(study: StudyFiles) -> Iterator[tuple[Any, Any]]:
    """A client with the run that `.mlflow_run` names, else with the one of the study's plan.

    (None, None) where nobody knows it.
    """
    told = {name: os.environ.get(name) for name in _IMPATIENT}
    os.environ.update({n: v for n, v in _IMPATIENT.items() if told[n] is None})
    try:
        yield _ask(study)
    finally:
        for name in (name for name in _IMPATIENT if told[name] is None):
            os.environ.pop(name, None)


def _ask(study: StudyFiles) -> tuple[Any, Any]:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    database = uri.removeprefix("sqlite:///")
    if database != uri and not Path(database).is_file():
        return None, None
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        return None, None
    try:
        client = MlflowClient(tracking_uri=uri)
        return client, _find(client, study)
    except (MlflowException, DamagedFile, OSError):
        return None, None


def _find(client: Any, study: StudyFiles) -> Any:
    if study.has(RUN_FILE):
        run_id = (study.root / RUN_FILE).read_text(encoding="utf-8", errors="replace").strip()
        return client.get_run(run_id) if re.fullmatch(r"[0-9a-f]{32}", run_id) else None
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None or not study.has(PLAN):
        return None
    of_plan = f"tags.{PLAN_TAG} = '{study.sha256(PLAN)}' and tags.`medssl.stage` = 'study'"
    found = client.search_runs([experiment.experiment_id], of_plan, max_results=1)
    return found[0] if found else None
