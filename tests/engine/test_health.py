"""Runs that are set up to collapse, and healthy ones, trained for real on a tiny store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch.nn.functional as F
import yaml
from torch import Tensor

from medssl import tracking
from medssl.augment.batch import Batch
from medssl.engine.config import PretrainConfig
from medssl.engine.distributed import PATIENCE
from medssl.engine.health_alarms import judge, looks_of
from medssl.engine.pretrain import pretrain
from medssl.errors import CollapseError
from medssl.methods.catalogue import METHODS
from medssl.methods.simclr import SimCLR

WriteConfig = Callable[..., Path]
LAST = Path("checkpoints") / "last.safetensors"
ABSURD = {"name": "simclr", "hidden_dim": 32, "temperature": 1000.0}
OFTEN = {"every": 25}


@pytest.fixture
def load(write_config: WriteConfig) -> Callable[..., PretrainConfig]:
    """load(method, **overrides): the configuration itself, whatever is overridden."""

    def loaded(method: str, /, **overrides: Any) -> PretrainConfig:
        written = yaml.safe_load(write_config(method, checkpoint_every=100).read_text())
        return PretrainConfig(**{**written, **overrides})

    return loaded


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def in_mlflow(out: Path) -> Any:
    run_id = (out / ".mlflow_run").read_text()
    return tracking._client().get_run(run_id)


def test_an_absurd_temperature_is_stopped_by_an_alarm_that_names_it(
    tmp_path: Path, load: Callable[..., PretrainConfig]
) -> None:
    config = load("simclr", method=ABSURD, health=OFTEN, steps=200)
    out = tmp_path / "run"
    with pytest.raises(CollapseError, match=r"loss at chance at step \d+") as stopped:
        pretrain(config, out)
    assert stopped.value.exit_code == 1
    assert "method.temperature" in str(stopped.value)
    # Two looks in a row, after the warm-up (5 steps), a fifth of the run (40) and 100 steps.
    assert [row["step"] for row in looks_of(metrics(out))] == [0, 25, 50, 75, 100, 125]
    assert "Collapsed: loss at chance at step 125" in (out / "report.html").read_text()
    assert "loss at chance at step 125" in (out / "run.log").read_text()
    assert not (out / "summary.json").exists()
    run = in_mlflow(out)
    assert run.info.status == "FAILED"
    assert run.data.tags["medssl.alarm"] == "loss at chance"
    assert run.data.metrics["health/rank"] == looks_of(metrics(out))[-1]["health/rank"]

    # The same command says the same at once, and leaves all as it is.
    report = (out / "report.html").stat().st_mtime_ns
    with pytest.raises(CollapseError) as again:
        pretrain(config, out)
    assert str(again.value) == str(stopped.value)
    assert (out / "report.html").stat().st_mtime_ns == report
    assert len(looks_of(metrics(out))) == 6


class Siamese(SimCLR):
    """Two crops attract, nothing repels, no gradient is stopped: all crops on a point is best."""

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        embedded = self.encoder.embed(batch["image"].flatten(0, 1))
        projected = F.normalize(embedded.float(), dim=1)
        return {"loss": (projected[0::2] - projected[1::2]).square().sum(1).mean()}


def test_no_stopped_gradient_and_no_negatives_is_a_complete_collapse(
    tmp_path: Path, load: Callable[..., PretrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "simclr", Siamese)
    optim = {"lr": 1e-2, "warmup_steps": 5}
    config = load("simclr", health=OFTEN, optim=optim, steps=200)
    with pytest.raises(CollapseError, match="complete collapse at step"):
        pretrain(config, tmp_path / "run")
    last = looks_of(metrics(tmp_path / "run"))[-1]
    assert last["step"] < 200
    assert last["health/uniformity"] > -0.005


@pytest.mark.parametrize("method", ["mae", "simclr", "moco", "hybrid"])
def test_a_healthy_run_is_not_stopped(
    tmp_path: Path, load: Callable[..., PretrainConfig], striped_store: Path, method: str
) -> None:
    config = load(method, store=striped_store, health=OFTEN, steps=150)
    result = pretrain(config, tmp_path / "run")
    rows = metrics(result.run)
    assert [row["step"] for row in looks_of(rows)] == list(range(0, 151, 25))
    assert judge(rows, 5, 150) is None
    assert "No sign of collapse in 7 looks" in (result.run / "report.html").read_text()
    assert in_mlflow(result.run).info.status == "FINISHED"


def test_a_run_that_is_not_to_stop_goes_on_and_says_so(
    tmp_path: Path, load: Callable[..., PretrainConfig]
) -> None:
    health = {"every": 25, "stop": False}
    said: list[str] = []

    class Listener:
        def start(self, what: str, total: int | None, done: int = 0) -> None: ...
        def advance(self, units: int = 1, **figures: float | str) -> None: ...
        def say(self, line: str) -> None:
            said.append(line)

        def finish(self) -> None: ...

    config = load("simclr", method=ABSURD, health=health, steps=130)
    result = pretrain(config, tmp_path / "run", Listener())
    assert metrics(result.run)[-1]["step"] == 130
    assert [line for line in said if "goes on, as health.stop is false" in line] == said
    assert len(said) == 1
    assert "Collapsed: loss at chance" in (result.run / "report.html").read_text()
    assert in_mlflow(result.run).data.tags["medssl.alarm"] == "loss at chance"


def test_looking_changes_no_weight(tmp_path: Path, write_config: WriteConfig, ranks: Any) -> None:
    watched = write_config("moco", health={"every": 5})
    unwatched = write_config("moco", health={"volumes": 0})
    whole = ranks.run(watched, tmp_path / "watched", 1)
    blind = ranks.run(unwatched, tmp_path / "unwatched", 1)
    assert (whole / LAST).read_bytes() == (blind / LAST).read_bytes()
    assert len(looks_of(metrics(whole))) == 7
    assert not looks_of(metrics(blind))


def test_a_killed_run_goes_on_with_the_same_looks(
    tmp_path: Path,
    write_config: WriteConfig,
    ranks: Any,
    wait_for_checkpoint: Callable[[Path, psutil.Process], None],
) -> None:
    config = write_config("hybrid", health={"every": 4})
    whole = ranks.run(config, tmp_path / "whole", 1)
    broken = tmp_path / "broken"
    started = ranks.start(config, broken, 1)
    wait_for_checkpoint(broken, started[0])
    started[0].kill()
    ranks.wait()
    ranks.run(config, broken, 1)
    assert "resumed at step" in (broken / "run.log").read_text()
    assert (broken / LAST).read_bytes() == (whole / LAST).read_bytes()
    assert metrics(broken) == metrics(whole)


def test_an_alarm_ends_every_process(tmp_path: Path, write_config: WriteConfig, ranks: Any) -> None:
    config = write_config("simclr", health=OFTEN, steps=200)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"method": ABSURD}))
    out = tmp_path / "run"
    for _ in range(2):  # the second time it is told at once
        ranks.start(config, out, 2)
        began = time.monotonic()
        assert ranks.wait() == [1, 1], ranks.errors
        assert time.monotonic() - began < PATIENCE.total_seconds() / 4
    told = [line for line in ranks.errors.splitlines() if "CollapseError: " in line]
    assert len(told) == 4
    assert len(set(told)) == 1
    assert "Collapsed: " in (out / "report.html").read_text()


def test_the_command_ends_with_the_reason_and_code_1(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    config = write_config("simclr", health=OFTEN, steps=200)
    command = [sys.executable, "-m", "medssl", "pretrain", str(config), "--out"]
    command += [str(tmp_path / "run"), "--set", "method.temperature=1000"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "medssl: pretraining was stopped, loss at chance at step 125" in ended.stderr
    assert "report.html" in ended.stderr
