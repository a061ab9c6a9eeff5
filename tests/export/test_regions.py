from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from medssl.export.bundle import export_bundle
from medssl.export.onnx_file import export_onnx
from medssl.models.config import SegResNetConfig
from medssl.models.weights import read_metadata, save_weights
from medssl.predict.model import load_trained
from medssl.transfer.networks import network_of
from medssl.transfer.task_config import SegmentationTask

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

PATCH = (16, 12, 8)


def test_overlapping_regions_leave_as_they_answer(
    tmp_path: Path, finetuned_run: Callable[..., nn.Module]
) -> None:
    finetuned_run(tmp_path / "run", patch=PATCH)
    task = SegmentationTask(regions={"whole": (1, 3), "core": (3,)})
    torch.manual_seed(3)
    model = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
    network = network_of(task, model, 1, ("1", "3"), PATCH).eval()
    path = tmp_path / "run" / "checkpoints" / "model.safetensors"
    save_weights(path, network, {**read_metadata(path), "task": task.model_dump_json()})
    assert export_onnx(tmp_path / "run", tmp_path / "model.onnx").difference < 1e-5
    bundle = export_bundle(tmp_path / "run", tmp_path / "bundle")
    assert bundle.network == "TorchScript"
    assert bundle.difference < 1e-5
    patches = torch.randn(2, 1, *PATCH)
    with torch.no_grad():
        assert torch.equal(load_trained(tmp_path / "run").network(patches), network(patches))
