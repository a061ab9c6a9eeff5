"""A search: what is chosen, in which order things happen, and what a crash costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from medssl.config import dump_config, parse_config
from medssl.engine.loop import TrainOutcome
from medssl.engine.run_folder import RunFolder
from medssl.models.weights import read_metadata
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune
from medssl.transfer.tuning import best_of, forget_trials, tune


def configured(store: Path, task: str, **changes: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        "store": str(store),
        "task": {"name": "segmentation"}
        if task == "segmentation"
        else {"name": task, "label": "x"},
        "model": {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]},
        "augment": {
            "patch": {"size": [16, 16, 16], "spacing_mm": 1.2},
            "spatial": {"scale": [1.0, 1.0]},
        },
        "optim": {"lr": 0.01, "warmup_steps": 2},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 10, "log_every": 5},
        "steps": 40,
        "batch_size": 4,
        "validate_every": 20,
        "split": {"test": 0.3, "val": 0.2},
    }
    return parse_config(FinetuneConfig, {**values, **changes})


LR = "optim.lr"
SPACE = {"trials": 3, "space": {LR: [0.01, 1e-5, 1e-4]}}


@dataclass
class Told:
    """A trial's outcome that notes whoever looks at it."""

    value: float | None
    weights_sha256: str
    log: list[str]
    outcome: TrainOutcome = TrainOutcome(4, 1.0, 2, None)  # noqa: RUF009


class Pretended:
    """Pretends to train; `values` by learning rate. Also the listener."""

    def __init__(self, values: dict[float, float | None]) -> None:
        self.values, self.log = values, list[str]()

    def __call__(self, config: Any, store: Any, cases: Any, run: Any, *_: Any) -> Told:
        self.log.append(f"train {config.optim.lr:g}")
        (run.checkpoints / "model.safetensors").write_text(f"{config.optim.lr:g}")
        return Told(self.values[config.optim.lr], f"w{config.optim.lr:g}", self.log)

    def started(self, trial: int, setting: Any, run: Any) -> None:
        self.log.append(f"started {trial}")

    def finished(self, trial: int, trained: Any) -> None:
        self.log.append(f"finished {trial}")


def searched(values: dict[float, float | None], folder: Path) -> tuple[Any, Pretended]:
    config = configured(Path("nowhere"), "classification")
    run = RunFolder.open(folder, config, "finetune")
    fake = Pretended(values)
    settings = [{LR: lr} for lr in values]
    tuned = tune(fake, config, settings, None, pd.DataFrame(), run, fake, None, 0)  # type: ignore[arg-type]
    run.close()
    return tuned, fake


def test_the_planted_best_setting_is_chosen_once_all_are_trained(tmp_path: Path) -> None:
    tuned, fake = searched({1e-3: 0.6, 1e-2: 0.9, 1e-1: 0.7}, tmp_path / "run")
    assert tuned.chosen == 1
    assert tuned.setting == {LR: 1e-2}
    assert tuned.trained.weights_sha256 == "w0.01"
    assert [trial.value for trial in tuned.trials] == [0.6, 0.9, 0.7]
    assert [line for line in fake.log if not line.startswith("train")] == [
        f"{what} {trial}" for trial in range(3) for what in ("started", "finished")
    ]
    assert (tmp_path / "run" / "checkpoints" / "model.safetensors").read_text() == "0.01"
    assert (tuned.seconds, tuned.steps) == (3.0, 12), "of all trials"


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([0.5, 0.7, 0.7], 1),
        ([0.7, 0.7, 0.7], 0),
        ([None, 0.2, 0.1], 1),
        ([None, None], 0),
        ([-1.0, -0.5], 1),
        ([0.3], 0),
    ],
)
def test_ties_go_to_the_earlier(values: list[float | None], chosen: int) -> None:
    assert best_of(values) == chosen


def test_a_single_setting_is_trained_in_the_run_itself(tmp_path: Path) -> None:
    tuned, fake = searched({1e-2: None}, tmp_path / "run")
    assert tuned.chosen == 0
    assert fake.log.count("train 0.01") == 1
    assert not (tmp_path / "run" / "trials").exists()


