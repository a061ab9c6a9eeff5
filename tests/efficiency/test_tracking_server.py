"""The record of studies on a real MLflow server, while others write to it too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study

from .tracking_servers import postgresql_server, sqlite_server

pytestmark = pytest.mark.slow

_OTHERS = 4
_CHILDREN = 3
_STEPS = (10, 20, 40)

# What another study's parent does, in a process of its own.
_OTHER = """
import json
import sys
from pathlib import Path
from medssl import tracking

number, folder = sys.argv[1], Path(sys.argv[2])
children, steps = json.loads(sys.argv[3])
tags = {"plan_sha256": number * 64, "audit_status": "not audited"}
parent = tracking.start("study", f"le/{number * 8}", {"draws": 3}, tags)
for draw in range(children):
    name = f"scratch|0.1|{draw}"
    child = tracking.start("cell", name, {"lr": 0.1}, {**tags, "arm": "scratch"},
                           parent_id=parent.run_id)
    child.dataset("train", number * 64, 7)
    for step in steps:
        child.log(step, {"train/loss": 1 / step})
    child.close()
for step in steps:
    parent.log(step, {"curve/scratch/auc_macro": step / 100})
page = folder / f"report-{number}.html"
page.write_text("<p>")
parent.artifact(page)
parent.tag("ledger_root", number * 64)
parent.close()
"""


@pytest.fixture(params=[sqlite_server, postgresql_server], ids=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    with request.param(tmp_path) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url


def test_a_study_is_found_by_its_tags_while_four_others_write(
    server: str, make_config: Callable[..., StudyConfig], tmp_path: Path, fake_train: Any
) -> None:
    work = json.dumps([_CHILDREN, _STEPS])
    others = [
        subprocess.Popen(
            [sys.executable, "-c", _OTHER, str(number), str(tmp_path), work], env=dict(os.environ)
        )
        for number in range(1, _OTHERS + 1)
    ]
    study = tmp_path / "study"
    config = make_config(draws=2, fractions=[0.5, 1.0])
    run_study(config, study, train=fake_train)
    result = analyse_study(config, study)
    assert [other.wait(600) for other in others] == [0] * _OTHERS

    client = MlflowClient(tracking_uri=server)
    experiments = client.search_experiments(filter_string="name = 'medssl'")
    assert len(experiments) == 1  # five processes that made it at once made one

    def found(condition: str) -> list[Any]:
        return list(client.search_runs([experiments[0].experiment_id], condition))

    plan_hash = sha256_file(study / "plan.json")
    (parent,) = found(f"tags.ledger_root = '{result.ledger_root}'")
    assert parent.info.run_name == f"le/{plan_hash[:8]}"
    assert len(found(f"tags.plan_sha256 = '{plan_hash}'")) == 1 + 8
    cells = found(f"tags.plan_sha256 = '{plan_hash}' and tags.arm = 'ssl_ft'")
    assert sorted(c.info.run_name for c in cells) == [
        "ssl_ft|0.5|0",
        "ssl_ft|0.5|1",
        "ssl_ft|1|0",
        "ssl_ft|1|1",
    ]
    assert len(found("tags.arm = 'ssl_ft' and tags.fraction = '0.5' and tags.draw = '1'")) == 1
    analysis = json.loads((study / "analysis.json").read_bytes())
    for arm in ("scratch", "ssl_ft"):
        history = client.get_metric_history(parent.info.run_id, f"curve/{arm}/auc_macro")
        points = [p for p in analysis["curve"] if p["arm"] == arm]
        assert [(m.step, m.value) for m in history] == [
            (round(p["labels"]), pytest.approx(p["mean"])) for p in points
        ]
    held = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "analysis.json", "plan.json", "ledger.jsonl", "curve.png"} <= held

    for number in range(1, _OTHERS + 1):
        (other,) = found(f"tags.ledger_root = '{str(number) * 64}'")
        history = client.get_metric_history(other.info.run_id, "curve/scratch/auc_macro")
        assert [(m.step, m.value) for m in history] == [(s, s / 100) for s in _STEPS]
        children = found(f"tags.`mlflow.parentRunId` = '{other.info.run_id}'")
        assert len(children) == _CHILDREN
        for child in children:
            assert child.info.status == "FINISHED"
            (used,) = child.inputs.dataset_inputs
            assert used.dataset.digest == str(number) * 32
            assert child.data.tags["medssl.dataset.train"] == str(number) * 64
