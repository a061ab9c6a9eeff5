"""Folders of finished fine-tuning runs, as far as an export reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from medssl.models.build import Classifier, Segmenter
from medssl.models.config import ModelConfig, SegResNetConfig
from medssl.models.weights import save_weights
from medssl.transfer.config import TaskConfig
from medssl.transfer.networks import network_of
from medssl.transfer.regimes import load_as_evaluated

TASKS = {
    "classification": {"name": "classification", "label": "malignant"},
    "segmentation": {"name": "segmentation"},
}
_TASK: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
SMALL = SegResNetConfig(init_filters=4, blocks_down=(1, 1))


def write_run(
    folder: Path,
    task: str = "segmentation",
    model: ModelConfig = SMALL,
    patch: tuple[int, int, int] = (16, 12, 8),
    units: tuple[str, ...] = ("HU",),
    spacing_mm: float | None = 1.5,
    **told: str,
) -> Classifier | Segmenter:
    """Write a run with a network away from where it starts; gives that network.

    Args:
        task: classification, segmentation, or a task as JSON.
    """
    torch.manual_seed(4)
    classes = ("benign", "malignant") if task == "classification" else ("1", "3")
    described = json.dumps(TASKS[task]) if task in TASKS else task
    net = network_of(_TASK.validate_json(described), model, 1, classes, patch)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
    about = {
        "model": model.model_dump_json(),
        "in_channels": "1",
        "patch_size": json.dumps(patch),
        "task": described,
        "classes": json.dumps(classes),
        "units": json.dumps(units),
        "store_key_id": "0123456789ab",
    }
    about |= told  # what else the metadata say, such as a temperature
    save_weights(folder / "checkpoints" / "model.safetensors", net, about)
    config = {
        "task": json.loads(described),
        "augment": {"patch": {"size": list(patch), "spacing_mm": spacing_mm}},
    }
    (folder / "config.yaml").write_text("# finetune\n" + yaml.safe_dump(config))
    (folder / "summary.json").write_text("{}\n")
    load_as_evaluated(net, net.state_dict(), about)
    return net.eval()


@pytest.fixture
def finetuned_run() -> Callable[..., Classifier | Segmenter]:
    """See `write_run`."""
    return write_run
