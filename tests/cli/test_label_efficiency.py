"""What `medssl label-efficiency` says: the numbers of the plan, and the command that comes next."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from medssl.cli.main import app
from medssl.errors import ConfigError
from medssl.store.writer import create_store, write_part

CONFIG = """
store: {store}
arms: [scratch]
fractions: [0.5, 1.0]
draws: 2
test: {{fraction: 0.25, seed: 0, label: lesion}}
fit:
  task: {{name: classification, label: lesion}}
  model: {{name: segresnet, init_filters: 4, blocks_down: [1, 1]}}
  augment: {{patch: {{size: [16, 16, 16]}}}}
  steps: 2
metric: auc_macro
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A study of 40 patients whose scans have no voxels: enough to plan."""
    store = tmp_path / "store"
    create_store(store, "key-1", {})
    manifest, labels = [], []
    for number in range(40):
        uid, patient = (
            hashlib.sha256(f"{kind} {number}".encode()).hexdigest()[:32] for kind in "vp"
        )
        row = {"volume_uid": uid, "patient_key": patient}
        manifest.append({**row, "group_quality": "patient", "pixel_sha256": uid * 2})
        labels.append({**row, "name": "lesion", "kind": "class", "value": str(number % 2)})
    write_part(store, "manifest", "00000", manifest)
    write_part(store, "labels", "00000", labels)
    path = tmp_path / "study.yaml"
    path.write_text(CONFIG.format(store=store))
    return path


def test_plan_says_how_many_and_what_comes_next(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The scans have no voxels to train on: half a second a step is taken as found.
    found = SimpleNamespace(problem=None, step_s=0.5)
    monkeypatch.setattr("medssl.efficiency.estimate.try_out", lambda _: found)
    arguments = ["label-efficiency", "plan", str(config), "--out", str(tmp_path / "study")]
    arguments += ["--set", "draws=3"]
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "plan frozen: 6 cells; 10 test patients (10 cases), 30 for development" in said
    assert "50%: 15 patients, 15 labels" in said
    following = f"medssl label-efficiency run {config} --out {tmp_path / 'study'} --set draws=3"
    assert following in said
    again = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    for output in (said, again):
        assert output.count("With 10 test patients and 3 draws this study would find") == 1
    assert "of 0.5 s: about" in said
    assert said.splitlines()[-1] == f"plan:    {tmp_path / 'study' / 'plan.json'}"
    assert "plan was frozen already" in again


def test_analyze_before_plan_says_what_to_do(config: Path, tmp_path: Path) -> None:
    arguments = ["label-efficiency", "analyze", str(config), "--out", str(tmp_path / "study")]
    with pytest.raises(ConfigError, match="first: medssl label-efficiency plan"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
