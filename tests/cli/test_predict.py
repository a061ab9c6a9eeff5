"""`medssl predict`: its exit codes, and that its last line says where the results are."""

from __future__ import annotations

from pathlib import Path

import pytest

import medssl.predict.predict as stage
from medssl.cli.predict import predict
from medssl.errors import CheckpointError, ConfigError, JudgedAndFailed
from medssl.predict.inputs import Refused

REFUSED = Refused("b.nii", "", "NIFTI_TRUNCATED", "600 of 800 bytes")
NO_SEG = Refused("d", "", "SEG_NOT_WRITTEN", "FrameOfReferenceUID is missing")
FAILED = Refused("c.nii", "", "PREDICTION_FAILED", "OutOfMemoryError")


def told(
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
    *,
    predicted: int,
    before: int = 0,
    failed: int = 0,
    no_seg: int = 0,
) -> None:
    result = stage.PredictResult(
        out,
        predicted,
        before,
        (REFUSED,),
        (FAILED,) * failed,
        (NO_SEG,) * no_seg,
        {"NAN_MASKED": 1},
    )
    monkeypatch.setattr(stage, "predict", lambda config, progress: result)
    predict(out / "run", out / "in", out)


def test_the_last_line_says_where_the_results_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, tmp_path, predicted=2, before=3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 volumes predicted, 3 were done already"
    assert any("NAN_MASKED 1: Voxels" in line for line in lines)
    assert any("NIFTI_TRUNCATED 1" in line for line in lines)
    assert lines[-1] == f"results: {tmp_path / 'predictions.csv'}"


def test_failures_are_counted_with_their_reason_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(JudgedAndFailed, match=r"2 volumes failed \(OutOfMemoryError\)") as raised:
        told(monkeypatch, tmp_path, predicted=5, failed=2)
    assert raised.value.exit_code == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("results: ")


def test_masks_without_a_segmentation_are_counted_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, tmp_path, predicted=5, no_seg=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:-1] == [
        "masks without a DICOM SEG: 2",
        "  2: FrameOfReferenceUID is missing",
        f"which: {tmp_path / 'not_predicted.csv'}",
    ]


def test_to_predict_nothing_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JudgedAndFailed, match="nothing was predicted"):
        told(monkeypatch, tmp_path, predicted=0)


def test_wrong_arguments_are_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigError, match="modality"):
        predict(tmp_path / "run", tmp_path / "in", tmp_path / "out", modality="XR")
    with pytest.raises(CheckpointError, match="no fine-tuned model"):
        predict(tmp_path / "run", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
