"""The working copy of the scans: deleted with the identities in it, kept where a call goes on."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from medssl.errors import ConfigError
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict

from ..transfer.conftest import ball_scan, write_scans
from .conftest import Ct

WriteCt = Callable[..., Ct]
WriteRun = Callable[..., Path]


class Stopped:
    """Raises `why` once the scans are read and the first is to be predicted."""

    def __init__(self, why: BaseException) -> None:
        self._why = why

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        if what.startswith("predicting"):
            raise self._why

    def advance(self, units: int = 1, **figures: float | str) -> None: ...

    def say(self, line: str) -> None: ...

    def finish(self) -> None: ...


def test_an_error_after_the_scans_are_read_leaves_no_identities(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    write_ct(tmp_path / "in")
    run, out = write_run(tmp_path / "run", channels=("CT", "PT")), tmp_path / "out"
    with pytest.raises(ConfigError, match="no series PT"):
        predict(PredictConfig(run=run, input=tmp_path / "in", out=out))
    assert not (out / ".work").exists()


@pytest.mark.parametrize(
    "why", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
)
def test_after_a_stop_or_a_full_disk_the_scans_are_not_read_again(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun, why: BaseException
) -> None:
    write_ct(tmp_path / "in")
    run, out = write_run(tmp_path / "run"), tmp_path / "out"
    config = PredictConfig(run=run, input=tmp_path / "in", out=out)
    with pytest.raises(type(why)):
        predict(config, Stopped(why))
    work = out / ".work"
    assert work.stat().st_mode & 0o777 == 0o700
    read = {path: path.stat().st_mtime_ns for path in work.rglob("*.b2nd")}
    assert read
    with pytest.raises(KeyboardInterrupt):
        predict(config, Stopped(KeyboardInterrupt()))
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.b2nd")} == read
    assert predict(config).predicted == 1
    assert not work.exists()


def test_what_a_killed_call_left_of_another_input_is_not_predicted(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    write_ct(tmp_path / "first" / "a", seed=0)
    write_ct(tmp_path / "second" / "b", seed=1)
    write_scans(tmp_path / "store", [(*ball_scan(0)[:2], "p")], [])
    run, out = write_run(tmp_path / "run"), tmp_path / "out"
    config = PredictConfig(run=run, input=tmp_path / "first", out=out)
    with pytest.raises(KeyboardInterrupt):
        predict(config, Stopped(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        predict(
            config.model_copy(update={"input": tmp_path / "store"}), Stopped(KeyboardInterrupt())
        )
    assert not (out / ".work").exists()

    with pytest.raises(KeyboardInterrupt):
        predict(config, Stopped(KeyboardInterrupt()))
    result = predict(config.model_copy(update={"input": tmp_path / "second"}))
    assert result.predicted == 1
    with (out / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["input"] == "b"
    (seg,) = (out / "seg").iterdir()
    theirs = pydicom.dcmread(next((tmp_path / "second" / "b").iterdir()))
    assert pydicom.dcmread(seg).StudyInstanceUID == theirs.StudyInstanceUID
    assert not (out / ".work").exists()
