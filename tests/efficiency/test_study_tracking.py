"""What MLflow is told of a study: a parent with the curve, a child for each cell."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study

Make = Callable[..., StudyConfig]


def test_mlflow_has_the_parent_with_its_curve_and_a_child_for_each_cell(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    study = tmp_path / "study"
    config = make_config(draws=2, fractions=[0.5, 1.0])
    run_study(config, study, train=fake_train)
    result = analyse_study(config, study)
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    parent = client.get_run((study / ".mlflow_run").read_text())
    plan_hash = sha256_file(study / "plan.json")
    assert parent.info.run_name == f"le/{plan_hash[:8]}"
    assert parent.data.tags["plan_sha256"] == plan_hash
    assert parent.data.tags["ledger_root"] == result.ledger_root
    assert result.ledger_root in (study / "report.html").read_text()
    analysis = json.loads((study / "analysis.json").read_bytes())
    history = client.get_metric_history(parent.info.run_id, "curve/ssl_ft/auc_macro")
    expected = [p for p in analysis["curve"] if p["arm"] == "ssl_ft"]
    assert [(m.step, m.value) for m in history] == [
        (round(p["labels"]), pytest.approx(p["mean"])) for p in expected
    ]
    assert {"curve/ssl_ft/auc_macro_lo", "le/delta/0.5", "le/mdd/1", "le/aulc/scratch"} <= set(
        parent.data.metrics
    )
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    assert {c.info.run_name for c in children} == {
        f"{arm}|{f}|{d}" for arm in ("scratch", "ssl_ft") for f in ("0.5", "1") for d in range(2)
    }
    assert {"test/auc_macro", "test/brier", "cost/seconds"} <= set(children[0].data.metrics)
    assert {d.dataset.name for d in children[0].inputs.dataset_inputs} >= {"train", "test"}
