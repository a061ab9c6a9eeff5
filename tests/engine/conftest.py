"""A store that is small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients with a volume each, of noise that is smooth along one axis."""
    root = tmp_path_factory.mktemp("engine") / "store"
    create_store(root, "k", {})
    rows = []
    for number in range(6):
        uid = f"{number:032x}"
        rng = np.random.default_rng(number)
        stored = np.cumsum(rng.integers(-9, 10, (24, 26, 28)), axis=0).astype(np.int16)
        volume = Volume(stored.astype(np.float32), np.diag([1.0, 1.2, 0.9, 1]), "MR")
        write_voxels(root / volume_path(uid), stored)
        rows.append(
            {
                "volume_uid": uid,
                "patient_key": f"patient{number}",
                "series_key": uid,
                "group_quality": "patient",
                "modality": "MR",
                "units": "arbitrary",
                "path": volume_path(uid),
                **describe_values(volume),
                **geometry_columns(volume),
            }
        )
    write_part(root, "manifest", "00000", rows)
    return root
