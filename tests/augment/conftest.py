"""A store written by hand, and helpers to look at scans whose every voxel is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.store import Store, open_store
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import Rescale, write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

MakeStore = Callable[..., Store]


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> MakeStore:
    """make_store([(stored, rescale, affine, modality, units), ...], patients, masks) -> Store."""

    def make(
        scans: Sequence[tuple[Any, Rescale, Any, str, str]],
        patients: Sequence[str] | None = None,
        masks: Sequence[Any] | None = None,
    ) -> Store:
        root = tmp_path_factory.mktemp("store")
        return _write_store(root / "store", scans, patients, masks)

    return make


@pytest.fixture(scope="session")
def small_store(make_store: MakeStore) -> Store:
    """Six scans: CT in HU, MR, PET in SUV by slice, a thin one, a binary one, an oblique one."""
    rng = np.random.default_rng(5)
    plain, mr = Rescale(), ("MR", "arbitrary")
    by_slice = Rescale(np.linspace(0.0005, 0.001, 12), np.zeros(12))
    binary = (_blob(rng, (20, 20, 20), 0, 9) > 2).astype(np.uint8)
    scans = [
        (_blob(rng, (30, 34, 28), 0, 2100), Rescale(1.0, -1024.0), affine_of_codes(), "CT", "HU"),
        (_blob(rng, (26, 24, 30), 0, 900), plain, affine_of_codes("LPS", (1.2, 1, 1)), *mr),
        (
            _blob(rng, (12, 20, 20), 0, 9000),
            by_slice,
            affine_of_codes("SPL", (3, 2, 2)),
            "PT",
            "SUV",
        ),
        (_blob(rng, (48, 50, 6), 0, 700), plain, affine_of_codes("RAS", (0.8, 0.8, 5)), *mr),
        (binary, plain, affine_of_codes(), "OT", "arbitrary"),
        (_blob(rng, (22, 26, 24), 0, 500), plain, _turned(affine_of_codes("ASR"), 20), *mr),
    ]
    masks = [(scan[0] > np.median(scan[0])).astype(np.uint8) for scan in scans]
    return make_store(scans, ["p0", "p1", "p0", "p2", "p3", "p4"], masks)


def _write_store(
    root: Path,
    scans: Sequence[tuple[Any, Rescale, Any, str, str]],
    patients: Sequence[str] | None,
    masks: Sequence[Any] | None,
) -> Store:
    create_store(root, "0" * 16, {})
    rows, labels = [], []
    for number, (stored, rescale, affine, modality, units) in enumerate(scans):
        uid = f"{number:032x}"
        values = rescale.apply(stored)
        volume = Volume(values, affine, modality, units)  # type: ignore[arg-type]
        write_voxels(root / volume_path(uid), stored, rescale)
        patient = patients[number] if patients else f"p{number}"
        rows.append(
            {
                **dict.fromkeys(("study_key", "series_key", "site", "contrast", "body_part"), ""),
                "volume_uid": uid,
                "patient_key": patient,
                "group_quality": "patient",
                "modality": modality,
                "units": units,
                "dtype": str(stored.dtype),
                "slope": float("nan") if rescale.by_slice else rescale.slope,
                "intercept": float("nan") if rescale.by_slice else rescale.intercept,
                "path": volume_path(uid),
                **geometry_columns(volume),
                **describe_values(volume),
            }
        )
        if masks is not None:
            path = volume_path(uid, "labels")
            write_voxels(root / path, masks[number])
            labels.append(
                {
                    "volume_uid": uid,
                    "patient_key": patient,
                    "name": "mask",
                    "kind": "mask",
                    "value": "0,1",
                    "path": path,
                }
            )
    write_part(root, "manifest", "0", rows)
    if labels:
        write_part(root, "labels", "0", labels)
    return open_store(root)


def affine_of_codes(codes: str = "RAS", spacing: tuple[float, float, float] = (1, 1, 1)) -> Any:
    """An affine whose array axes run as `codes` say."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (code, step) in enumerate(zip(codes, spacing, strict=True)):
        row = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[code]
        affine[row, axis] = step if code in "RAS" else -step
    affine[:3, 3] = [-17.0, 23.5, 8.25]
    return affine


def _turned(affine: Any, degrees: float) -> Any:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def _blob(rng: np.random.Generator, shape: tuple[int, int, int], low: int, high: int) -> Any:
    """A textured ellipsoid in air, int16."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(g**2 for g in grid) < 0.8
    texture = rng.uniform(0.4, 1.0, shape)
    return np.where(inside, low + (high - low) * texture, low).astype(np.int16)
