"""The folder of predictions: of one INPUT, and of what this holds now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medssl.errors import ConfigError
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict

from ..transfer.conftest import ball_scan, write_scans
from .conftest import Ct

WriteCt = Callable[..., Ct]
WriteRun = Callable[..., Path]


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def test_predictions_of_another_input_are_not_written_over(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    for number, name in enumerate(("first", "second")):  # each is a series: "." in its own table
        write_ct(tmp_path / name, seed=number)
    run = write_run(tmp_path / "run")
    config = PredictConfig(run=run, input=tmp_path / "first", out=tmp_path / "out")
    predict(config)
    about = json.loads((config.out / "predictions.json").read_text())
    place = str((tmp_path / "first").resolve()).encode()
    assert about["input_sha256"] == hashlib.sha256(place).hexdigest()
    before = contents(config.out)
    second = config.model_copy(update={"input": tmp_path / "second"})
    with pytest.raises(ConfigError, match="another INPUT; choose another --out"):
        predict(second)
    assert contents(config.out) == before

    (tmp_path / "link").symlink_to(tmp_path / "first")
    same = predict(config.model_copy(update={"input": tmp_path / "link"}))
    assert (same.predicted, same.done_before) == (0, 1)


def test_predictions_of_another_store_are_not_written_over(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for name in ("one", "two"):
        write_scans(tmp_path / name, [(*ball_scan(1)[:2], "p")], [])
    run = write_run(tmp_path / "run", ("small", "large"), classify=True)
    config = PredictConfig(run=run, input=tmp_path / "one", out=tmp_path / "out")
    assert predict(config).predicted == 1
    with pytest.raises(ConfigError, match="another INPUT"):
        predict(config.model_copy(update={"input": tmp_path / "two"}))


def test_an_input_that_gave_nothing_does_not_bind_the_folder(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    (tmp_path / "empty").mkdir()
    write_ct(tmp_path / "in")
    config = PredictConfig(
        run=write_run(tmp_path / "run"), input=tmp_path / "empty", out=tmp_path / "out"
    )
    with pytest.raises(ConfigError, match="holds no DICOM"):
        predict(config)
    right = config.model_copy(update={"input": tmp_path / "in"})
    assert predict(right).predicted == 1
    assert predict(right).done_before == 1
