"""The root that MLflow remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medssl.audit.anchor import mlflow_root, record_verdict
from medssl.audit.checks import ledger
from medssl.audit.result import Status
from medssl.audit.study_files import StudyFiles
from medssl.efficiency.canonical import sha256_file


def test_root_in_mlflow_is_the_anchor(study: Any) -> None:
    from mlflow import MlflowClient

    from medssl.tracking import tracking_uri

    client = MlflowClient(tracking_uri=tracking_uri())
    run = client.create_run("0").info.run_id
    (study.root / ".mlflow_run").write_text(run)
    client.set_tag(run, "ledger_root", study.lines()[-1]["this"])
    assert study.check(ledger.CHECK).status is Status.PASS
    lines = study.lines()
    lines[20]["utc"] = "2020-01-01T00:00:00.000Z"
    study.forge(lines)
    finding = study.check(ledger.CHECK)
    assert finding.status is Status.FAIL
    assert "the tag in MLflow" in finding.observed


def test_the_run_of_the_plan_gets_the_verdict(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from medssl import tracking

    monkeypatch.setattr("medssl.audit.page.write_audit_page", lambda *_: None)
    result = study.audit()
    assert "no tracking database here knows" in record_verdict(result)
    tags = {"plan_sha256": sha256_file(study.root / "plan.json"), "audit_status": "not audited"}
    run = tracking.start("study", "le/x", {}, tags)
    run.close("FINISHED")
    assert record_verdict(result) == "audit_status = SUPPORTED (0)"
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.tracking_uri())
    assert client.get_run(run.run_id).data.tags["audit_status"] == "SUPPORTED (0)"
    client.set_tag(run.run_id, "plan_sha256", "0" * 64)
    (study.root / ".mlflow_run").write_text(run.run_id)
    assert "of another plan" in record_verdict(result)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    assert "no tracking database" in record_verdict(result) or "not be" in record_verdict(result)


@pytest.mark.parametrize("run", ["none", "../../etc", "0" * 32])
def test_a_machine_that_knows_nothing_of_the_run_has_no_anchor(
    study: Any, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    (study.root / ".mlflow_run").write_text(run)
    assert mlflow_root(StudyFiles(study.root)) is None
    assert not database.exists()
    assert study.check(ledger.CHECK).status is Status.NOTE
