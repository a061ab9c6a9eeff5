"""The folder of predictions: of one INPUT, and of what this holds now."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl.errors import ConfigError
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict

from ..transfer.conftest import ball_scan, write_scans
from .conftest import Ct
from .test_inputs import Stopped

WriteCt = Callable[..., Ct]
WriteRun = Callable[..., Path]


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


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


def test_a_scan_that_is_gone_refused_or_fails_now_keeps_no_prediction(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    given = tmp_path / "in"
    for number, name in enumerate(("stays", "gone", "torn", "fails")):
        write_ct(given / name, seed=number)
    config = PredictConfig(run=write_run(tmp_path / "run"), input=given, out=tmp_path / "out")
    assert predict(config).predicted == 4
    rows = table(config.out / "predictions.csv")
    (config.out / "masks" / "mine.nii.gz").write_bytes(b"not of medssl")
    (config.out / "masks" / f"{'ab' * 8}.nii.gz").write_bytes(b"killed before its row was written")

    shutil.rmtree(given / "gone")
    for path in (given / "torn").iterdir():  # the same files, cut off in the voxels
        path.write_bytes(path.read_bytes()[:-600])
    shutil.rmtree(given / "fails")
    write_ct(given / "fails", seed=7)
    (old,) = (row["mask"] for row in rows if row["input"] == "fails")
    (config.out / old).unlink()
    (config.out / old).mkdir()  # where its new mask cannot be written
    result = predict(config)
    assert (result.predicted, result.done_before) == (0, 1)
    assert [x.input for x in result.failed] == ["fails"]
    (row,) = table(config.out / "predictions.csv")
    assert row["input"] == "stays"
    told = {x["input"].split("/")[0] for x in table(config.out / "not_predicted.csv")}
    assert told == {"torn", "fails"}
    masks = {path.relative_to(config.out).as_posix() for path in config.out.glob("masks/*")}
    assert masks == {row["mask"], "masks/mine.nii.gz", old}
    assert [path.name for path in (config.out / "seg").iterdir()] == [Path(row["seg"]).name]

    (config.out / old).rmdir()
    again = predict(config)
    assert (again.predicted, again.done_before, again.failed) == (1, 1, ())
    assert [row["input"] for row in table(config.out / "predictions.csv")] == ["fails", "stays"]


def test_a_call_that_is_stopped_leaves_no_row_without_its_mask(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    for number, name in enumerate(("changed", "gone", "stays")):
        write_ct(tmp_path / "in" / name, seed=number)
    config = PredictConfig(
        run=write_run(tmp_path / "run"), input=tmp_path / "in", out=tmp_path / "out"
    )
    predict(config)
    shutil.rmtree(tmp_path / "in" / "gone")
    shutil.rmtree(tmp_path / "in" / "changed")
    write_ct(tmp_path / "in" / "changed", seed=7)
    with pytest.raises(KeyboardInterrupt):
        predict(config, Stopped(KeyboardInterrupt()))
    (row,) = table(config.out / "predictions.csv")
    assert row["input"] == "stays"
    assert (config.out / row["mask"]).is_file()


def test_what_ingest_corrected_is_told(tmp_path: Path, write_run: WriteRun) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(100, 30, (18, 18, 18)).astype(np.float32)
    (tmp_path / "in").mkdir()
    image = nib.Nifti1Image(values, np.diag([1.5, 1.5, 2.0, 1.0]))
    image.to_filename(tmp_path / "in" / "exact.nii")
    values = values[::-1].copy()
    values[2:8, 2:8, 2:8] = np.nan
    image = nib.Nifti1Image(values, np.diag([1.5, 1.5, 2.0, 1.0]))
    image.to_filename(tmp_path / "in" / "holes.nii")
    config = PredictConfig(
        run=write_run(tmp_path / "run"), input=tmp_path / "in", out=tmp_path / "out", modality="MR"
    )
    for done_before in (0, 2):
        result = predict(config)
        assert result.done_before == done_before
        rows = {row["input"]: row for row in table(result.table)}
        assert rows["exact.nii"]["corrections"] == ""
        assert rows["holes.nii"]["corrections"] == "NAN_MASKED"
        lines = result.lines()
        assert lines[1] == "corrected:"
        assert lines[2].startswith("  NAN_MASKED 1: Voxels that were NaN")


def test_a_case_of_several_series_tells_the_corrections_of_all(
    tmp_path: Path, write_run: WriteRun
) -> None:
    volume, mask, _ = ball_scan(1)
    ct = replace(volume, modality="CT", units="HU")
    corrections = ("SCALE_IGNORED", "NAN_MASKED+SCALE_IGNORED")
    write_scans(
        tmp_path / "store",
        [(ct, mask, "p"), (volume, mask, "p")],
        [],
        [{"corrections": codes} for codes in corrections],
    )
    run = write_run(tmp_path / "run", channels=("CT", "MR"))
    result = predict(PredictConfig(run=run, input=tmp_path / "store", out=tmp_path / "out"))
    (row,) = table(result.table)
    assert row["corrections"] == "SCALE_IGNORED+NAN_MASKED"
    assert result.corrections == {"SCALE_IGNORED": 1, "NAN_MASKED": 1}
