"""Running the grid: order of events, resuming, failing cells. MLflow is tested apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.cells import StudyPaths
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import read_ledger, verify_chain
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study
from medssl.errors import ConfigError, StudyError

Make = Callable[..., StudyConfig]

pytestmark = pytest.mark.usefixtures("no_tracking")


def test_each_cell_trains_is_chosen_looks_once_and_is_written(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    study = tmp_path / "study"
    result = run_study(make_config(), study, train=fake_train)
    assert (result.cells, result.trained) == (18, 18)
    entries = read_ledger(study / "ledger.jsonl")
    assert verify_chain(entries) == []
    plan_hash = sha256_file(study / "plan.json")
    frozen = next(e.seq for e in entries if e.event == "plan_frozen")
    for cell in ("scratch_0.25_0", "ssl_ft_1_2"):
        written = [f"predictions/{cell}.parquet", f"cells/{cell}/cell.json"]
        of_cell = [e for e in entries if e.facts.get("cell") == cell or e.path in written]
        assert [e.event for e in of_cell] == [
            "training_started",
            "training_finished",
            "trial_chosen",
            "test_look",
            "file_written",
            "file_written",
        ]
        assert of_cell[0].seq > frozen
        assert of_cell[0].facts["plan_sha256"] == plan_hash
        assert [e.path for e in of_cell[-2:]] == written
        for entry in of_cell[-2:]:
            assert sha256_file(study / str(entry.path)) == entry.sha256
        left = {p.name for p in (study / "cells" / cell / "checkpoints").iterdir()}
        assert left == {"model.safetensors"}
    started = {e.facts["cell"]: e.facts for e in entries if e.event == "training_started"}
    pair = started["scratch_0.5_1"], started["ssl_ft_0.5_1"]
    assert pair[0]["subset_sha256"] == pair[1]["subset_sha256"]
    assert pair[0]["seed"] == pair[1]["seed"]
    assert pair[0]["init_sha256"] is None
    assert pair[1]["init_sha256"] is not None


def test_second_run_trains_nothing_and_the_ledger_stays(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    study = tmp_path / "study"
    first = run_study(make_config(), study, train=fake_train)
    fake_train.called.clear()
    again = run_study(make_config(), study, train=fake_train)
    assert again.was_done
    assert fake_train.called == []
    assert again.ledger_root == first.ledger_root


def test_failed_cell_is_named_the_others_go_on_and_it_is_tried_again(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    study = tmp_path / "study"
    fake_train.fails = {"ssl_ft_0.5_1"}
    with pytest.raises(StudyError, match=r"1 of 18 cells failed: ssl_ft_0\.5_1 \(RuntimeError\)"):
        run_study(make_config(), study, train=fake_train)
    assert len(fake_train.called) == 18
    result = analyse_study(make_config(), study)
    assert result.missing == ["ssl_ft_0.5_1"]
    assert "RuntimeError" in (study / "report.html").read_text()
    fake_train.fails, fake_train.called = set(), []
    run_study(make_config(), study, train=fake_train)
    assert fake_train.called == ["ssl_ft_0.5_1"]
    assert analyse_study(make_config(), study).missing == []


def test_killed_study_resumes_with_every_event_told_once(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    """A child process dies by SIGKILL right after the look at the test set of its third cell."""
    study, whole = tmp_path / "study", tmp_path / "whole"
    config = make_config()

    def killed_train(*args: Any) -> Any:
        trained = fake_train(*args)
        if len(fake_train.called) == 3:
            trained.predict_test = lambda *_: os.kill(os.getpid(), 9)
        return trained

    child = os.fork()
    if child == 0:
        run_study(config, study, train=killed_train)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    told = read_ledger(study / "ledger.jsonl")
    assert told[-1].event == "test_look"
    result = run_study(config, study, train=fake_train)
    assert result.trained == 16
    entries = read_ledger(study / "ledger.jsonl")
    assert verify_chain(entries) == []
    assert sum(e.event == "test_look" for e in entries) == 18
    run_study(config, whole, train=fake_train)
    for path in (whole / "predictions").iterdir():
        assert path.read_bytes() == (study / "predictions" / path.name).read_bytes()


def test_predictions_changed_after_they_were_written_stop_the_study(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    study = tmp_path / "study"
    run_study(make_config(), study, train=fake_train)
    path = study / "predictions" / "scratch_1_0.parquet"
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)
    with pytest.raises(StudyError, match=r"predictions/scratch_1_0\.parquet is not what"):
        run_study(make_config(), study, train=fake_train)


def test_changed_encoder_is_refused(
    make_config: Make, tmp_path: Path, fake_train: Any, pretrained_run: Path
) -> None:
    import torch

    from medssl.models.weights import read_metadata, save_weights

    run_study(make_config(), tmp_path / "study", train=fake_train)
    weights = pretrained_run / "checkpoints" / "encoder.safetensors"
    other = {"encoder.stem.weight": torch.ones(4, 1, 3, 3, 3)}
    save_weights(weights, other, read_metadata(weights))
    with pytest.raises(StudyError, match="not the one that was planned with"):
        run_study(make_config(), tmp_path / "study", train=fake_train)


def test_running_with_another_configuration_is_refused(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    run_study(make_config(), tmp_path / "study", train=fake_train)
    with pytest.raises(ConfigError, match="margin"):
        run_study(make_config(margin=0.1), tmp_path / "study", train=fake_train)
    with pytest.raises(ConfigError, match="nothing is planned"):
        analyse_study(make_config(), tmp_path / "nowhere")


def test_progress_counts_the_steps_of_the_whole_grid(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    class Heard:
        def __init__(self) -> None:
            self.starts: list[tuple[str, int | None, int]] = []
            self.units = 0

        def start(self, what: str, total: int | None, done: int = 0) -> None:
            self.starts.append((what, total, done))

        def advance(self, units: int = 1, **figures: float | str) -> None:
            self.units += units

        def say(self, line: str) -> None: ...

        def finish(self) -> None: ...

    heard = Heard()
    fake_train.fails = {"scratch_1_0"}
    with pytest.raises(StudyError):
        run_study(make_config(), tmp_path / "study", heard, train=fake_train)
    assert heard.starts == [("study of 18 cells, training steps", 18 * 4, 0)]
    assert heard.units == 18 * 4
    again = Heard()
    fake_train.fails = set()
    run_study(make_config(), tmp_path / "study", again, train=fake_train)
    assert heard.starts[0][1] == again.starts[0][1]
    assert again.starts[0][2] == 17 * 4
    assert again.units == 4


def test_paths_of_the_study_are_documented(tmp_path: Path) -> None:
    """Every file of a study is in the reference page."""
    schema = Path(__file__).parents[2] / "docs" / "reference" / "study-schema.md"
    text = schema.read_text(encoding="utf-8")
    paths = StudyPaths(tmp_path)
    files = [v for v in vars(StudyPaths).values() if isinstance(v, property)]
    for prop in files:
        assert f"`{prop.fget(paths).name}`" in text  # type: ignore[misc]
