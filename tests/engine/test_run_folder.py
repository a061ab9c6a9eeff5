"""A run folder resumes its own configuration and refuses another."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl.config import Config
from medssl.engine.run_folder import RunFolder
from medssl.errors import ConfigError


class Two(Config):
    lr: float = 0.1
    steps: int = 5


def test_same_config_resumes_and_another_is_refused_by_key(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "r", Two(), "pretrain")
    run.write_metrics(1, {"loss": 2.0})
    run.close()
    again = RunFolder.open(tmp_path / "r", Two(), "pretrain")
    assert again.read_metrics() == [{"step": 1, "loss": 2.0}]
    again.close()
    with pytest.raises(ConfigError, match=r"lr: 0\.1 -> 0\.2"):
        RunFolder.open(tmp_path / "r", Two(lr=0.2), "pretrain")
    with pytest.raises(ConfigError, match="not a run of finetune"):
        RunFolder.open(tmp_path / "r", Two(), "finetune")


def test_a_run_stays_with_the_key_of_its_store(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "r", Two(), "pretrain")
    run.bind_key("key-1")
    run.bind_key("key-1")
    with pytest.raises(ConfigError, match=r"begun on a store under key key-1, .* under key-2 now"):
        run.bind_key("key-2")
    run.close()


def test_two_processes_cannot_share_a_run(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "r", Two(), "pretrain")
    with pytest.raises(ConfigError, match="another process"):
        RunFolder.open(tmp_path / "r", Two(), "pretrain")
    run.close()
    RunFolder.open(tmp_path / "r", Two(), "pretrain").close()


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        RunFolder.open(tmp_path, Two(), "pretrain")


def test_what_can_be_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"thesis\.txt is not a folder"):
        RunFolder.open(tmp_path / "thesis.txt", Two(), "pretrain")
    with pytest.raises(ConfigError, match=r"nothing can be written in .*thesis\.txt/r \("):
        RunFolder.open(tmp_path / "thesis.txt" / "r", Two(), "pretrain")


def test_metrics_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "r", Two(), "pretrain")
    for step in (1, 2, 3):
        run.write_metrics(step, {"loss": float(step)})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    run.forget_metrics_after(2)
    assert [row["step"] for row in run.read_metrics()] == [1, 2]


def test_summary_marks_the_run_as_done(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "r", Two(), "pretrain")
    assert not run.is_done
    run.finish({"loss": 0.5})
    assert run.is_done
    assert run.summary() == {"loss": 0.5}
