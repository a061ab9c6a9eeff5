"""Boxes of a store are the same whether they were kept or not, and whoever else reads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.errors import StoreError
from medssl.store import Store, open_store
from medssl.store.parts import part_files
from medssl.store.voxels import Rescale

from .conftest import MakeStore, affine_of_codes

BOX = ((2, 9), (0, 11), (3, 6))


def kept_in(folder: Path, gigabytes: float) -> CacheConfig:
    return CacheConfig(folder=folder, gigabytes=gigabytes)


@pytest.mark.parametrize("gigabytes", [0, 6e-5, 1e-3])
def test_boxes_are_the_same_kept_or_not(
    small_store: Store, tmp_path: Path, gigabytes: float
) -> None:
    reader = Reader(small_store, kept_in(tmp_path, gigabytes))
    for _ in range(2):
        for uid in small_store.manifest["volume_uid"]:
            box, rescale = reader.read(uid, BOX)
            expected, expected_rescale = small_store.read_stored(uid, BOX)
            np.testing.assert_array_equal(box, expected)
            assert box.dtype == expected.dtype
            assert not box.flags.writeable
            np.testing.assert_array_equal(rescale.slope, expected_rescale.slope)
            mask = reader.read_mask(uid, BOX)
            np.testing.assert_array_equal(mask, small_store.read_label(uid).crop(BOX).voxels)
            assert not mask.flags.writeable


@pytest.mark.parametrize("gigabytes", [0, 1e-4, 1e-3])
def test_many_threads(small_store: Store, tmp_path: Path, gigabytes: float) -> None:
    reader = Reader(small_store, kept_in(tmp_path, gigabytes))
    uids = list(small_store.manifest["volume_uid"])
    right = {
        uid: (small_store.read_stored(uid, BOX)[0], small_store.read_label(uid).crop(BOX).voxels)
        for uid in uids
    }

    def reads_right(uid: str) -> bool:
        values, mask = right[uid]
        return np.array_equal(reader.read(uid, BOX)[0], values) and np.array_equal(
            reader.read_mask(uid, BOX), mask
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reads_right, uids * 40))
    assert reader.cache.reserved_bytes <= gigabytes * 1e9
    assert list(tmp_path.iterdir()) == []


def test_a_box_that_is_kept_is_a_view(small_store: Store) -> None:
    reader = Reader(small_store)
    one, two = (reader.read(f"{0:032x}", BOX)[0] for _ in range(2))
    assert np.shares_memory(one, two)


def test_what_is_not_there_is_named(small_store: Store) -> None:
    reader = Reader(small_store)
    with pytest.raises(StoreError, match="no volume ffff"):
        reader.read("ffff", BOX)
    with pytest.raises(StoreError, match="no volume ffff"):
        reader.padding("ffff")
    with pytest.raises(StoreError, match="no mask named tumour"):
        reader.read_mask(f"{0:032x}", BOX, "tumour")


def test_voxels_of_another_size_than_the_manifest_says_are_damaged(make_store: MakeStore) -> None:
    scan = (np.zeros((5, 6, 7), "i2"), Rescale(), affine_of_codes(), "MR", "arbitrary")
    store = make_store([scan, (np.zeros((8, 6, 7), "i2"), *scan[1:])])
    first, second = (store.root / str(path) for path in store.manifest["path"])
    first.write_bytes(second.read_bytes())
    with pytest.raises(StoreError, match="missing or damaged"):
        Reader(store).read(f"{0:032x}", BOX)


def test_padding(make_store: MakeStore) -> None:
    scan = (np.zeros((5, 6, 7), "i2"), Rescale(), affine_of_codes(), "CT", "HU")
    root = make_store([scan] * 3).root
    (part,) = part_files(root, "manifest")
    table = pq.read_table(part)
    nothing = float("nan")
    for name, numbers in (("padding_low", [-2000, nothing]), ("padding_high", [-1999, nothing])):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), [[*map(float, numbers), None]])
    pq.write_table(table, part)
    reader = Reader(open_store(root))
    assert reader.padding(f"{0:032x}") == (-2000, -1999)
    assert reader.padding(f"{1:032x}") is None
    assert reader.padding(f"{2:032x}") is None
