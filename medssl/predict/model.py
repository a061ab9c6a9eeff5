"""A fine-tuned network, or those of a cross-validation, with all that prediction takes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from medssl.augment.config import PatchConfig
from medssl.engine.loop import default_device
from medssl.errors import CheckpointError
from medssl.models.config import model_from_json
from medssl.models.weights import read_metadata, read_weights
from medssl.transfer.ensemble import FILE_NAME as ENSEMBLE
from medssl.transfer.ensemble import read_ensemble
from medssl.transfer.networks import network_of
from medssl.transfer.regimes import load_as_evaluated
from medssl.transfer.task_config import (
    ClassificationTask,
    OrdinalTask,
    SegmentationTask,
    TaskConfig,
)

_TASK: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


class Averaged(nn.Module):
    """Logits of the mean of several networks' probabilities, over axis 1."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images_BCDHW: Tensor) -> Tensor:
        """(B, K) or (B, K, D, H, W), as the networks give it."""
        logs = [network(images_BCDHW).float().log_softmax(dim=1) for network in self.networks]
        return torch.stack(logs).logsumexp(dim=0) - math.log(len(logs))


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode, on the GPU where there is one.

    Attributes:
        classes: names of the classes by number; in segmentation the foreground values of the mask.
        patch: size and spacing of what it was trained on.
        channels: series that are a case together, see `medssl.transfer.channels`; None: one.
        weights_sha256: as `medssl.models.weights.weights_sha256` counts.
    """

    network: nn.Module
    task: ClassificationTask | OrdinalTask | SegmentationTask
    classes: tuple[str, ...]
    patch: PatchConfig
    weights_sha256: str
    channels: tuple[str, ...] | None

    def described(self) -> dict[str, object]:
        """What is kept beside the results: no path, no patient."""
        return {
            "weights_sha256": self.weights_sha256,
            "task": self.task.model_dump(mode="json"),
            "classes": list(self.classes),
            "patch": self.patch.model_dump(mode="json"),
        }


def load_trained(run: Path) -> TrainedModel:
    """The model of a finished fine-tuning run; after a cross-validation, the mean of its folds.

    Raises:
        CheckpointError: `run` is none, is not finished, or of a task or network that this medssl
            does not know.
    """
    settings = run / "config.yaml"
    in_folds = (run / ENSEMBLE).is_file()
    weights = read_ensemble(run) if in_folds else [run / "checkpoints" / "model.safetensors"]
    if not weights[0].is_file() or not settings.is_file():
        raise CheckpointError(
            f"{run} holds no fine-tuned model (checkpoints/model.safetensors or {ENSEMBLE}, and "
            "config.yaml); name the folder of a finished run of medssl finetune"
        )
    about = [read_metadata(path) for path in weights]
    try:
        task = _TASK.validate_json(about[0]["task"])
        classes = tuple(str(name) for name in json.loads(about[0]["classes"]))
        configured = yaml.safe_load(settings.read_text(encoding="utf-8"))
        patch = PatchConfig.model_validate(configured["augment"]["patch"])
        models = [model_from_json(one["model"]) for one in about]
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
    networks = []
    for path, one, model in zip(weights, about, models, strict=True):
        network = network_of(task, model, int(one.get("in_channels", "1")), classes, patch.size)
        try:
            load_as_evaluated(network, read_weights(path), one)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit the network that it names") from error
        networks.append(network)
    whole = Averaged(networks) if in_folds else networks[0]
    whole.eval().requires_grad_(False).to(default_device())
    channels = json.loads(about[0].get("channels", "null"))
    named = tuple(channels) if channels and len(channels) > 1 else None
    return TrainedModel(whole, task, classes, patch, _digest(about), named)


def _digest(about: list[dict[str, str]]) -> str:
    """The hash of the weights; of several, that of their hashes."""
    hashes = [one["weights_sha256"] for one in about]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
