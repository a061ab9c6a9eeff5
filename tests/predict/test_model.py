from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medssl.errors import CheckpointError
from medssl.models.build import build_classifier
from medssl.models.config import SegResNetConfig
from medssl.models.weights import read_metadata, read_weights, save_weights
from medssl.predict.model import load_trained
from medssl.transfer.ensemble import write_ensemble
from medssl.transfer.regime_config import AttentionProbeRegime
from medssl.transfer.regimes import prepare
from medssl.transfer.task_config import MultilabelTask, RegressionTask

from .conftest import SIZE

WriteRun = Callable[..., Path]
MODEL = SegResNetConfig(init_filters=4, blocks_down=(1, 1))


def in_folds(run: Path, write_run: WriteRun, temperatures: list[float]) -> list[Path]:
    """A cross-validation's folder whose folds have networks and temperatures of their own."""
    members = []
    for number, temperature in enumerate(temperatures):
        fold = write_run(run / "folds" / str(number), ("a", "b", "c"), classify=True, seed=number)
        path = fold / "checkpoints" / "model.safetensors"
        about = {**read_metadata(path), "temperature": json.dumps(temperature)}
        save_weights(path, read_weights(path), about)
        members.append(path)
    shutil.copy(run / "folds" / "0" / "config.yaml", run / "config.yaml")
    write_ensemble(run, members)
    return members


def test_folds_are_averaged_by_probability_each_at_its_temperature(
    tmp_path: Path, write_run: WriteRun
) -> None:
    temperatures = [0.5, 1.0, 4.0]
    members = in_folds(tmp_path, write_run, temperatures)
    images = torch.randn(2, 1, *SIZE)
    expected = torch.zeros(2, 3)
    for path, temperature in zip(members, temperatures, strict=True):
        network = build_classifier(
            SegResNetConfig(init_filters=4, blocks_down=(1, 1)), 1, 3, SIZE, 0.2
        )
        network.load_state_dict(read_weights(path))
        with torch.no_grad():
            expected += torch.softmax(network.eval()(images) / temperature, dim=1) / 3
    found = torch.softmax(load_trained(tmp_path).network(images), dim=1)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "answer", "inverse"),
    [
        (RegressionTask(label="age"), lambda x, one: x * one["std"] + one["mean"], lambda x: x),
        (MultilabelTask(labels=("a", "b", "c")), lambda x, one: torch.sigmoid(x), torch.logit),
    ],
)
def test_folds_of_other_tasks_are_averaged_by_what_they_predict(
    tmp_path: Path, write_run: WriteRun, task: Any, answer: Any, inverse: Any
) -> None:
    members = in_folds(tmp_path, write_run, [1.0, 1.0, 1.0])
    units = [{"mean": 40.0, "std": 9.0}, {"mean": 43.0, "std": 7.0}, {"mean": 39.0, "std": 8.0}]
    images = torch.randn(2, 1, *SIZE)
    expected = torch.zeros(2, 3)
    for path, one in zip(members, units, strict=True):
        network = build_classifier(MODEL, 1, 3, SIZE, 0.2)
        network.load_state_dict(read_weights(path))
        with torch.no_grad():
            expected += answer(network.eval()(images), one) / 3
        about = {"task": task.model_dump_json(), "target_mean": f"{one['mean']}"}
        about["target_std"] = f"{one['std']}"
        if isinstance(task, RegressionTask):
            # One number, as a regression's network has it.
            network = build_classifier(MODEL, 1, 1, SIZE, 0.2)
            state = read_weights(path)
            for name in ("head.weight", "head.bias"):
                state[name] = state[name][:1]
            network.load_state_dict(state)
            about["classes"] = "[]"
        save_weights(path, network, {**read_metadata(path), **about})
    write_ensemble(tmp_path, members)
    found = load_trained(tmp_path).network(images)
    assert torch.allclose(found, inverse(expected)[:, : found.shape[1]], rtol=1e-5, atol=1e-5)


def test_a_fold_that_was_changed_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    in_folds(tmp_path, write_run, [1.0, 1.0])
    write_run(tmp_path / "folds" / "1", ("a", "b", "c"), classify=True, seed=9)
    with pytest.raises(CheckpointError, match="run the cross-validation again"):
        load_trained(tmp_path)


def test_an_attention_probe_has_its_pooling(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", ("a", "b"), classify=True)
    regime = AttentionProbeRegime(heads=2)
    network = build_classifier(MODEL, 1, 2, SIZE, 0.2)
    prepare(network, regime)
    path = run / "checkpoints" / "model.safetensors"
    about = {**read_metadata(path), "regime": regime.model_dump_json()}
    save_weights(path, network, about)
    images = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        expected = torch.softmax(network.eval()(images), dim=1)
    found = torch.softmax(load_trained(run).network(images), dim=1)
    assert torch.allclose(found, expected, atol=1e-6)
