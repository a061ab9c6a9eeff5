"""Whole decoded volumes and masks in a nameless file that is mapped into memory.

The pages belong to the file system's cache: boxes are views, the system writes pages out and drops
them where memory is short, and what a patch does not touch is not read back.
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from medssl.augment.cache_config import CacheConfig
from medssl.errors import ConfigError
from medssl.store.b2nd import ChunkedArray
from medssl.volume import Array


class VoxelCache:
    """Room for decoded arrays, first come, first served, until the room is used up.

    An array that there is room for is decoded whole when it is first asked for; one that there is
    none for never is. None is dropped for another: an epoch visits every volume once, which is the
    order in which dropping the least recently used one would drop each just before it is wanted.

    The file has no name and the mode 0600, so that no voxel outlives the process. Its blocks are
    allocated before they are written; where the disk is full, what was kept stays and nothing is
    added. A forked process starts with an empty cache of its own.

    Raises:
        ConfigError: the folder that the configuration names cannot be written to.
    """

    def __init__(self, config: CacheConfig) -> None:
        folder = config.folder
        if config.gigabytes and folder and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise ConfigError(
                f"cache.folder: {folder} is no folder that can be written to; name one on a "
                "local disk, or set cache.gigabytes=0"
            )
        self._config = config
        self._start()
        _caches.add(self)

    def whole(self, source: ChunkedArray) -> Array | None:
        """All of a stored array, read-only; None where there is no room for it, or not yet.

        While one thread decodes an array, the others get None, and read what they need themselves.

        Raises:
            StoreError: the file is missing or damaged.
        """
        if source.path in self._kept:
            return self._kept[source.path]
        with self._lock:
            if source.path in self._kept:
                return self._kept[source.path]
            offset = self._reserve(source.nbytes)
            if offset is None:
                return None
            self._kept[source.path] = None
        memory = self._allocate(offset, source)
        if memory is None:
            return None
        source.read(into=memory)
        memory.setflags(write=False)
        self._kept[source.path] = memory
        return memory

    @property
    def reserved_bytes(self) -> int:
        """Room taken by the arrays that are kept."""
        return self._reserved

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Path, Array | None] = {}
        self._file: Any = None
        self._map: mmap.mmap | None = None
        self._reserved = 0
        self._capacity = int(self._config.gigabytes * 1e9)

    def _reserve(self, nbytes: int) -> int | None:
        """The offset of a place of its own in the file, or None."""
        size = -(-nbytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        if self._reserved + size > self._capacity:
            return None
        try:
            folder = self._config.folder or Path(tempfile.gettempdir())
            free = shutil.disk_usage(folder).free
            if self._map is None:
                self._capacity = min(self._capacity, free // 2)
                self._left_free = free // 2
                if size > self._capacity:
                    return None
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
                self._file.truncate(self._capacity)
                self._map = mmap.mmap(self._file.fileno(), self._capacity)
        except OSError:  # no such folder, not writable, no room
            self._capacity = 0
            return None
        if free - size < self._left_free:  # others fill the disk
            self._capacity = self._reserved
            return None
        offset = self._reserved
        self._reserved += size
        return offset

    def _allocate(self, offset: int, source: ChunkedArray) -> Array | None:
        """Memory of which every page has its block on the disk: none can fail to be written."""
        assert self._map is not None
        try:
            allocate(self._file.fileno(), offset, source.nbytes)
        except OSError:  # the disk is full
            self._capacity = 0
            return None
        count = math.prod(source.shape)
        memory = np.frombuffer(self._map, source.dtype, count, offset)
        return memory.reshape(source.shape)


def allocate(descriptor: int, offset: int, nbytes: int) -> None:
    """Have the file system set blocks aside for a part of a file that was never written.

    Raises:
        OSError: it has no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, nbytes)
    elif hasattr(os, "pwrite"):  # macOS; Windows sets them aside when the file is made
        zeros = bytes(1 << 20)
        for start in range(0, nbytes, len(zeros)):
            os.pwrite(descriptor, zeros[: nbytes - start], offset + start)


_caches: weakref.WeakSet[VoxelCache] = weakref.WeakSet()


def _start_after_fork() -> None:
    """Parent and child would give the same room in one file to different volumes."""
    for cache in _caches:
        cache._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_after_fork)
