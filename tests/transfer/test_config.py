"""What the configuration of fine-tuning refuses, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medssl.bundled import bundled
from medssl.config import load_config, parse_config
from medssl.errors import ConfigError
from medssl.transfer.config import FinetuneConfig

BASE: dict[str, Any] = {
    "store": "s",
    "task": {"name": "segmentation"},
    "model": {"name": "segresnet"},
    "augment": {"patch": {"size": [16, 16, 16]}},
}

CLASSES = {"name": "classification", "label": "x"}


@pytest.mark.parametrize(
    "name",
    [
        "smoke",
        "classification",
        "regression",
        "segmentation",
        "hippocampus",
        "lung_nodules",
        "lung_nodules_folds",
        "linear_probe",
        "channels",
    ],
)
def test_the_example_configurations_are_valid(name: str) -> None:
    load_config(FinetuneConfig, bundled(f"configs/finetune/{name}.yaml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model is required"),
        ({"encoder_lr_factor": 0.1}, "encoder_lr_factor: without effect where init is null"),
        ({"head_only_steps": 5, "load_decoder": False}, "head_only_steps, load_decoder: without"),
        ({"steps": 5, "init": "r", "head_only_steps": 5}, "leaves none of the steps"),
        ({"select_by": "auc_macro"}, "segmentation has no metric auc_macro"),
        ({"split": {"test": 0.5, "val": 0.5}}, "no patient to train on"),
        ({"split": {"source": "cases", "seed": 1}}, "seed: without effect"),
        ({"split": {"source": "folds", "test": 0.3}}, "test: without effect where source is folds"),
        ({"regime": {"name": "lora"}}, "lora updates pretrained weights; set init"),
        ({"regime": {"name": "knn"}}, "knn is for classification, not segmentation"),
        ({"regime": {"name": "attention_probe"}}, "has nothing to pool"),
        (
            {"regime": {"name": "linear_probe"}, "task": CLASSES, "steps": 5, "patience": 1},
            "patience, steps: without effect where regime is linear_probe",
        ),
        (
            {"regime": {"name": "knn"}, "task": {**CLASSES, "dropout": 0.5}},
            "task.dropout: without effect where regime is knn",
        ),
        (
            {"regime": {"name": "attention_probe"}, "init": "r", "head_only_steps": 5},
            "head_only_steps: without effect where regime is attention_probe",
        ),
        ({"temperature_scaling": True}, "temperature_scaling: without effect in segmentation"),
        ({"test_time_flips": True}, "no axis may be mirrored"),
        ({"patience": 2, "split": {"val": 0.0}}, "patience: needs a validation part"),
        ({"split": {"folds": 3}}, "folds: without effect where source is fractions"),
        ({"task": {"name": "segmentation", "classes": [0, 1]}}, "0 is the background"),
        ({"task": {"name": "classification", "label": "x", "classes": ["a", "a"]}}, "twice"),
        ({"augmnt": {}}, "did you mean augment"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(FinetuneConfig, {**BASE, **change})


def test_selection_defaults_to_the_tasks_metric() -> None:
    assert parse_config(FinetuneConfig, BASE).selection_metric == "dice_mean"
    task = {"name": "classification", "label": "x"}
    assert parse_config(FinetuneConfig, {**BASE, "task": task}).selection_metric == "auc_macro"


def test_the_configuration_needs_neither_torch_nor_monai() -> None:
    import subprocess
    import sys

    code = (
        "import sys, medssl.transfer.config; "
        "print([m for m in ('torch', 'monai', 'mlflow', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert Path(bundled("configs/finetune/smoke.yaml")).is_file()


def test_flips_are_averaged_where_there_are_classes() -> None:
    flips = {"test_time_flips": True, "augment": {"spatial": {"flip": [0]}}}
    for task in ({"name": "regression", "label": "x"}, {"name": "multilabel", "labels": ["x"]}):
        with pytest.raises(ConfigError, match=f"{task['name']} has none"):
            parse_config(FinetuneConfig, {**BASE, **flips, "task": task})
    ordinal = {"name": "ordinal", "label": "x"}
    assert parse_config(FinetuneConfig, {**BASE, **flips, "task": ordinal}).test_time_flips
