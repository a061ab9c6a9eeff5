"""Reading boxes of stored voxels, from memory where the scan is small enough to stay there."""

from __future__ import annotations

import threading

import pyarrow as pa

from medssl.errors import StoreError
from medssl.store import Store
from medssl.store.lookup import SortedKeys
from medssl.store.voxels import Rescale, read_stored
from medssl.volume import Array, Box

DEFAULT_CACHE_BYTES = 1 << 30


class Reader:
    """Boxes of a store's volumes and masks, safe for many threads.

    Whole decoded volumes are kept until `cache_bytes` are full and then none is dropped: an epoch
    visits every volume once, which is the order in which dropping the least recently used one
    would drop each just before it is wanted. What does not fit is read box by box. What is
    returned is the same either way, and read-only.
    """

    def __init__(self, store: Store, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.store = store
        rows = store.columns("path", *(f"shape_{a}" for a in range(3)))
        self._keys = SortedKeys(pa.array(rows.index, pa.string()))
        self._paths = rows["path"].array
        self._sizes = (rows["shape_0"] * rows["shape_1"] * rows["shape_2"]).to_numpy(dtype="i8")
        self._masks: dict[str, dict[str, str]] = {}
        self._kept: dict[str, tuple[Array, Rescale]] = {}
        self._bytes_left = cache_bytes
        self._lock = threading.Lock()

    def read(self, volume_uid: str, box: Box) -> tuple[Array, Rescale]:
        """The stored numbers of a box, and how they become values (Rescale of the whole volume).

        Raises:
            StoreError: there is no such volume, or its voxels are missing or damaged.
        """
        at = self._place(volume_uid)
        return self._read(str(self._paths[at]), int(self._sizes[at]), box)

    def read_mask(self, volume_uid: str, box: Box, name: str = "mask") -> Array:
        """The labels of a box, on the volume's own grid, in their stored integer type.

        Raises:
            StoreError: the volume has no mask of this name.
        """
        if name not in self._masks:
            self._masks[name] = {
                str(uid): path for uid, path in self.store.mask_labels(name).items()
            }
        path = self._masks[name].get(volume_uid)
        if path is None:
            raise StoreError(f"volume {volume_uid} has no mask named {name}")
        return self._read(path, int(self._sizes[self._place(volume_uid)]), box)[0]

    def _place(self, volume_uid: str) -> int:
        at = self._keys.find(volume_uid)
        if at is None:
            raise StoreError(f"the store has no volume {volume_uid}")
        return at

    def _read(self, path: str, voxels: int, box: Box) -> tuple[Array, Rescale]:
        kept = self._kept.get(path)
        if kept is None and voxels <= self._bytes_left:
            kept = self._keep(path)
        if kept is None:
            return read_stored(self.store.root / path, box)
        whole, rescale = kept
        return whole[tuple(slice(start, stop) for start, stop in box)], rescale

    def _keep(self, path: str) -> tuple[Array, Rescale]:
        whole, rescale = read_stored(self.store.root / path)
        whole.setflags(write=False)
        with self._lock:
            if path not in self._kept and whole.nbytes <= self._bytes_left:
                self._kept[path] = whole, rescale
                self._bytes_left -= whole.nbytes
        return whole, rescale
