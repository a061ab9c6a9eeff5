"""Predictions on DICOM, NIfTI and stores: on the right voxels, once each, and nobody named."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.inferers import sliding_window_inference
from scipy.special import softmax

import medssl.predict.predict as stage
from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import Scans
from medssl.augment.spatial import sample_volume
from medssl.errors import CheckpointError, ConfigError
from medssl.predict.config import PredictConfig
from medssl.predict.model import load_trained
from medssl.predict.predict import predict
from medssl.store import open_store
from medssl.transfer.sources import foreground_centre
from medssl.transfer.task_config import OrdinalTask

from ..transfer.conftest import ball_scan, write_scans
from .conftest import PATIENT, PATIENT_ID, SIZE, Ct, frames_in_world, in_world

WriteCt = Callable[..., Ct]
WriteRun = Callable[..., Path]


def table(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def answer(run: Path, image: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    """What MONAI makes of a normalised image with axes to the right, front and top, at once."""
    model = load_trained(run)
    with torch.no_grad():
        logits = sliding_window_inference(
            torch.from_numpy(image)[None, None], SIZE, 2, model.network,
            overlap=0.5, mode="gaussian", cval=-1.0,
        )[0]  # fmt: skip
    return np.asarray(values)[logits.argmax(dim=0).numpy()]


def test_a_dicom_series_gets_its_mask_on_the_right_voxels(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    ct = write_ct(tmp_path / "in" / "scan")
    run, out = write_run(tmp_path / "run"), tmp_path / "out"
    result = predict(PredictConfig(run=run, input=tmp_path / "in", out=out))
    assert (result.predicted, result.failed, result.refused) == (1, (), ())
    (row,) = table(out)
    assert row["input"] == "scan"

    # Stored as slice, row (to the back), column (to the left).
    ras = ct.values.transpose(2, 1, 0)[::-1, ::-1]
    expected = answer(run, np.ascontiguousarray(ras / np.float32(1000)), (0, 1, 3))
    expected = expected[::-1, ::-1].transpose(2, 1, 0)
    assert set(np.unique(expected)) == {0, 1, 3}

    image = nib.load(out / row["mask"])
    mask = np.asarray(image.dataobj)
    np.testing.assert_array_equal(mask, expected.transpose(2, 1, 0))
    np.testing.assert_allclose(image.affine, ct.affine[:, [2, 1, 0, 3]], atol=1e-4)
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)

    theirs = frames_in_world(out / row["seg"], (1, 3))
    assert theirs == in_world(expected, ct.affine)
    read = highdicom.seg.segread(out / row["seg"])
    assert [s.segment_label for s in read.SegmentSequence] == ["tumour 1", "tumour 3"]
    assert str(read.PatientName) == PATIENT
    for value in (1, 3):
        ml = (expected == value).sum() * 1.25 * 1.5 * 2 / 1000
        assert float(row[f"ml_{value}"]) == pytest.approx(ml, abs=1e-3)


def test_the_segmentation_is_accepted_by_a_validator(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    dciodvfy = shutil.which("dciodvfy")
    if dciodvfy is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    write_ct(tmp_path / "in")
    out = tmp_path / "out"
    predict(PredictConfig(run=write_run(tmp_path / "run"), input=tmp_path / "in", out=out))
    for path in (out / "seg").iterdir():
        told = subprocess.run([dciodvfy, "-new", str(path)], capture_output=True, text=True)
        lines = (told.stdout + told.stderr).splitlines()
        assert "Segmentation" in lines
        assert not [line for line in lines if line.startswith("Error")]


def test_nobody_is_named_but_in_the_segmentation(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ct(tmp_path / "in" / "a")
    out = tmp_path / "out"
    predict(PredictConfig(run=write_run(tmp_path / "run"), input=tmp_path / "in", out=out))
    assert not (out / ".work").exists()
    files = [path for path in out.rglob("*") if path.is_file()]
    named = []
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        if any(word.encode() in content for word in (PATIENT, "Wilhelmine", PATIENT_ID)):
            named.append(path)
        assert "Wilhelmine" not in str(path)
        assert PATIENT_ID not in str(path)
    assert [path.parent.name for path in named] == ["seg"]
    captured = capsys.readouterr()
    assert "Wilhelmine" not in captured.out + captured.err


def test_a_nifti_keeps_its_grid_to_the_last_bit(tmp_path: Path, write_run: WriteRun) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(100, 30, (21, 18, 15)).astype(np.float32)
    affine = np.diag([-1.1, 0.9, 1.3, 1.0])
    affine[:3, 3] = (1 / 3, -2 / 7, 5.1)
    image = nib.Nifti1Image(values, affine)
    turned = affine.copy()
    turned[:3, 3] += 0.3
    image.set_qform(turned, code=2)
    image.set_sform(affine, code=4)
    image.header["descrip"] = PATIENT_ID.encode()
    (tmp_path / "in" / "deep").mkdir(parents=True)
    image.to_filename(tmp_path / "in" / "deep" / "one.nii.gz")
    run, out = write_run(tmp_path / "run", spacing_mm=1.2), tmp_path / "out"
    predict(PredictConfig(run=run, input=tmp_path / "in", out=out, modality="MR"))
    (row,) = table(out)
    assert (row["input"], row["seg"]) == ("deep/one.nii.gz", "")
    written = nib.load(out / row["mask"])
    given = nib.load(tmp_path / "in" / "deep" / "one.nii.gz")
    assert written.shape == given.shape
    np.testing.assert_array_equal(written.affine, given.affine)
    for name in ("sform_code", "qform_code", "pixdim", "quatern_b", "qoffset_x", "srow_x"):
        np.testing.assert_array_equal(written.header[name], given.header[name])
    assert bytes(written.header["descrip"].item()).strip(b"\0") == b""
    assert set(np.unique(written.dataobj)) == {0, 1, 3}


def test_one_that_fails_and_one_that_is_refused_cost_no_other(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_ct(tmp_path / "in" / f"scan{number}", seed=number)
    (tmp_path / "in" / "torn.nii").write_bytes(nib.Nifti1Image(
        np.zeros((9, 9, 9), np.int16), np.eye(4)).to_bytes()[:600])  # fmt: skip
    config = PredictConfig(run=write_run(tmp_path / "r"), input=tmp_path / "in", out=tmp_path / "o")
    calls = []
    true_one = stage.predict_mask

    def second_fails(*arguments: object) -> np.ndarray:
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError(f"cannot say why of {PATIENT}")
        return true_one(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "predict_mask", second_fails)
    result = predict(config)
    assert result.predicted == 2
    assert [(x.input, x.reason, x.detail) for x in result.failed] == [
        ("scan1", "PREDICTION_FAILED", "RuntimeError")
    ]
    assert [(x.input, x.reason) for x in result.refused] == [("torn.nii", "NIFTI_TRUNCATED")]
    with (config.out / "not_predicted.csv").open(newline="") as file:
        reasons = {row["input"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons == {"torn.nii": "NIFTI_TRUNCATED", "scan1": "PREDICTION_FAILED"}

    again = predict(config)
    assert (again.predicted, again.done_before, again.failed) == (1, 2, ())
    assert len(calls) == 4
    assert [row["input"] for row in table(config.out)] == ["scan0", "scan1", "scan2"]
    assert again.lines()[-1] == f"results: {config.out / 'predictions.csv'}"


def test_what_is_done_is_not_done_again_unless_the_scan_has_changed(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    write_ct(tmp_path / "in" / "a", seed=0)
    write_ct(tmp_path / "in" / "b", seed=1)
    run = write_run(tmp_path / "run")
    config = PredictConfig(run=run, input=tmp_path / "in", out=tmp_path / "out")
    predict(config)
    first = table(config.out)
    # Killed while it wrote the second row.
    text = (config.out / "predictions.csv").read_text()
    (config.out / "predictions.csv").write_text(text[:-9])
    resumed = predict(config)
    assert (resumed.predicted, resumed.done_before) == (1, 1)
    assert [r["ml_1"] for r in table(config.out)] == [r["ml_1"] for r in first]

    shutil.rmtree(tmp_path / "in" / "b")
    write_ct(tmp_path / "in" / "b", seed=2)
    (config.out / first[0]["mask"]).unlink()
    assert predict(config).predicted == 2

    about = json.loads((config.out / "predictions.json").read_text())
    assert about["weights_sha256"] == load_trained(run).weights_sha256
    other = write_run(tmp_path / "other", seed=5)
    with pytest.raises(ConfigError, match="other weights"):
        predict(config.model_copy(update={"run": other}))


def test_a_mask_that_can_have_no_segmentation_keeps_its_row_and_is_not_predicted_again(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, without = write_ct(tmp_path / "in" / "a"), write_ct(tmp_path / "in" / "b", seed=1)
    frame = {}
    for path in (tmp_path / "in" / "b").iterdir():
        ds = pydicom.dcmread(path)
        frame[path] = ds.FrameOfReferenceUID
        del ds.FrameOfReferenceUID
        ds.save_as(path)
    run, out = write_run(tmp_path / "run"), tmp_path / "out"
    config = PredictConfig(run=run, input=tmp_path / "in", out=out)
    result = predict(config)
    first, second = table(out)
    assert (result.predicted, result.failed) == (2, ())
    assert (first["seg"] != "", second["seg"]) == (True, "")
    assert nib.load(out / second["mask"]).shape == without.values.shape[::-1]
    told = (
        "only the SEG is missing, the mask is there: "
        "the files allow no DICOM SEG: FrameOfReferenceUID is missing"
    )
    with (out / "not_predicted.csv").open(newline="") as file:
        reasons = [list(row.values()) for row in csv.DictReader(file)]
    assert reasons == [["b", "", "SEG_NOT_WRITTEN", told]]
    assert "masks without a DICOM SEG: 1" in result.lines()

    def is_not_called(*arguments: object) -> None:
        raise AssertionError("through the network again")

    monkeypatch.setattr(stage, "predict_mask", is_not_called)
    not_predicted = (out / "not_predicted.csv").read_text()
    again = predict(config)
    assert (again.predicted, again.done_before, len(again.without_seg)) == (0, 2, 1)
    assert table(out) == [first, second]
    assert (out / "not_predicted.csv").read_text() == not_predicted

    # What was missing is there now, and what was there is gone: only the SEGs are made.
    for path, uid in frame.items():
        ds = pydicom.dcmread(path)
        ds.FrameOfReferenceUID = uid
        ds.save_as(path)
    (out / first["seg"]).unlink()
    mended = predict(config)
    assert (mended.predicted, mended.failed, mended.without_seg) == (0, (), ())
    for row, ct in zip(table(out), (whole, without), strict=True):
        mask = np.asarray(nib.load(out / row["mask"]).dataobj).transpose(2, 1, 0)
        assert mask.any()
        assert frames_in_world(out / row["seg"], (1, 3)) == in_world(mask, ct.affine)


def test_a_changed_scan_that_can_have_no_segmentation_does_not_keep_the_old_one(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    write_ct(tmp_path / "in" / "a")
    run, out = write_run(tmp_path / "run"), tmp_path / "out"
    config = PredictConfig(run=run, input=tmp_path / "in", out=out)
    predict(config)
    shutil.rmtree(tmp_path / "in" / "a")
    write_ct(tmp_path / "in" / "a", seed=1)
    for path in (tmp_path / "in" / "a").iterdir():
        ds = pydicom.dcmread(path)
        del ds.FrameOfReferenceUID
        ds.save_as(path)
    assert len(predict(config).without_seg) == 1
    assert list((out / "seg").iterdir()) == []


def test_series_in_one_folder_are_told_apart(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    write_ct(tmp_path / "one", seed=0)
    write_ct(tmp_path / "two", seed=1)
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        for path in (tmp_path / name).iterdir():
            path.rename(tmp_path / "in" / f"{name}{path.name}")
    out = tmp_path / "out"
    predict(PredictConfig(run=write_run(tmp_path / "run"), input=tmp_path / "in", out=out))
    assert [row["input"] for row in table(out)] == ["one000.dcm", "two000.dcm"]
    assert len({row["seg"] for row in table(out)}) == 2


def test_a_store_is_classified_as_it_is(tmp_path: Path, write_run: WriteRun) -> None:
    scans = [(*ball_scan(number)[:2], f"p{number}") for number in range(3)]
    write_scans(tmp_path / "store", scans, [])
    run = write_run(tmp_path / "run", ("small", "large"), spacing_mm=1.1, classify=True)
    out = tmp_path / "out"
    result = predict(PredictConfig(run=run, input=tmp_path / "store", out=out))
    assert result.predicted == 3
    store, model = open_store(tmp_path / "store"), load_trained(run)
    reader = Reader(store, CacheConfig(gigabytes=0))
    for scan, row in zip(Scans(store.manifest), table(out), strict=True):
        assert row["input"] == scan.volume_uid
        crop = sample_volume(reader, scan, SIZE, 1.1, foreground_centre(scan))
        with torch.no_grad():
            logits = model.network(torch.from_numpy(crop.image)[None, None])[0].numpy()
        expected = softmax(logits)
        assert float(row["probability_small"]) == pytest.approx(expected[0], abs=1e-5)
        assert float(row["probability_large"]) == pytest.approx(expected[1], abs=1e-5)
        assert row["predicted"] == ("small", "large")[int(logits.argmax())]


def test_the_grade_of_an_ordinal_model_is_the_median_that_was_evaluated(
    tmp_path: Path, write_run: WriteRun
) -> None:
    grades = ("1", "2", "3")
    model = replace(
        load_trained(write_run(tmp_path / "run", grades, classify=True)),
        task=OrdinalTask(label="grade"),
    )
    likeliest_is_not_the_median = np.log([0.4, 0.3, 0.3])
    found = stage._WholeVolumes(model)._values(likeliest_is_not_the_median)
    assert found == ["2", "0.400000", "0.300000", "0.300000"]


def test_a_store_is_segmented_on_its_own_grid(tmp_path: Path, write_run: WriteRun) -> None:
    volume, mask, _ = ball_scan(2)
    write_scans(tmp_path / "store", [(volume, mask, "p")], [])
    out = tmp_path / "out"
    predict(PredictConfig(run=write_run(tmp_path / "run"), input=tmp_path / "store", out=out))
    written = nib.load(out / table(out)[0]["mask"])
    assert written.shape == volume.shape
    np.testing.assert_allclose(written.affine, volume.affine, atol=1e-5)


def test_wrong_places_are_told_before_anything_is_written(
    tmp_path: Path, write_ct: WriteCt, write_run: WriteRun
) -> None:
    write_ct(tmp_path / "in")
    run = write_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="nothing at"):
        predict(PredictConfig(run=run, input=tmp_path / "none", out=tmp_path / "o"))
    with pytest.raises(ConfigError, match="inside the other"):
        predict(PredictConfig(run=run, input=tmp_path / "in", out=tmp_path / "in" / "o"))
    with pytest.raises(CheckpointError, match="no fine-tuned model"):
        predict(PredictConfig(run=tmp_path / "in", input=tmp_path / "in", out=tmp_path / "o"))
    assert not (tmp_path / "o").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no DICOM"):
        predict(PredictConfig(run=run, input=tmp_path / "empty", out=tmp_path / "o"))
    assert not (tmp_path / "o" / ".work").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        predict(PredictConfig(run=run, input=tmp_path / "in", out=tmp_path / "full"))
