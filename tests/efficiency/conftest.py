"""A small store with labels, an encoder with its record, and a training that takes no time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.config import parse_config
from medssl.efficiency.canonical import sha256_json
from medssl.efficiency.config import StudyConfig
from medssl.engine.loop import TrainOutcome
from medssl.engine.population import POPULATION_COLUMNS
from medssl.models.config import SegResNetConfig
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.transfer.initial import resolve_model
from medssl.volume import Volume

TEST = {"fraction": 0.25, "seed": 0, "label": "malignant"}
MODEL = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
BRIGHT = {"name": "classification", "label": "bright"}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def labelled_store(tmp_path: Path) -> Path:
    """80 patients of two classes, some with two volumes; manifest and labels without voxels."""
    root = tmp_path / "store"
    create_store(root, "key-1", {})
    manifest, labels, instances = [], [], []
    for number in range(80):
        patient = _hash(f"patient {number}")[:32]
        for scan in range(1 + number % 2):
            uid = _hash(f"volume {number} {scan}")[:32]
            manifest.append(
                {
                    "volume_uid": uid,
                    "patient_key": patient,
                    "series_key": _hash(f"series {uid}")[:32],
                    "study_key": _hash(f"study {uid}")[:32],
                    "group_quality": "patient",
                    "modality": "CT",
                    "pixel_sha256": _hash(f"pixels {uid}"),
                    "perceptual_hash": _hash(f"looks {uid}"),
                }
            )
            instances += [
                {
                    "volume_uid": uid,
                    "instance_key": _hash(f"instance {uid} {k}")[:32],
                    "file_sha256": _hash(f"file {uid} {k}"),
                }
                for k in range(1 + number % 3)
            ]
            value = str(int(number % 5 < 2))
            labels.append(
                {
                    "volume_uid": uid,
                    "patient_key": patient,
                    "name": "malignant",
                    "kind": "class",
                    "value": value,
                }
            )
    write_part(root, "manifest", "00000", manifest)
    write_part(root, "labels", "00000", labels)
    write_part(root, "instances", "00000", instances)
    return root


@pytest.fixture
def pretrained_run(tmp_path: Path) -> Path:
    """What a pretraining run leaves behind: weights that say what they are, and what they saw."""
    import torch

    from medssl.models.weights import save_weights

    run = tmp_path / "pretrained"
    save_weights(
        run / "checkpoints" / "encoder.safetensors",
        {"encoder.stem.weight": torch.zeros(4, 1, 3, 3, 3)},
        {
            "model": MODEL.model_dump_json(),
            "method": "simclr",
            "step": "10",
            "store_key_id": "key-1",
            "config_sha256": _hash("config"),
        },
    )
    row = {name: _hash(f"pretraining {name}") for name in POPULATION_COLUMNS}
    row |= {"group_quality": "patient", "modality": "CT"}
    pd.DataFrame([row]).to_parquet(run / "volumes.parquet", index=False)
    instance = {"volume_uid": row["volume_uid"], "instance_key": "0a", "file_sha256": "0b"}
    pd.DataFrame([instance]).to_parquet(run / "instances.parquet", index=False)
    return run


@pytest.fixture
def make_config(labelled_store: Path, pretrained_run: Path) -> Callable[..., StudyConfig]:
    """A study of two arms, three fractions and three draws; any key can be replaced."""

    def make(**changes: Any) -> StudyConfig:
        values: dict[str, Any] = {
            "store": labelled_store,
            "encoder": pretrained_run,
            "fractions": [0.25, 0.5, 1.0],
            "draws": 3,
            "test": TEST,
            "fit": {
                "task": {"name": "classification", "label": "malignant"},
                "augment": {"patch": {"size": [16, 16, 16]}},
                "steps": 4,
            },
            "metric": "auc_macro",
            "search": {"trials": 1},
            "replicates": 200,
        }
        return parse_config(StudyConfig, {**values, **changes})

    return make


@dataclass
class FakeTrained:
    """What a pretended training came to; what it predicts is a function of cases and seed."""

    outcome: TrainOutcome
    value: float | None
    weights_sha256: str
    cases: pd.DataFrame
    labels: float
    gain: float
    seed: int
    log: list[str]
    name: str
    encoder: None = None

    def predict_test(self, cases: pd.DataFrame, run: Any, progress: Any) -> Any:
        self.log.append(f"test {self.name}")
        shown = cases[cases["split"] != "train"].reset_index(drop=True)
        rng = np.random.default_rng([self.seed, int(self.labels)])
        signal = self.gain * np.log2(self.labels) / 4
        logit = signal * (2 * shown["y_true"] - 1) + rng.normal(0, 1, len(shown))
        return SimpleNamespace(predictions=shown.assign(logit_0=0.0, logit_1=logit))


class FakeTrain:
    """Predicts the truth plus noise; the more labels, and with an encoder, the less noise.

    The validation value is `values` at the learning rate of the trial.
    """

    def __init__(self, gain: float = 1.0, saved: float = 2.0) -> None:
        self.gain, self.saved = gain, saved
        self.called: list[str] = []
        self.log: list[str] = []
        self.fails: set[str] = set()
        self.values: dict[float, float] = {}

    def __call__(
        self,
        config: Any,
        store: Any,
        cases: pd.DataFrame,
        run: Any,
        tracker: Any,
        progress: Any,
        seed: int,
    ) -> FakeTrained:
        name = run.path.name
        if run.path.parent.name == "trials":
            name = f"{run.path.parents[1].name}/{name}"
        assert resolve_model(config) == MODEL
        self.called.append(name)
        self.log.append(f"train {name}")
        steps = 0 if config.regime.name != "full" else config.steps
        progress.start("training", steps)
        progress.advance(steps, loss=0.5)
        progress.finish()
        if tracker is not None:
            tracker.log(steps, {"train/loss": 0.5})
        if name in self.fails:
            raise RuntimeError("a secret path")
        # What the loop and fit leave in the run folder.
        (run.checkpoints / "last.safetensors").write_bytes(b"state")
        (run.checkpoints / "model.safetensors").write_bytes(name.encode())
        labels = (cases["split"] != "test").sum() * (self.saved if config.init else 1.0)
        value = self.values.get(config.optim.lr) if (cases["split"] == "val").any() else None
        return FakeTrained(
            TrainOutcome(steps, 1.0, None, None),
            value,
            sha256_json([name, seed]),
            cases,
            labels,
            self.gain,
            seed,
            self.log,
            name,
        )


@pytest.fixture
def fake_train() -> FakeTrain:
    return FakeTrain()


class _NoTracker:
    """Stands in for a Tracker where a test is not about MLflow."""

    run_id = "none"

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.fixture
def no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's database takes most of the time of a study without training."""
    monkeypatch.setattr("medssl.tracking.start", lambda *_, **__: _NoTracker())


