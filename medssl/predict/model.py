"""A fine-tuned network, or those of a cross-validation, with all that prediction takes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from scipy.special import expit
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from medssl.augment.config import PatchConfig
from medssl.engine.loop import default_device
from medssl.errors import CheckpointError
from medssl.models.config import model_from_json
from medssl.models.weights import read_metadata, read_weights
from medssl.transfer.ensemble import FILE_NAME as ENSEMBLE
from medssl.transfer.ensemble import read_ensemble
from medssl.transfer.networks import network_of
from medssl.transfer.operating_point import joint_threshold, kept_threshold, threshold_told
from medssl.transfer.regimes import load_as_evaluated
from medssl.transfer.task_config import (
    ClassificationTask,
    MultilabelTask,
    RegressionTask,
    TaskConfig,
)

_TASK: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


class Averaged(nn.Module):
    """Several networks as one: the mean of what they predict.

    Of numbers (regression) that is the mean of the outputs; else logits of the mean of the
    probabilities, of classes over axis 1 or, multilabel, of each label.
    """

    def __init__(self, networks: Sequence[nn.Module], task: TaskConfig) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.task = task

    def forward(self, images_BCDHW: Tensor) -> Tensor:
        """(B, K) or (B, K, D, H, W), as the networks give it."""
        outputs = torch.stack([network(images_BCDHW).float() for network in self.networks])
        match self.task:
            case RegressionTask():
                return outputs.mean(dim=0)
            case MultilabelTask():
                there, absent = (logsigmoid(x).logsumexp(dim=0) for x in (outputs, -outputs))
                return there - absent
        return outputs.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(outputs))


class InUnits(nn.Module):
    """A regression's network with its output in the label's units."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, images_BCDHW: Tensor) -> Tensor:
        """(B, 1)."""
        standardised: Tensor = self.network(images_BCDHW)
        return standardised.float() * self.std + self.mean


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode, on the GPU where there is one.

    Attributes:
        network: gives logits; in regression the number itself, in the label's units.
        classes: names of the classes by number; in segmentation the foreground values of the mask,
            multilabel the labels, in regression none.
        patch: size and spacing of what it was trained on.
        channels: series that are a case together, see `medssl.transfer.channels`; None: one.
        weights_sha256: as `medssl.models.weights.weights_sha256` counts.
        thresholds: of a classification into two classes, that of each network, see
            `medssl.transfer.operating_point`; of other tasks none.
    """

    network: nn.Module
    task: TaskConfig
    classes: tuple[str, ...]
    patch: PatchConfig
    weights_sha256: str
    channels: tuple[str, ...] | None
    thresholds: tuple[float | None, ...]

    @property
    def threshold(self) -> float | None:
        """The difference of the logits from which the second of two classes is the answer; None:
        the likeliest class is."""
        return joint_threshold(self.thresholds)

    def told(self) -> list[str]:
        """For the reader, where the answer is one of two classes: from where it is the second."""
        if not self.thresholds:
            return []
        return [f"{self.classes[1]} is answered from {threshold_told(self.thresholds)}"]

    def described(self) -> dict[str, object]:
        """What is kept beside the results: no path, no patient."""
        return {
            "weights_sha256": self.weights_sha256,
            "task": self.task.model_dump(mode="json"),
            "classes": list(self.classes),
            "patch": self.patch.model_dump(mode="json"),
            "threshold": None if self.threshold is None else float(expit(self.threshold)),
        }


def load_trained(run: Path) -> TrainedModel:
    """The model of a finished fine-tuning run; after a cross-validation, the mean of its folds.

    Raises:
        CheckpointError: `run` is none, is not finished, or of a network that this medssl does not
            know.
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
    networks: list[nn.Module] = []
    for path, one, model in zip(weights, about, models, strict=True):
        network = network_of(task, model, int(one.get("in_channels", "1")), classes, patch.size)
        try:
            load_as_evaluated(network, read_weights(path), one)
            networks.append(_in_units(network, task, one))
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit the network that it names") from error
    whole = Averaged(networks, task) if in_folds else networks[0]
    whole.eval().requires_grad_(False).to(default_device())
    channels = json.loads(about[0].get("channels", "null"))
    named = tuple(channels) if channels and len(channels) > 1 else None
    of_two = isinstance(task, ClassificationTask) and len(classes) == 2
    thresholds = tuple(map(kept_threshold, about)) if of_two else ()
    return TrainedModel(whole, task, classes, patch, _digest(about), named, thresholds)


def _in_units(network: nn.Module, task: TaskConfig, about: Mapping[str, str]) -> nn.Module:
    """Of a regression's network what answers in the label's units; others as they are."""
    if not isinstance(task, RegressionTask):
        return network
    return InUnits(network, float(about["target_mean"]), float(about["target_std"]))


def _digest(about: list[dict[str, str]]) -> str:
    """The hash of the weights; of several, that of their hashes."""
    hashes = [one["weights_sha256"] for one in about]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
