"""Studies with real training, tiny: killed and resumed to the bit; masks of a segmentation."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.config import dump_config, parse_config
from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import read_ledger, verify_chain
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

pytestmark = pytest.mark.usefixtures("no_tracking")

_RUN = """
import sys
from pathlib import Path
import medssl.tracking

class Nothing:
    run_id = "none"
    def __getattr__(self, name):
        return lambda *_, **__: None

medssl.tracking.start = lambda *_, **__: Nothing()
from medssl.config import load_config
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.study import run_study
run_study(load_config(StudyConfig, Path(sys.argv[1])), Path(sys.argv[2]))
"""


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


def config_of(store: Path, task: dict[str, Any], metric: str, **changes: Any) -> StudyConfig:
    label = task.get("label")
    values = {
        "store": store,
        "arms": ["scratch"],
        "fractions": [0.4, 1.0],
        "draws": 1,
        "test": {"fraction": 0.25, "seed": 0, "label": label},
        "fit": {
            "task": task,
            "model": {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]},
            "augment": {"patch": {"size": [8, 8, 8]}},
            "optim": {"lr": 1e-3, "warmup_steps": 1},
            "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 1, "log_every": 1},
            "steps": 6,
            "batch_size": 2,
        },
        "metric": metric,
        "search": {"trials": 2, "space": {"optim.lr": [1e-3, 1e-2]}},
        "replicates": 100,
    }
    return parse_config(StudyConfig, {**values, **changes})


def test_killed_study_ends_with_the_bits_of_an_unbroken_one(
    bright_store: Path, tmp_path: Path
) -> None:
    task = {"name": "classification", "label": "bright"}
    config = config_of(bright_store, task, "auc_macro")
    run_study(config, tmp_path / "whole")

    written = tmp_path / "study.yaml"
    written.write_text(dump_config(config))
    broken = tmp_path / "broken"
    child = subprocess.Popen([sys.executable, "-c", _RUN, str(written), str(broken)])
    state = broken / "cells" / "scratch_1_0" / "trials" / "1" / "metrics.jsonl"
    try:
        # Into the second trial of the second cell, past its first checkpoints.
        deadline = time.monotonic() + 200
        while not (state.is_file() and len(state.read_text().splitlines()) >= 3):
            assert child.poll() is None, "the study ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert not (broken / "predictions" / "scratch_1_0.parquet").exists()

    assert run_study(config, broken).trained == 1
    for path in (tmp_path / "whole" / "predictions").iterdir():
        assert sha256_file(path) == sha256_file(broken / "predictions" / path.name)
    entries = read_ledger(broken / "ledger.jsonl")
    assert verify_chain(entries) == []
    # The first fraction has no validation part, and so one trial.
    assert sum(e.event == "training_started" for e in entries) == 3
    log = broken / "cells" / "scratch_1_0" / "trials" / "1" / "run.log"
    assert "resumed at step" in log.read_text()


def test_masks_of_a_segmentation_lie_where_the_predictions_say(
    bright_store: Path, tmp_path: Path
) -> None:
    task = {"name": "segmentation", "mask": "cube"}
    config = config_of(bright_store, task, "dice_mean")
    study = tmp_path / "study"
    run_study(config, study)
    frame = pd.read_parquet(study / "predictions" / "scratch_0.4_0.parquet")
    test = frame[frame["split"] == "test"]
    for path, digest in zip(test["mask_path"], test["mask_sha256"], strict=True):
        assert path.startswith("masks/scratch_0.4_0/")
        assert sha256_file(study / path) == digest
    analysed = analyse_study(config, study)
    assert analysed.missing == []
    cases = pd.read_parquet(study / "cases.parquet")
    assert set(cases["label"]) == {"1"}
