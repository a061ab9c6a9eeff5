"""Stores written row by row, so that a test says what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.store import schema
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

MakeRow = Callable[..., dict[str, Any]]


def _uid_of(number: int) -> str:
    return f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}{number:016x}"


@pytest.fixture
def uid_of() -> Callable[[int], str]:
    """Makes keys that are spread over their range as hashes are."""
    return _uid_of


@pytest.fixture
def store_root(tmp_path: Path) -> Path:
    """An empty store."""
    root = tmp_path / "store"
    create_store(root, "abcdefabcdef", {})
    return root


@pytest.fixture
def make_row(store_root: Path) -> MakeRow:
    """Writes a volume's voxels and returns its manifest row; keywords replace columns."""

    def make(
        number: int,
        values: np.ndarray[Any, Any] | None = None,
        affine: np.ndarray[Any, Any] | None = None,
        **columns: Any,
    ) -> dict[str, Any]:
        if values is None:
            rng = np.random.Generator(np.random.Philox(number))
            values = rng.integers(100, 900, (12, 14, 10)).astype(np.int16)
            values[:2] = 0
        modality, units = columns.get("modality", "MR"), columns.get("units", "arbitrary")
        scale = np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine
        volume = Volume(values.astype(np.float32), scale, modality, units)
        uid = _uid_of(number)
        write_voxels(store_root / volume_path(uid), values)
        words = {n: "" for n in schema.MANIFEST.names if schema.MANIFEST.field(n).type == "string"}
        return {
            **words,
            **geometry_columns(volume),
            **describe_values(volume),
            "volume_uid": uid,
            "patient_key": _uid_of(10_000 + number),
            "series_key": uid,
            "group_quality": "patient",
            "modality": modality,
            "units": units,
            "manufacturer": "SIEMENS",
            "model": "SKYRA",
            "outcome": "EXACT",
            "source_format": "DICOM",
            "masked_voxels": 0,
            "n_files": 10,
            "path": volume_path(uid),
            **columns,
        }

    return make


@pytest.fixture
def write_rows(store_root: Path) -> Callable[..., None]:
    """Writes rows as part files of `manifest/`, some rows to a part."""

    def write(rows: list[dict[str, Any]], each: int = 7) -> None:
        for at in range(0, len(rows), each):
            write_part(store_root, "manifest", f"part-{at + 1:08d}", rows[at : at + each])

    return write