def test_forgetting_leaves_the_trials_logs(tmp_path: Path) -> None:
    searched({1e-3: 0.6, 1e-2: 0.9}, tmp_path)
    forget_trials(SimpleNamespace(path=tmp_path))  # type: ignore[arg-type]
    assert not list(tmp_path.glob("trials/*/checkpoints"))
    assert len(list(tmp_path.glob("trials/*/config.yaml"))) == 2
    assert (tmp_path / "checkpoints" / "model.safetensors").is_file()


def test_finetune_predicts_with_the_setting_that_validated_best(
    ball_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learning rates that hardly move the weights lose, and test cases are predicted once."""
    looks = []
    from medssl.transfer import fit as fit_module

    predict = fit_module._predict

    def noted(task: Any, cases: Any, part: str, run: Any, progress: Any) -> pd.DataFrame:
        looks.append((part, run.path.name))
        return predict(task, cases, part, run, progress)

    monkeypatch.setattr(fit_module, "_predict", noted)
    search = {"trials": 2, "space": {LR: [0.01], "batch_size": [4]}}
    slow = {"lr": 1e-5, "warmup_steps": 2}
    config = configured(ball_store, "segmentation", optim=slow, batch_size=2, search=search)
    result = finetune(config, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    lrs = [trial["setting"][LR] for trial in summary["trials"]]
    assert lrs[0] == 1e-5
    assert lrs[summary["chosen"]] == 0.01
    values = [trial["value"] for trial in summary["trials"]]
    assert max(values) == values[summary["chosen"]] > values[0]
    assert looks[-1] == ("test", "run")
    assert [part for part, _ in looks].count("test") == 1
    frame = pd.read_parquet(result.predictions)
    val = frame[frame["split"] == "val"]
    assert val["dice_1"].mean() == pytest.approx(values[summary["chosen"]])
    # The same as a training with this setting and no search.
    alone = configured(ball_store, "segmentation", optim={"lr": 0.01, "warmup_steps": 2})
    plain = finetune(alone, tmp_path / "plain")
    assert (
        read_metadata(plain.model)["weights_sha256"]
        == read_metadata(result.model)["weights_sha256"]
    )
    assert result.seconds == sum(trial["seconds"] for trial in summary["trials"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{summary['chosen']}, chosen" in page
    assert "at most 40 steps of 4 patches" in page
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    parent = client.get_run((tmp_path / "run" / ".mlflow_run").read_text())
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    assert {c.info.run_name: c.data.params[LR] for c in children} == {
        f"trial/{number}": str(lr) for number, lr in enumerate(lrs)
    }
    assert {c.info.status for c in children} == {"FINISHED"}
    assert all(c.data.metrics["train/loss"] > 0 for c in children)


_RUN = """
import sys
from pathlib import Path
from medssl.config import load_config
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune
finetune(load_config(FinetuneConfig, Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_killed_within_a_trial_the_search_ends_with_the_same_bits(
    ball_store: Path, tmp_path: Path
) -> None:
    config = configured(
        ball_store,
        "segmentation",
        search=SPACE,
        steps=20,
        validate_every=10,
        runtime={"num_workers": 0, "threads": 1, "checkpoint_every": 1, "log_every": 1},
    )
    whole = finetune(config, tmp_path / "whole")
    written = tmp_path / "config.yaml"
    written.write_text(dump_config(config))
    assert parse_config(FinetuneConfig, json.loads(config.model_dump_json())) == config
    broken = tmp_path / "broken"
    child = subprocess.Popen([sys.executable, "-c", _RUN, str(written), str(broken)])
    state = broken / "trials" / "1" / "metrics.jsonl"
    try:
        deadline = time.monotonic() + 200
        while not (state.is_file() and len(state.read_text().splitlines()) >= 3):
            assert child.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert not (broken / "summary.json").exists()
    resumed = finetune(config, broken)
    assert "resumed at step" in (broken / "trials" / "1" / "run.log").read_text()
    assert resumed.model.read_bytes() == whole.model.read_bytes()
    left, right = (pd.read_parquet(r.predictions) for r in (resumed, whole))
    pd.testing.assert_frame_equal(left, right, check_exact=True)
