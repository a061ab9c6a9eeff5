"""The memory for small stores changes nothing but the time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medssl.augment.reader import Reader
from medssl.errors import StoreError
from medssl.store import Store

BOX = ((2, 9), (0, 11), (3, 6))


@pytest.mark.parametrize("cache_bytes", [0, 60_000, 1 << 20])
def test_boxes_are_the_same_from_memory_and_from_disk(small_store: Store, cache_bytes: int) -> None:
    reader = Reader(small_store, cache_bytes)
    for _ in range(2):
        for uid in small_store.manifest["volume_uid"]:
            box, rescale = reader.read(uid, BOX)
            expected, expected_rescale = small_store.read_stored(uid, BOX)
            np.testing.assert_array_equal(box, expected)
            assert box.dtype == expected.dtype
            np.testing.assert_array_equal(rescale.slope, expected_rescale.slope)
            mask = small_store.read_label(uid).crop(BOX).voxels
            np.testing.assert_array_equal(reader.read_mask(uid, BOX), mask)


def test_memory_stays_within_its_budget_under_threads(small_store: Store) -> None:
    budget = 100_000
    reader = Reader(small_store, budget)
    uids = list(small_store.manifest["volume_uid"]) * 20
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda uid: reader.read(uid, BOX), uids))
    kept = sum(whole.nbytes for whole, _ in reader._kept.values())
    assert 0 < kept <= budget


def test_what_is_kept_cannot_be_changed(small_store: Store) -> None:
    box, _ = Reader(small_store).read(f"{0:032x}", BOX)
    with pytest.raises(ValueError, match="read-only"):
        box[0, 0, 0] = 1


def test_what_is_not_there_is_named(small_store: Store) -> None:
    reader = Reader(small_store)
    with pytest.raises(StoreError, match="no volume ffff"):
        reader.read("ffff", BOX)
    with pytest.raises(StoreError, match="no mask named tumour"):
        reader.read_mask(f"{0:032x}", BOX, "tumour")
