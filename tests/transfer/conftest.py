"""A small store of scans with a bright ball in them: a mask, and a class by the ball's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

# Stored axes as signed permutations of right, front and top.
ORIENTATIONS = (
    ((0, 1, 2), (1, 1, 1)),
    ((0, 1, 2), (-1, -1, 1)),
    ((2, 0, 1), (1, -1, 1)),
    ((1, 2, 0), (-1, 1, -1)),
)
SMALL, LARGE = 3.0, 5.0


def ball_scan(
    number: int, shape: tuple[int, int, int] = (22, 24, 20)
) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan in one of four stored orientations, its mask, and the ball's middle in RAS mm."""
    rng = np.random.default_rng(number)
    order, signs = ORIENTATIONS[number % len(ORIENTATIONS)]
    spacing = np.array([1.0, 1.0, 1.0 + 0.2 * (number % 2)])
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[axis]
    affine[:3, 3] = rng.uniform(-30, 30, 3)
    radius = LARGE if number % 4 >= 2 else SMALL
    middle = np.array([rng.uniform(radius + 2, n - radius - 3) for n in shape])
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = np.linalg.norm((index - middle) * spacing, axis=-1)
    values = 100 + 8 * rng.normal(size=shape) + 120 * (distance < radius)
    stored = np.rint(values).astype(np.int16)
    mask = (distance < radius).astype(np.uint8)
    world = affine[:3, :3] @ middle + affine[:3, 3]
    return Volume(stored, affine, "MR"), mask, world


def write_scans(
    root: Path,
    scans: Sequence[tuple[Volume, np.ndarray, str]],
    labels: Sequence[dict[str, str]],
    columns: Sequence[dict[str, str]] | None = None,
) -> None:
    """A store of (volume, mask, patient); `labels` are added to those of the masks.

    `columns` are further columns of the manifest, for each scan its own.
    """
    create_store(root, "key", {})
    rows: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = list(labels)
    for number, (volume, mask, patient) in enumerate(scans):
        uid = f"{number:032x}"
        write_voxels(root / volume_path(uid), volume.voxels)
        values = Volume(
            volume.voxels.astype(np.float32), volume.affine, volume.modality, volume.units
        )
        rows.append(
            {
                "volume_uid": uid,
                "patient_key": patient,
                "series_key": uid,
                "group_quality": "patient",
                "modality": volume.modality,
                "units": volume.units,
                "path": volume_path(uid),
                **describe_values(values),
                **geometry_columns(values),
                **(columns[number] if columns is not None else {}),
            }
        )
        if mask.size:
            write_voxels(root / volume_path(uid, "labels"), mask)
            marks.append(
                {
                    "volume_uid": uid,
                    "patient_key": patient,
                    "name": "mask",
                    "kind": "mask",
                    "value": ",".join(str(v) for v in np.unique(mask)),
                    "path": volume_path(uid, "labels"),
                }
            )
    write_part(root, "manifest", "00000", rows)
    write_part(root, "labels", "00000", marks)


@pytest.fixture(scope="session")
def ball_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 labelled scans of 20 patients, and two without any label."""
    root = tmp_path_factory.mktemp("balls") / "store"
    scans, labels = [], []
    for number in range(26):
        volume, mask, _ = ball_scan(number)
        patient = f"patient{number % 20:02}" if number < 24 else f"other{number}"
        scans.append((volume, mask if number < 24 else np.zeros(0), patient))
        if number < 24:
            value = "large" if number % 4 >= 2 else "small"
            uid = f"{number:032x}"
            labels.append(
                {"volume_uid": uid, "patient_key": patient, "name": "size", "kind": "class",
                 "value": value}
            )  # fmt: skip
    write_scans(root, scans, labels)
    return root
