"""The ledger's root as MLflow remembers it, where MLflow can be asked."""

from __future__ import annotations

import os
import re
from pathlib import Path

from medssl.audit.study_files import StudyFiles

RUN_FILE = ".mlflow_run"
TAG = "ledger_root"


def mlflow_root(study: StudyFiles) -> str | None:
    """The tag `ledger_root` of the study's run; None where nobody can say.

    Asks the server of MLFLOW_TRACKING_URI, or the database `mlflow.db` in the folder where one
    works; never makes one. A machine without MLflow, or with another database, knows nothing.
    """
    if not study.has(RUN_FILE):
        return None
    run_id = (study.root / RUN_FILE).read_text(encoding="utf-8", errors="replace").strip()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    database = uri.removeprefix("sqlite:///")
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        return None
    if database != uri and not Path(database).is_file():
        return None
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        return None
    try:
        tag = MlflowClient(tracking_uri=uri).get_run(run_id).data.tags.get(TAG)
    except (MlflowException, OSError):
        return None
    return None if tag is None else str(tag)