@pytest.fixture
def bright_store(tmp_path: Path) -> Path:
    """24 patients; class 1 has a bright cube, which is also the mask."""
    root = tmp_path / "store"
    create_store(root, "key-1", {})
    manifest, labels = [], []
    for number in range(24):
        uid, patient = (
            hashlib.sha256(f"{kind} {number}".encode()).hexdigest()[:32] for kind in "vp"
        )
        rng = np.random.default_rng(number)
        stored = rng.integers(0, 200, (10, 10, 10)).astype(np.int16)
        mask = np.zeros_like(stored, dtype=np.uint8)
        mask[3:7, 3:7, 3 : 7 - number % 2] = 1
        stored[mask == 1] += 400 * (number % 2) + 100
        write_voxels(root / volume_path(uid), stored)
        write_voxels(root / volume_path(uid, "labels"), mask)
        volume = Volume(stored.astype("f4"), np.eye(4), "MR")
        row = {"volume_uid": uid, "patient_key": patient}
        manifest.append(
            {
                **row,
                "group_quality": "patient",
                "modality": "MR",
                "units": "arbitrary",
                "path": volume_path(uid),
                **describe_values(volume),
                **geometry_columns(volume),
            }
        )
        cube = {"kind": "mask", "value": "0,1", "path": volume_path(uid, "labels")}
        labels += [
            {**row, "name": "bright", "kind": "class", "value": str(number % 2)},
            {**row, "name": "cube", **cube},
        ]
    write_part(root, "manifest", "00000", manifest)
    write_part(root, "labels", "00000", labels)
    return root


@pytest.fixture
def bright_config(bright_store: Path) -> Callable[..., StudyConfig]:
    """A study of scratch with real training in a moment; `fit` is changed by its own keys."""

    def make(
        task: dict[str, Any] = BRIGHT, metric: str = "auc_macro", **changes: Any
    ) -> StudyConfig:
        fit = {
            "task": task,
            "model": MODEL.model_dump(),
            "augment": {"patch": {"size": [8, 8, 8]}},
            "optim": {"lr": 1e-3, "warmup_steps": 1},
            "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 1, "log_every": 1},
            "steps": 6,
            "batch_size": 2,
        }
        values = {
            "store": bright_store,
            "arms": ["scratch"],
            "fractions": [0.4, 1.0],
            "draws": 1,
            "test": {"fraction": 0.25, "seed": 0, "label": task.get("label")},
            "fit": fit | {k: v for k, v in changes.items() if k in fit},
            "search": {"trials": 2, "space": {"optim.lr": [1e-3, 1e-2]}},
            "metric": metric,
            "replicates": 100,
        }
        others = {k: v for k, v in changes.items() if k not in fit}
        return parse_config(StudyConfig, {**values, **others})

    return make
