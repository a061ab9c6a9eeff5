"""An exported ONNX file gives torch's numbers in onnxruntime, and says how to use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import medssl.export.onnx_file as onnx_file
from medssl.errors import CheckpointError, ConfigError, JudgedAndFailed
from medssl.export.bundle import export_bundle
from medssl.export.finetuned import load_finetuned
from medssl.export.onnx_file import export_onnx
from medssl.models.config import ModelConfig, ResNetConfig, ViTConfig

Runs = Callable[..., nn.Module]
VIT = ViTConfig(token_size=4, dim=12, depth=2, heads=2, decoder_filters=4)


@pytest.mark.parametrize(
    ("task", "model", "patch"),
    [
        ("segmentation", None, (16, 12, 8)),
        ("segmentation", VIT, (8, 8, 12)),
        ("classification", ResNetConfig(depth=10, conv1_stride=1), (17, 18, 20)),
    ],
)
def test_onnxruntime_gives_torchs_logits_for_any_batch(
    tmp_path: Path,
    finetuned_run: Runs,
    task: str,
    model: ModelConfig | None,
    patch: tuple[int, int, int],
) -> None:
    given = {} if model is None else {"model": model}
    net = finetuned_run(tmp_path / "run", task, patch=patch, **given)
    written = export_onnx(tmp_path / "run", tmp_path / "out" / "model.onnx")
    assert written.difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    for count in (1, 2, 4):
        patches = torch.randn(count, 1, *patch)
        with torch.no_grad():
            expected = net(patches)
        (found,) = session.run(None, {"image": patches.numpy()})
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5 * float(expected.abs().max()))


def test_temperature_and_mirror_images_are_part_of_the_answer(
    tmp_path: Path, finetuned_run: Runs
) -> None:
    plain = finetuned_run(tmp_path / "plain", "classification")
    told = {"temperature": "2.5", "test_time_flips": "[0, 2]"}
    finetuned_run(tmp_path / "run", "classification", **told)
    assert export_onnx(tmp_path / "run", tmp_path / "model.onnx").difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    patches = torch.randn(2, 1, 16, 12, 8)
    with torch.no_grad():
        shares = [
            torch.softmax(plain(patches.flip(dims) if dims else patches), 1)
            for dims in ((), (2,), (4,), (2, 4))
        ]
    expected = torch.log(torch.stack(shares).mean(0)) / 2.5
    (found,) = session.run(None, {"image": patches.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    written = export_bundle(tmp_path / "run", tmp_path / "bundle")
    assert written.network == "TorchScript"
    assert written.difference < 1e-5


def test_the_file_says_how_to_use_it(tmp_path: Path, finetuned_run: Runs) -> None:
    finetuned_run(tmp_path / "run", units=("HU", "arbitrary"))
    export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["classes"]) == ["background", "1", "3"]
    assert json.loads(told["patch_size"]) == [16, 12, 8]
    assert json.loads(told["spacing_mm"]) == [1.5, 1.5, 1.5]
    assert "-1000 ... 1000" in json.loads(told["normalisation"])["HU"]
    assert set(json.loads(told["normalisation"])) == {"HU", "arbitrary"}
    assert told["task"] == "segmentation"
    assert str(tmp_path) not in str(model)


def test_a_file_with_other_numbers_is_not_written(
    tmp_path: Path, finetuned_run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetuned_run(tmp_path / "run")
    convert = onnx_file._converted

    def spoiled(finetuned: onnx_file.Finetuned) -> onnx.ModelProto:
        proto = convert(finetuned)
        bias = next(t for t in proto.graph.initializer if t.name.endswith("head.bias"))
        values = onnx.numpy_helper.to_array(bias) + np.float32(1e-2)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return proto

    monkeypatch.setattr(onnx_file, "_converted", spoiled)
    with pytest.raises(JudgedAndFailed, match="differ"):
        export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_what_is_no_finished_finetuning_run_is_refused(tmp_path: Path, finetuned_run: Runs) -> None:
    with pytest.raises(ConfigError, match="no folder of a fine-tuning run"):
        load_finetuned(tmp_path)
    finetuned_run(tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(CheckpointError, match="not finished"):
        load_finetuned(tmp_path / "run")
