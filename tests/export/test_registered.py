"""A registered model, loaded back from MLflow by its name, gives torch's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from torch import nn

import medssl.export.registered as registered
from medssl.errors import JudgedAndFailed
from medssl.export.onnx_file import export_onnx

Runs = Callable[..., nn.Module]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:///{tmp_path / 'tracking' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def test_a_registered_model_is_loaded_by_name(
    tmp_path: Path, finetuned_run: Runs, database: str
) -> None:
    net = finetuned_run(tmp_path / "run")
    export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    versions = [
        registered.register(tmp_path / "run", tmp_path / "model.onnx", "nodules") for _ in range(2)
    ]
    assert [v.version for v in versions] == ["1", "2"]
    assert versions[0].difference < 1e-5
    mlflow.set_tracking_uri(database)
    loaded = mlflow.pyfunc.load_model("models:/nodules/2")
    patches = torch.randn(3, 1, 16, 12, 8)
    with torch.no_grad():
        expected = net(patches).numpy()
    found = loaded.predict({"image": patches.numpy()})["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 1, 16, 12, 8)
    assert loaded.metadata.signature.outputs.inputs[0].shape == (-1, 3, 16, 12, 8)
    assert loaded.metadata.metadata["classes"] == ["background", "1", "3"]
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        loaded.predict({"image": patches[:, :, 1:].numpy()})
    files = [p for p in (tmp_path / "tracking").rglob("*") if p.is_file()]
    assert not [p.name for p in files if p.suffix in (".pkl", ".pt", ".pth")]
    told = next(p for p in files if p.name == "MLmodel").read_text()
    assert str(tmp_path / "run") not in told
    client = mlflow.MlflowClient(database)
    version = client.get_model_version("nodules", "2")
    assert "mlflow.user" not in client.get_run(version.run_id).data.tags
    assert not version.user_id


def test_a_model_with_other_numbers_is_not_kept(
    tmp_path: Path, finetuned_run: Runs, database: str
) -> None:
    finetuned_run(tmp_path / "run")
    export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    finetuned_run(tmp_path / "other", patch=(16, 12, 8), units=("SUV",))
    weights = tmp_path / "other" / "checkpoints" / "model.safetensors"
    other = registered.load_finetuned(tmp_path / "other")
    with torch.no_grad():
        other.network.head.bias.add_(1.0)
    from medssl.models.weights import save_weights

    about = {k: v for k, v in other.about.items() if k != "weights_sha256"}
    save_weights(weights, other.network, about)
    with pytest.raises(JudgedAndFailed, match="the version was deleted"):
        registered.register(tmp_path / "other", tmp_path / "model.onnx", "nodules")
    assert not mlflow.MlflowClient(database).search_model_versions("name='nodules'")
