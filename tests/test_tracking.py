"""The record in MLflow, on a real database."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl import tracking


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return tmp_path


def test_a_run_holds_what_was_told_and_resumes_without_doubles(workspace: Path) -> None:
    from mlflow import MlflowClient

    parent = tracking.start("study", "le/1", {"a": {"b": 1}}, {"medssl.schema": "1"})
    run = tracking.start("cell", "scratch", {"lr": 0.1}, parent_id=parent.run_id)
    run.log(10, {"train/loss": 1.0})
    run.log(20, {"train/loss": 0.5, "val/auc": float("nan")})
    run.close("KILLED")

    again = tracking.start("cell", "scratch", {}, run_id=run.run_id)
    again.log(20, {"train/loss": 0.5})
    again.log(30, {"train/loss": 0.25})
    again.dataset("train", "ab" * 32, 7)
    page = workspace / "report.html"
    page.write_text("<p>")
    again.artifact(page)
    again.close()

    client = MlflowClient(tracking_uri=f"sqlite:///{workspace / 'mlflow.db'}")
    stored = client.get_run(run.run_id)
    assert again.run_id == run.run_id
    assert stored.info.status == "FINISHED"
    history = client.get_metric_history(run.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(10, 1.0), (20, 0.5), (30, 0.25)]
    assert stored.data.params == {"lr": "0.1"}
    assert stored.data.tags["mlflow.parentRunId"] == parent.run_id
    assert stored.data.tags["medssl.dataset.train"] == "ab" * 32
    assert stored.inputs.dataset_inputs[0].dataset.digest == "ab" * 16
    assert [f.path for f in client.list_artifacts(run.run_id)] == ["report.html"]
    assert client.get_run(parent.run_id).data.params == {"a.b": "1"}
    # Nothing that names the machine's user or the program's path.
    assert not {"mlflow.user", "mlflow.source.name"} & set(stored.data.tags)


def test_a_run_that_is_gone_is_begun_anew(workspace: Path) -> None:
    run = tracking.start("pretrain", "x", {}, run_id="0" * 32)
    run.close()
    assert run.run_id != "0" * 32
