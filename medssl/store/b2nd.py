"""Boxes out of Blosc2 n-d arrays (b2nd), decoded without holding Python's lock.

blosc2's own indexing keeps the lock while it decodes, so that threads take turns. Its wheel also
carries the C library; called through ctypes that runs beside other threads. Where no library is
found, blosc2's indexing is used. Both are single-threaded: a loader has threads of its own.
"""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssl.errors import StoreError
from medssl.store.libblosc2 import c_library
from medssl.volume import Array, Box

_Index = ctypes.c_int64 * 3


@dataclass(frozen=True)
class ChunkedArray:
    """A (D, H, W) array in a file, of which boxes can be read. Made by `open_array`.

    Nothing stays open between reads, and many threads may read at once.

    Attributes:
        version: inode, time of change (ns) and size of the file that was described.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    version: tuple[int, int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array when decoded."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, box: Box | None = None, into: Array | None = None) -> Array:
        """The numbers of a box, by default of all; like a slice, a box ends where the array does.

        Args:
            into: memory to decode to, in C order, of the box's size and the array's type.

        Raises:
            StoreError: the file is missing or damaged, or was replaced by one of another size.
        """
        ends = box or ((0, None), (0, None), (0, None))
        region = [slice(*end).indices(n)[:2] for end, n in zip(ends, self.shape, strict=True)]
        start = [first for first, _ in region]
        size = [max(last - first, 0) for first, last in region]
        result = np.empty(size, self.dtype) if into is None else into
        assert (result.shape, result.dtype) == (tuple(size), self.dtype)
        assert result.flags.carray
        if result.size:
            self._check_version()
            library = c_library()
            if library is None:
                self._index(start, result)
            else:
                self._decode(library, start, result)
        return result

    def _check_version(self) -> None:
        """The C library reads anything out of an array that a box does not lie in."""
        if _version(self.path) != self.version:
            now = open_array(self.path)
            if (now.shape, now.dtype) != (self.shape, self.dtype):
                raise damaged(self.path)

    def _decode(self, library: ctypes.CDLL, start: list[int], into: Array) -> None:
        stop = [first + n for first, n in zip(start, into.shape, strict=True)]
        handle = ctypes.c_void_p()
        if library.b2nd_open(os.fsencode(self.path), ctypes.byref(handle)) != 0:
            raise damaged(self.path)
        try:
            code = library.b2nd_get_slice_cbuffer(
                handle,
                _Index(*start),
                _Index(*stop),
                into.ctypes.data,
                _Index(*into.shape),
                into.nbytes,
            )
        finally:
            library.b2nd_free(handle)
        if code < 0:
            raise damaged(self.path)

    def _index(self, start: list[int], into: Array) -> None:
        import blosc2

        region = tuple(slice(a, a + n) for a, n in zip(start, into.shape, strict=True))
        try:
            array = blosc2.open(str(self.path), mode="r", dparams=blosc2.DParams(nthreads=1))
            into[...] = array[region]
        except Exception as error:
            raise damaged(self.path) from error


def open_array(path: Path) -> ChunkedArray:
    """Size and type of an array, which is not read yet. Takes 0.05 ms.

    Raises:
        StoreError: the file is missing or damaged, or holds no array of three axes.
    """
    import blosc2

    version = _version(path)
    try:
        array = blosc2.open(str(path), mode="r")
        d, h, w = (int(n) for n in array.shape)
        opened = ChunkedArray(path, (d, h, w), np.dtype(array.dtype), version)
        whole = (
            opened.nbytes <= array.schunk.nbytes and array.schunk.typesize == array.dtype.itemsize
        )
        if not whole or opened.dtype.kind not in "uif":
            raise ValueError(f"{opened} is no whole array of numbers")
    except Exception as error:  # a damaged header has led to SyntaxError and AttributeError too
        raise damaged(path) from error
    return opened


def read_attributes(path: Path, *names: str) -> dict[str, Any]:
    """Those of an array's attributes (blosc2's vlmeta) that are asked for and are there.

    blosc2's own reading never frees the memory that it gets an attribute in (4.14), so that a
    process that goes on opening files would grow.

    Raises:
        StoreError: the file is missing or damaged.
    """
    import msgpack

    library = c_library()
    if library is None or os.name != "posix":
        return _attributes_by_python(path, names)
    found: dict[str, Any] = {}
    chunks = library.blosc2_schunk_open(os.fsencode(path))
    if not chunks:
        raise damaged(path)
    try:
        for name in names:
            if library.blosc2_vlmeta_exists(chunks, name.encode()) < 0:
                continue
            content, length = ctypes.c_void_p(), ctypes.c_int32()
            code = library.blosc2_vlmeta_get(
                chunks, name.encode(), ctypes.byref(content), ctypes.byref(length)
            )
            if code < 0 or not content:
                raise damaged(path)
            try:
                found[name] = msgpack.unpackb(ctypes.string_at(content, length.value))
            except Exception as error:
                raise damaged(path) from error
            finally:
                library.free(content)
    finally:
        library.blosc2_schunk_free(chunks)
    return found


def _attributes_by_python(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    import blosc2

    try:
        array = blosc2.open(str(path), mode="r")
        there = set(array.schunk.vlmeta)
        return {name: array.schunk.vlmeta[name] for name in names if name in there}
    except Exception as error:
        raise damaged(path) from error


def _version(path: Path) -> tuple[int, int, int]:
    try:
        about = os.stat(path)
    except OSError as error:
        raise damaged(path) from error
    return about.st_ino, about.st_mtime_ns, about.st_size


def damaged(path: Path) -> StoreError:
    """The error for a file of voxels that cannot be read; names it by its place in the store."""
    name = "/".join(path.parts[-3:])
    return StoreError(f"voxels {name} are missing or damaged; ingest again")
