"""Reading boxes of stored voxels, and what a volume's padding is, for many threads at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa

from medssl.augment.cache_config import CacheConfig
from medssl.augment.voxel_cache import VoxelCache
from medssl.errors import StoreError
from medssl.store import Store
from medssl.store.b2nd import ChunkedArray, damaged, open_array
from medssl.store.body import BodyMask, read_body
from medssl.store.lookup import SortedKeys
from medssl.store.voxels import Rescale, open_stored
from medssl.volume import Array, Box

_DESCRIBED = 16_384  # files whose type and size are remembered; to open one again takes 0.05 ms
_PLACES = 1 << 16  # volumes whose row is remembered
_BODIES = 1024  # body masks that are remembered, 0.2 MB for a CT of the whole trunk


class Reader:
    """Boxes of a store's volumes and masks, for many threads that do not wait for each other.

    A volume is kept decoded where `cache` has room for it (see `VoxelCache`); of others each box is
    read from the store. What is returned is the same either way, and read-only.

    Raises:
        ConfigError: the cache's folder cannot be written to.
    """

    def __init__(self, store: Store, cache: CacheConfig = CacheConfig()) -> None:  # noqa: B008
        self.store = store
        self.cache = VoxelCache(cache)
        shape = [f"shape_{axis}" for axis in range(3)]
        columns = ("path", "slope", "intercept", "padding_low", "padding_high", *shape)
        rows = store.columns(*columns)
        self._keys = SortedKeys(pa.array(rows.index, pa.string()))
        self._paths = rows["path"].array
        self._shapes = rows[shape].to_numpy(dtype=np.int64)
        self._padding = rows[["padding_low", "padding_high"]].to_numpy(dtype=np.float64)
        self._rescale = rows[["slope", "intercept"]].to_numpy(dtype=np.float64)
        self._masks: dict[str, dict[str, str]] = {}
        self._place = lru_cache(_PLACES)(self._find)
        self._described = lru_cache(_DESCRIBED)(self._describe)
        self._bodies = lru_cache(_BODIES)(lambda path: read_body(self.store.root / path))

    def read(self, volume_uid: str, box: Box) -> tuple[Array, Rescale]:
        """The stored numbers of a box, and how they become values (Rescale of the whole volume).

        Raises:
            StoreError: there is no such volume, or its voxels are missing or damaged.
        """
        at, path = self._place(volume_uid)
        return self._read(path, at, box)

    def read_mask(self, volume_uid: str, box: Box, name: str = "mask") -> Array:
        """The labels of a box, on the volume's own grid, in their stored integer type.

        Raises:
            StoreError: the volume has no mask of this name, or it is missing or damaged.
        """
        if name not in self._masks:
            self._masks[name] = {
                str(uid): path for uid, path in self.store.mask_labels(name).items()
            }
        path = self._masks[name].get(volume_uid)
        if path is None:
            raise StoreError(f"volume {volume_uid} has no mask named {name}")
        return self._read(path, self._place(volume_uid)[0], box)[0]

    def padding(self, volume_uid: str) -> tuple[float, float] | None:
        """Lowest and highest stored number that is padding and no measurement; None: there is none.

        Raises:
            StoreError: there is no such volume.
        """
        low, high = self._padding[self._place(volume_uid)[0]].tolist()
        return None if low != low or high != high else (low, high)

    def body(self, volume_uid: str) -> BodyMask:
        """Where the body is, in coarse blocks; everywhere, where nobody looked for it.

        Raises:
            StoreError: there is no such volume, or it is missing or damaged.
        """
        return self._bodies(self._place(volume_uid)[1])

    def _find(self, volume_uid: str) -> tuple[int, str]:
        """Number of a volume's row, and its path."""
        at = self._keys.find(volume_uid)
        if at is None:
            raise StoreError(f"the store has no volume {volume_uid}")
        return at, str(self._paths[at])

    def _read(self, path: str, at: int, box: Box) -> tuple[Array, Rescale]:
        array, rescale = self._described(path, at)
        whole = self.cache.whole(array)
        if whole is not None:
            return whole[tuple(slice(start, stop) for start, stop in box)], rescale
        stored = array.read(box)
        stored.setflags(write=False)
        return stored, rescale

    def _describe(self, path: str, at: int) -> tuple[ChunkedArray, Rescale]:
        slope, intercept = self._rescale[at].tolist()
        if slope == slope and intercept == intercept:
            array, rescale = open_array(self.store.root / path), Rescale(slope, intercept)
        else:  # they change by slice, and are in the file alone
            array, rescale = open_stored(self.store.root / path)
        if array.shape != tuple(self._shapes[at].tolist()):
            raise damaged(array.path)
        return array, rescale
