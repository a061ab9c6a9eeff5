"""Decoded volumes in a nameless file: nothing left behind, never too much, never waiting."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from medssl.augment import voxel_cache
from medssl.augment.cache_config import CacheConfig
from medssl.augment.voxel_cache import VoxelCache, allocate
from medssl.errors import ConfigError, StoreError
from medssl.store.b2nd import ChunkedArray, open_array
from medssl.store.voxels import write_voxels
from medssl.volume import Array

SHAPE = (20, 40, 33)
PAGES = -(-2 * 20 * 40 * 33 // 4096) * 4096


@pytest.fixture
def arrays(tmp_path: Path) -> list[tuple[ChunkedArray, Array]]:
    """Stored arrays, each with its numbers."""
    made = []
    for number in range(6):
        array = np.random.default_rng(number).integers(-9, 2000, SHAPE).astype("i2")
        write_voxels(tmp_path / "store" / f"{number}.b2nd", array)
        made.append((open_array(tmp_path / "store" / f"{number}.b2nd"), array))
    return made


@pytest.fixture
def config(tmp_path: Path) -> CacheConfig:
    folder = tmp_path / "cache"
    folder.mkdir()
    return CacheConfig(folder=folder, gigabytes=0.01)


def test_nothing_of_it_is_seen_while_it_is_used(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig
) -> None:
    cache = VoxelCache(config)
    for source, array in arrays:
        whole = cache.whole(source)
        np.testing.assert_array_equal(whole, array)
        assert whole is cache.whole(source)
    assert config.folder
    assert list(config.folder.iterdir()) == []
    about = os.fstat(cache._file.fileno())
    assert about.st_nlink == 0
    assert stat.S_IMODE(about.st_mode) == 0o600
    assert about.st_blocks * 512 >= cache.reserved_bytes  # set aside, not sparse


def test_what_is_kept_cannot_be_changed_and_outlives_the_cache(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig
) -> None:
    cache = VoxelCache(config)
    whole = cache.whole(arrays[0][0])
    assert whole is not None
    with pytest.raises(ValueError, match="read-only"):
        whole[0, 0, 0] = 1
    del cache
    np.testing.assert_array_equal(whole, arrays[0][1])


def test_budget(arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig) -> None:
    cache = VoxelCache(CacheConfig(folder=config.folder, gigabytes=2.5 * PAGES / 1e9))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: cache.whole(arrays[n % 6][0]), range(60)))
    kept = [cache.whole(source) for source, _ in arrays]
    assert sum(whole is not None for whole in kept) == 2
    assert cache.reserved_bytes == 2 * PAGES
    for whole, (_, array) in zip(kept, arrays, strict=True):
        if whole is not None:
            np.testing.assert_array_equal(whole, array)


def test_none_is_kept_with_no_room_at_all(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig
) -> None:
    cache = VoxelCache(CacheConfig(folder=config.folder, gigabytes=0))
    assert cache.whole(arrays[0][0]) is None
    assert cache._file is None


def test_takes_at_most_half_of_what_is_free(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    free = [usage(7 * PAGES)]
    monkeypatch.setattr(voxel_cache.shutil, "disk_usage", lambda _: free[0])
    cache = VoxelCache(config)
    kept = []
    for source, _ in arrays:
        kept.append(cache.whole(source) is not None)
        free[0] = usage(7 * PAGES - cache.reserved_bytes)
    assert kept == [True, True, True, False, False, False]
    # Another program fills the disk.
    free[0] = usage(7 * PAGES)
    cache = VoxelCache(config)
    assert cache.whole(arrays[0][0]) is not None
    free[0] = usage(4 * PAGES)
    assert cache.whole(arrays[1][0]) is None


def test_a_full_disk_ends_keeping_and_nothing_else(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = VoxelCache(config)
    assert cache.whole(arrays[0][0]) is not None

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert cache.whole(arrays[1][0]) is None
    monkeypatch.undo()
    assert cache.whole(arrays[2][0]) is None
    np.testing.assert_array_equal(cache.whole(arrays[0][0]), arrays[0][1])


def test_blocks_are_written_where_they_cannot_be_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(5 << 20)
        allocate(file.fileno(), 1 << 20, (2 << 20) + 4097)
        about = os.fstat(file.fileno())
    assert about.st_size == 5 << 20
    assert (2 << 20) + 4097 <= about.st_blocks * 512 < 3 << 20


def test_each_is_decoded_once_and_nobody_waits_for_it(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slow, array), (other, _) = arrays[:2]
    decoding, may_end = threading.Event(), threading.Event()
    read, decoded = ChunkedArray.read, []

    def held_up(self: ChunkedArray, *args: object, **kwargs: object) -> Array:
        decoded.append(self.path)
        if self.path == slow.path:
            decoding.set()
            assert may_end.wait(10)
        return read(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ChunkedArray, "read", held_up)
    cache = VoxelCache(config)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.whole, slow)
        assert decoding.wait(10)
        assert cache.whole(slow) is None
        assert cache.whole(other) is not None
        may_end.set()
        np.testing.assert_array_equal(first.result(), array)
    assert cache.whole(slow) is not None
    assert decoded == [slow.path, other.path]


def test_a_damaged_file_is_an_error_and_is_not_kept(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig
) -> None:
    source, _ = arrays[0]
    source.path.write_bytes(source.path.read_bytes()[:-400])
    cache = VoxelCache(config)
    with pytest.raises(StoreError, match="missing or damaged"):
        cache.whole(source)
    assert cache.whole(source) is None


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cache\.folder: .*nowhere"):
        VoxelCache(CacheConfig(folder=tmp_path / "nowhere"))
    VoxelCache(CacheConfig(folder=tmp_path / "nowhere", gigabytes=0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_does_not_write_to_its_parent_s_room(
    arrays: list[tuple[ChunkedArray, Array]], config: CacheConfig
) -> None:
    cache = VoxelCache(config)
    cache.whole(arrays[0][0])
    child = os.fork()
    if child == 0:
        right = all(np.array_equal(cache.whole(s), a) for s, a in (arrays[1], arrays[0]))  # type: ignore[arg-type]
        os._exit(0 if right else 1)
    mine = cache.whole(arrays[2][0])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(mine, arrays[2][1])
    np.testing.assert_array_equal(cache.whole(arrays[0][0]), arrays[0][1])
