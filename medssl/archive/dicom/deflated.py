"""A deflated data set, inflated as far as it is read and no further.

A few kilobytes can inflate to gigabytes, so the header is inflated alone, and the pixels only once
the header has said how many there are.
"""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, cast

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medssl.archive.dicom.unreadable import Unreadable
from medssl.archive.reasons import Reason

_PIECE = 1 << 16
_MOST_HEADER_BYTES = 1 << 26
_LEAD = b"\0" * 128 + b"DICM\x02\0\x10\0UI\x14\0" + ExplicitVRLittleEndian.encode() + b"\0"


def inflated_if_deflated(file: BinaryIO) -> BinaryIO:
    """The file as it is, or a stream of its data set, labelled explicit little endian."""
    head = file.read(4096)
    file.seek(0)
    if b"UI\x16\0" + DeflatedExplicitVRLittleEndian.encode() not in head:
        return file
    file.seek(_end_of_meta(head))
    return cast(BinaryIO, _Inflated(file))


def lift_cap(stream: BinaryIO) -> None:
    """Let a deflated stream be read into its pixels, whose number the caller has checked."""
    if isinstance(stream, _Inflated):
        stream.capped = False


class _Inflated(io.BufferedIOBase):
    """Reads forwards and back within what was inflated; what lies ahead is inflated when asked for.

    While it is `capped`, asking beyond 64 MiB raises Unreadable (DICOM_TOO_LARGE): no header is so
    long.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        self._data = bytearray(_LEAD)
        self._at = 0
        self.capped = True

    def read(self, size: int | None = -1, /) -> bytes:
        end = None if size is None or size < 0 else self._at + size
        self._reach(end)
        found = bytes(self._data[self._at : end])
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            self._reach(None)
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _reach(self, end: int | None) -> None:
        while (end is None or len(self._data) < end) and not self._unpacker.eof:
            if self.capped and len(self._data) > _MOST_HEADER_BYTES:
                raise Unreadable(Reason.DICOM_TOO_LARGE, "inflated header")
            packed = self._unpacker.unconsumed_tail or self._file.read(_PIECE)
            if not packed:
                return
            try:
                self._data += self._unpacker.decompress(packed, _PIECE)
            except zlib.error as error:
                damaged = Reason.DICOM_HEADER_DAMAGED if self.capped else Reason.PIXEL_DATA_DAMAGED
                raise Unreadable(damaged, "deflated") from error


def _end_of_meta(head: bytes) -> int:
    """Where the elements of group 2 end (explicit little endian, PS3.10 section 7.1)."""
    at = 132
    while head[at : at + 2] == b"\x02\0":
        long = head[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        where = slice(at + 8, at + 12) if long else slice(at + 6, at + 8)
        at = where.stop + int.from_bytes(head[where], "little")
    return at
