"""Small corpora with and without voxels, and things shared between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

SHAPE = (24, 28, 20)


def digest(text: str, digits: int = 32) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def anatomy(seed: int, shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(100 + 400 * ndimage.gaussian_filter(noise, 3), dtype=np.float32)


def row_of(uid: str, patient: str, voxels: npt.NDArray[np.float32], mm: float) -> dict[str, Any]:
    volume = Volume(voxels, np.diag([mm, mm, mm, 1.0]), "MR")
    return {
        "volume_uid": uid, "patient_key": patient, "series_key": digest(f"series {uid}"),
        "study_key": digest(f"study {uid}"), "group_quality": "patient", "modality": "MR",
        "contrast": "", "body_part": "", "manufacturer": "", "units": "arbitrary",
        "source_format": "NIFTI", "path": volume_path(uid),
        **describe_values(volume), **geometry_columns(volume),
    }  # fmt: skip


def write_store(
    root: Path,
    scans: dict[str, tuple[str, npt.NDArray[np.float32]]],
    key_id: str = "key",
    spacing_mm: dict[str, float] | None = None,
    files: dict[str, str] | None = None,
) -> Path:
    """A store of name -> (patient, voxels); uids, patients and files are hashes of their names."""
    create_store(root, key_id, {})
    rows, instances = [], []
    for name, (patient, voxels) in scans.items():
        uid = digest(f"{key_id} {name}")
        write_voxels(root / volume_path(uid), voxels)
        mm = (spacing_mm or {}).get(name, 1.0)
        rows.append(row_of(uid, digest(f"{key_id} {patient}"), voxels, mm))
        file = (files or {}).get(name, f"{root} {name}")
        instances.append(
            {
                "volume_uid": uid,
                "instance_key": digest(f"{key_id} {file}"),
                "file_sha256": digest(file, 64),
            }
        )
    write_part(root, "manifest", "00000", rows)
    write_part(root, "instances", "00000", instances)
    return root


@pytest.fixture(scope="session")
def make_store() -> Callable[..., Path]:
    """See `write_store`."""
    return write_store


@pytest.fixture(scope="session")
def make_anatomy() -> Callable[..., npt.NDArray[np.float32]]:
    """See `anatomy`."""
    return anatomy


@pytest.fixture(scope="session")
def uid_of() -> Callable[..., str]:
    """The uid of a named scan in a store of `key_id`."""
    return lambda name, key_id="key": digest(f"{key_id} {name}")
