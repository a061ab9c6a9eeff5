"""Small archives, made on the spot."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medssl.archive.identity import make_key_file

WriteNifti = Callable[..., Path]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "key"
    make_key_file(path)
    return path


@pytest.fixture
def scan_values() -> Callable[..., np.ndarray[Any, Any]]:
    """Values that look like a scan: smooth, with noise, every seed another one."""

    def make(seed: int = 0, shape: tuple[int, ...] = (12, 14, 10)) -> np.ndarray[Any, Any]:
        rng = np.random.Generator(np.random.Philox(seed))
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:3]), indexing="ij"))
        ball = np.exp(-3 * (grid**2).sum(axis=0))
        values = 900 * ball + rng.normal(0, 40, shape[:3])
        if len(shape) == 4:
            values = values[..., None] * (1 + np.arange(shape[3]))
        return np.asarray(np.clip(values, 0, 2000), dtype=np.int16)

    return make


@pytest.fixture
def write_nifti() -> WriteNifti:
    """Write a NIfTI-1 file byte for byte; header fields by keyword, never repaired."""

    def write(
        path: Path,
        values: np.ndarray[Any, Any],
        affine: np.ndarray[Any, Any] | None = None,
        extra: bytes = b"",
        **fields: Any,
    ) -> Path:
        place = np.diag([2.0, 1.5, 3.0, 1.0]) if affine is None else affine
        image = nib.Nifti1Image(values, place, dtype=values.dtype)
        content = bytearray(image.to_bytes())
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        content[:348] = header.binaryblock
        data = bytes(content) + extra
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
        return path

    return write
