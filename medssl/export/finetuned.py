"""A fine-tuned network as it comes out of its run, with what others must know to use it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor

from medssl.augment.normalise import HU_RANGE, SUV_MAX
from medssl.errors import CheckpointError, ConfigError
from medssl.models.build import Classifier, Segmenter
from medssl.models.config import ModelConfig, PatchSize
from medssl.models.pretrained import described_model
from medssl.models.weights import read_metadata, read_weights
from medssl.transfer.ensemble import FILE_NAME as ENSEMBLE
from medssl.transfer.ensemble import read_ensemble
from medssl.transfer.networks import network_of
from medssl.transfer.regimes import load_as_evaluated
from medssl.transfer.task_config import ClassificationTask, SegmentationTask, TaskConfig

_TASK: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)

NORMALISATION = {
    "HU": f"clip to {HU_RANGE[0]:g} ... {HU_RANGE[1]:g}, divide by 1000",
    "SUV": f"clip to 0 ... {SUV_MAX:g}, square root",
    "arbitrary": "clip to percentiles 0.5 and 99.5 of the foreground, subtract its median, divide "
    "by its interquartile range / 1.349 (at least a twentieth of the clipped range)",
}
"""What is done to a scan's numbers before the network, by their units."""

AXES = "D to the patient's right, H to the front, W to the top"


@dataclass(frozen=True)
class Finetuned:
    """A classifier or a segmenter, in evaluation mode, on the CPU.

    Attributes:
        run: its folder.
        about: the metadata of its weights.
        config: the run's config.yaml.
        task: classification or segmentation.
        classes: names of the outputs in order; in segmentation after the background.
        patch: voxels (D, H, W) that it was trained on.
        spacing_mm: between them; None where each scan's own was kept.
    """

    run: Path
    about: dict[str, str]
    config: dict[str, Any]
    network: Classifier | Segmenter
    model: ModelConfig
    task: str
    classes: tuple[str, ...]
    patch: PatchSize
    spacing_mm: tuple[float, float, float] | None

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each channel of the logits stands for."""
        return self.classes if self.task == "classification" else ("background", *self.classes)

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the scans that it was trained on: HU, SUV, arbitrary."""
        return tuple(json.loads(self.about["units"]))

    @property
    def is_plain(self) -> bool:
        """Whether its answer is the network's forward pass alone, on the pooling it is built with.

        False where a temperature, mirror images, a probe's head or overlapping regions are part of
        the answer.
        """
        regime = json.loads(self.about.get("regime", '{"name": "full"}'))["name"]
        return (
            json.loads(self.about.get("temperature", "1.0")) == 1
            and not json.loads(self.about.get("test_time_flips", "[]"))
            and regime in ("full", "lora", "linear_probe")
            and not json.loads(self.about["task"]).get("regions")
        )

    def random_patches(self, count: int, seed: int = 0) -> Tensor:
        """(count, 1, D, H, W) patches of normal noise, to compare two forms of the network on."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((count, 1, *self.patch), generator=generator)

    def facts(self) -> dict[str, Any]:
        """What a user of the network alone has to know, as plain data for JSON."""
        return {
            "task": self.task,
            "classes": list(self.outputs),
            "axes": AXES,
            "patch_size": list(self.patch),
            "spacing_mm": None if self.spacing_mm is None else list(self.spacing_mm),
            "normalisation": {unit: NORMALISATION[unit] for unit in self.units},
            "weights_sha256": self.about["weights_sha256"],
        }


def load_finetuned(run: Path) -> Finetuned:
    """The network that a finished fine-tuning run kept.

    Raises:
        ConfigError, CheckpointError: as `read_network`; or the run is not finished, or its network
            takes several channels.
    """
    found = read_network(run)
    channels = json.loads(found.about.get("channels", "null")) or ()
    if len(channels) > 1:
        raise ConfigError(
            f"the network in {run} takes {len(channels)} channels ({', '.join(channels)}); "
            "networks of one series are exported. Its weights, with the network's configuration "
            "in their metadata, are in checkpoints/model.safetensors"
        )
    if not (run / "summary.json").is_file():
        raise CheckpointError(f"the run in {run} is not finished; run its command again to resume")
    return found


def read_network(run: Path, *, flips: bool = True) -> Finetuned:
    """The network that a fine-tuning run kept, once its training is over.

    It answers as it was evaluated: by its regime, averaged over mirror images where these were
    (unless `flips` is False), and with its temperature.

    Raises:
        ConfigError: `run` is no folder of a fine-tuning run, a cross-validation's, or of a task
            that is not exported.
        CheckpointError: there are no weights, or they do not say what they fit.
    """
    if (run / ENSEMBLE).is_file():
        fold = run / "folds" / "0"
        raise ConfigError(
            f"{run} is a cross-validation, of {len(read_ensemble(run))} networks that answer "
            f"together, and what is written holds one; name one of them ({fold}, whose results are "
            "its own), or train one network with split.source: fractions. medssl predict takes the "
            "whole of it, and so does medssl export card"
        )
    written = run / "config.yaml"
    stages = ("# finetune\n", "# fold\n")  # a fold is a training like any other
    if not written.is_file() or not written.read_text("utf-8").startswith(stages):
        raise ConfigError(f"{run} is no folder of a fine-tuning run; `medssl finetune` makes one")
    weights = run / "checkpoints" / "model.safetensors"
    about = read_metadata(weights)
    if not flips:
        about = {**about, "test_time_flips": "[]"}
    model = described_model(weights)
    if model is None or not {"task", "classes", "patch_size", "units"} <= about.keys():
        raise CheckpointError(f"{weights} does not say all that it fits; fine-tune again")
    config = yaml.safe_load(written.read_text("utf-8"))
    task = _TASK.validate_json(about["task"])
    if not isinstance(task, ClassificationTask | SegmentationTask):
        raise ConfigError(f"task {task.name} is not exported; classification and segmentation are")
    classes = tuple(str(name) for name in json.loads(about["classes"]))
    d, h, w = json.loads(about["patch_size"])
    network = network_of(task, model, int(about["in_channels"]), classes, (d, h, w))
    load_as_evaluated(network, read_weights(weights), about)
    network.eval().requires_grad_(False)
    given = config["augment"]["patch"]["spacing_mm"]
    along = None if given is None else given if isinstance(given, list) else [given] * 3
    spacing_mm = None if along is None else (float(along[0]), float(along[1]), float(along[2]))
    return Finetuned(run, about, config, network, model, task.name, classes, (d, h, w), spacing_mm)


def greatest_difference(expected: Tensor, found: Tensor) -> float:
    """Greatest absolute difference of two answers, as a share of the greatest absolute expected."""
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-12))
