"""The body mask lies with the voxels and comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.errors import StoreError
from medssl.store.body import BodyMask, read_body
from medssl.store.voxels import Rescale, read_stored, write_voxels


@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 9))
def test_a_mask_is_packed_and_unpacked(
    shape: tuple[int, int, int], edge: tuple[int, int, int], seed: int
) -> None:
    blocks = np.random.default_rng(seed).random(shape) < 0.5
    again = BodyMask.unpacked(BodyMask(blocks, edge).packed())
    np.testing.assert_array_equal(again.blocks, blocks)
    assert again.blocks.dtype == bool
    assert again.edge == edge
    assert again.number == blocks.sum()


def test_a_file_keeps_voxels_rescale_and_body(tmp_path: Path) -> None:
    stored = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    body = BodyMask(np.random.default_rng(0).random((2, 2, 3)) < 0.5, (3, 3, 3))
    write_voxels(tmp_path / "v.b2nd", stored, Rescale(2.0, -3.0), body)
    again = read_body(tmp_path / "v.b2nd")
    np.testing.assert_array_equal(again.blocks, body.blocks)
    assert again.edge == (3, 3, 3)
    values, rescale = read_stored(tmp_path / "v.b2nd")
    np.testing.assert_array_equal(values, stored)
    assert rescale == Rescale(2.0, -3.0)


def test_a_volume_of_an_older_store_is_body_as_a_whole(tmp_path: Path) -> None:
    write_voxels(tmp_path / "v.b2nd", np.zeros((5, 6, 7), np.int16))
    body = read_body(tmp_path / "v.b2nd")
    assert body.blocks.all()
    assert body.edge == (5, 6, 7)


def test_a_missing_or_damaged_mask_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing"):
        read_body(tmp_path / "v.b2nd")
    write_voxels(tmp_path / "v.b2nd", np.zeros((5, 6, 7), np.int16))
    import blosc2

    array = blosc2.open(str(tmp_path / "v.b2nd"), mode="a")
    array.schunk.vlmeta["body"] = {"edge": [1, 1, 1], "blocks": [9, 9, 9], "bits": b"\1"}
    del array
    with pytest.raises(StoreError, match="damaged"):
        read_body(tmp_path / "v.b2nd")
