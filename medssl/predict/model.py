"""A fine-tuned network out of its run folder, with all that its use takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError
from torch import nn

from medssl.augment.config import PatchConfig
from medssl.engine.loop import default_device
from medssl.errors import CheckpointError
from medssl.models.config import model_from_json
from medssl.models.weights import read_metadata, read_weights
from medssl.transfer.networks import network_of
from medssl.transfer.regimes import load_as_evaluated
from medssl.transfer.task_config import (
    ClassificationTask,
    OrdinalTask,
    SegmentationTask,
    TaskConfig,
)

_TASK: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode, on the GPU where there is one.

    Attributes:
        classes: names of the classes by number; in segmentation the foreground values of the mask.
        patch: size and spacing of what it was trained on.
        weights_sha256: as `medssl.models.weights.weights_sha256` counts.
    """

    network: nn.Module
    task: ClassificationTask | OrdinalTask | SegmentationTask
    classes: tuple[str, ...]
    patch: PatchConfig
    weights_sha256: str

    def described(self) -> dict[str, object]:
        """What is kept beside the results: no path, no patient."""
        return {
            "weights_sha256": self.weights_sha256,
            "task": self.task.model_dump(mode="json"),
            "classes": list(self.classes),
            "patch": self.patch.model_dump(mode="json"),
        }


def load_trained(run: Path) -> TrainedModel:
    """The model of a finished fine-tuning run.

    Raises:
        CheckpointError: `run` is none, is not finished, or of a task or network that this medssl
            does not know.
    """
    path, settings = run / "checkpoints" / "model.safetensors", run / "config.yaml"
    if not path.is_file() or not settings.is_file():
        raise CheckpointError(
            f"{run} holds no fine-tuned model (checkpoints/model.safetensors and config.yaml); "
            "name the folder of a finished run of medssl finetune"
        )
    about = read_metadata(path)
    try:
        model = model_from_json(about["model"])
        task = _TASK.validate_json(about["task"])
        classes = tuple(str(name) for name in json.loads(about["classes"]))
        configured = yaml.safe_load(settings.read_text(encoding="utf-8"))
        patch = PatchConfig.model_validate(configured["augment"]["patch"])
    except (KeyError, TypeError, ValidationError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{run} is of a model that this medssl does not know; fine-tune again, or use the "
            "medssl that made it"
        ) from error
    if not isinstance(task, ClassificationTask | OrdinalTask | SegmentationTask):
        raise CheckpointError(
            f"{run}: medssl predict knows no task {task.name}; its results on the test part are in "
            "predictions.parquet"
        )
    channels = int(about.get("in_channels", "1"))
    network = network_of(task, model, channels, classes, patch.size)
    try:
        load_as_evaluated(network, read_weights(path), about)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit the network that it names") from error
    network.eval().requires_grad_(False).to(default_device())
    return TrainedModel(network, task, classes, patch, about["weights_sha256"])
