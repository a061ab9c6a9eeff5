"""A fine-tuned network as a model in MLflow, with its signature, under a registered name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medssl import tracking
from medssl.errors import JudgedAndFailed
from medssl.export.finetuned import greatest_difference, load_finetuned
from medssl.export.onnx_file import INPUT, LARGEST_DIFFERENCE, OUTPUT


@dataclass(frozen=True)
class Registered:
    """`difference` is that of the model as loaded back, relative to the largest logit."""

    name: str
    version: str
    uri: str
    difference: float

    def lines(self) -> list[str]:
        """For the reader."""
        return [
            f"MLflow: {self.name}, version {self.version}; mlflow.pyfunc.load_model({self.uri!r})",
            f"check:  loaded back, it differs from torch by {self.difference:.1e} of the largest "
            "logit",
        ]


def register(run: Path, model: Path, name: str) -> Registered:
    """Log an exported ONNX file as a model of MLflow and register it as `name`.

    The file is what MLflow keeps: no pickle. Its signature is patches (batch, 1, D, H, W) to
    logits, float32; what the network was trained on goes to the model's metadata, and to the run
    of MLflow that trained it where that is still there.

    Args:
        run: folder of the fine-tuning run.
        model: what `export_onnx` wrote of it.

    Raises:
        ConfigError, CheckpointError: as `load_finetuned`.
        JudgedAndFailed: the model, loaded back, gives other numbers; the version is deleted.
    """
    finetuned = load_finetuned(run)
    import mlflow
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    mlflow.set_tracking_uri(tracking.tracking_uri())
    float32 = np.dtype(np.float32)
    patches = finetuned.random_patches(2)
    with torch.inference_mode():
        expected = finetuned.network(patches)
    signature = ModelSignature(
        Schema([TensorSpec(float32, (-1, *patches.shape[1:]), INPUT)]),
        Schema([TensorSpec(float32, (-1, *expected.shape[1:]), OUTPUT)]),
    )
    tracker = tracking.start(
        "export",
        run.name,
        {},
        {"medssl.weights_sha256": finetuned.about["weights_sha256"]},
        parent_id=_trained_by(run),
    )
    status = "FAILED"
    try:
        with mlflow.start_run(run_id=tracker.run_id):
            logged = mlflow.onnx.log_model(
                onnx.load(model),
                name="model",
                signature=signature,
                metadata=json.loads(json.dumps(finetuned.facts())),
                registered_model_name=name,
                pip_requirements=["onnx", "onnxruntime"],
                await_registration_for=None,
            )
        status = "FINISHED"
    finally:
        tracker.close(status)
    version = str(logged.registered_model_version)
    uri = f"models:/{name}/{version}"
    found = mlflow.pyfunc.load_model(uri).predict({INPUT: patches.numpy()})[OUTPUT]
    difference = greatest_difference(expected, torch.from_numpy(np.asarray(found)))
    if not difference <= LARGEST_DIFFERENCE:
        mlflow.MlflowClient().delete_model_version(name, version)
        raise JudgedAndFailed(
            f"the model that MLflow gives back differs from torch's by {difference:.1e} of the "
            "largest logit; the version was deleted"
        )
    return Registered(name, version, uri, difference)


def _trained_by(run: Path) -> str | None:
    kept = run / ".mlflow_run"
    return kept.read_text("utf-8") if kept.is_file() else None
