"""Voxels on disk: exact values, partial reads, no half-written file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.errors import StoreError
from medssl.store.voxels import Rescale, read_stored, read_values, write_voxels


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_round_trip_is_exact(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 120, (3, 70, 65)).astype(dtype)
    write_voxels(tmp_path / "a" / "v.b2nd", stored)
    again, rescale = read_stored(tmp_path / "a" / "v.b2nd")
    assert again.dtype == stored.dtype
    assert np.array_equal(again, stored)
    assert not rescale.by_slice


@given(slope=st.floats(1e-6, 1e6), intercept=st.floats(-1e6, 1e6))
def test_values_are_float32_of_the_float64_product(slope: float, intercept: float) -> None:
    stored = np.arange(-60, 60, dtype=np.int16).reshape(3, 5, 8)
    expected = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    assert np.array_equal(Rescale(slope, intercept).apply(stored), expected)


def test_slope_by_slice_survives_a_partial_read(tmp_path: Path) -> None:
    stored = np.arange(4 * 3 * 2, dtype=np.int16).reshape(4, 3, 2)
    slopes = np.array([0.1, 0.2, 0.3, 0.4])
    write_voxels(tmp_path / "v.b2nd", stored, Rescale(slopes, 1.0))
    part = read_values(tmp_path / "v.b2nd", ((2, 4), (0, 3), (1, 2)))
    expected = (stored[2:, :, 1:].astype(np.float64) * slopes[2:, None, None] + 1).astype("f4")
    assert np.array_equal(part, expected)


def test_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "v.b2nd"
    path.write_bytes(b"nothing")
    with pytest.raises(StoreError, match="missing or damaged"):
        read_values(path)


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    class Explodes:
        def tolist(self) -> list[float]:
            raise OSError(28, "full")

        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        write_voxels(tmp_path / "v.b2nd", np.zeros((2, 2, 2), "i2"), Rescale(Explodes()))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
