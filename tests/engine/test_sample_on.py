"""Sampling on the device is refused where there is none, before a run is begun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.engine.config import PretrainConfig
from medssl.engine.pretrain import pretrain
from medssl.errors import ConfigError
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_device_is_refused_without_a_gpu(tmp_path: Path) -> None:
    create_store(tmp_path / "store", "k", {})
    uid = f"{1:032x}"
    stored = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    volume = Volume(stored.astype(np.float32), np.eye(4), "MR")
    write_voxels(tmp_path / "store" / volume_path(uid), stored)
    keys = {"volume_uid": uid, "patient_key": "p", "group_quality": "patient", "modality": "MR"}
    row = {**keys, "units": "arbitrary", "path": volume_path(uid)}
    row |= {**describe_values(volume), **geometry_columns(volume)}
    write_part(tmp_path / "store", "manifest", "0", [row])
    config = PretrainConfig.model_validate(
        {
            "store": tmp_path / "store",
            "method": {"name": "mae"},
            "model": {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]},
            "augment": {"patch": {"size": [16, 16, 16]}},
            "sample_on": "device",
            "steps": 1,
            "batch_size": 1,
        }
    )
    with pytest.raises(ConfigError, match="needs a GPU"):
        pretrain(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
