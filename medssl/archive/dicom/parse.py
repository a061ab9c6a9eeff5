"""The elements that are asked for, out of the first bytes of a file, unconverted.

pydicom makes an object of every element that it passes. An archive has millions of files of one to
three hundred elements each, so here the others are stepped over, and values stay bytes until
somebody asks for them (`elements`). This reads what nearly all files are: preamble, meta header,
implicit or explicit little endian. Whatever else comes along, and whatever is not beyond doubt, is
left to pydicom, which then also says what is wrong with it. Layout: PS3.5 section 7, PS3.10
section 7.1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from struct import error as StructError

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

_FIRST_BYTES = 1 << 14
_MOST_BYTES = 1 << 26
_UNDEFINED = 0xFFFFFFFF
_PIXELS = 0x7FE00008
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX = 0x00020010
_SHORT = frozenset(
    [b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
     b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"]
)  # fmt: skip
_LONG = frozenset(
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"]
)
_NOT_READ = frozenset([ExplicitVRBigEndian.encode(), DeflatedExplicitVRLittleEndian.encode()])

_explicit = Struct("<HH2sH").unpack_from
_implicit = Struct("<HHL").unpack_from
_length = Struct("<L").unpack_from


Wanted = Mapping[int, tuple[BaseTag, str | None]]
_Elements = dict[BaseTag, DataElement | RawDataElement]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A data set that holds the wanted elements alone, with its meta header as `file_meta`.

    Attributes:
        offset: where the pixel element begins, or the file ends.
        pixels: whether there is a pixel element.
    """

    ds: Dataset
    offset: int
    pixels: bool


class _Doubt(Exception):
    """Something that is left to pydicom."""


class _TooShort(_Doubt):
    """The bytes at hand end before the pixels."""


def parse_header(path: Path, wanted: Wanted) -> Parsed | None:
    """The wanted elements of a file's top level; None where pydicom has to read it.

    Args:
        wanted: by number, the tag and its VR by the dictionary, None for private ones.

    Raises:
        OSError: the file cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        have = _FIRST_BYTES
        while True:
            data = os.pread(handle, have, 0)
            try:
                return _parse(data, len(data) == size, wanted)
            except _TooShort:
                if len(data) < have or have >= _MOST_BYTES:
                    return None
                have *= 8
            except (_Doubt, StructError, RecursionError):
                return None
    finally:
        os.close(handle)


def _parse(data: bytes, whole: bool, wanted: Wanted) -> Parsed:
    if data[128:132] != b"DICM":
        raise _Doubt
    meta: _Elements = {}
    at = _scan(data, 132, False, _META, meta, stop=0x00030000)
    stated = meta.get(_SYNTAX)  # type: ignore[call-overload]
    if stated is None or not stated.value or stated.value.strip(b"\0 ") in _NOT_READ:
        raise _Doubt
    implicit = stated.value.strip(b"\0 ") == ImplicitVRLittleEndian.encode()
    found: _Elements = {}
    at = _scan(data, at, implicit, wanted, found, stop=_PIXELS)
    if at >= len(data) and not whole:
        raise _TooShort
    ds = Dataset(found)
    ds.file_meta = Dataset(meta)  # type: ignore[assignment]
    return Parsed(ds, at, at < len(data))


_META: Wanted = {n: (BaseTag(n), "UI") for n in (0x00020002, _SYNTAX)}


def _scan(
    data: bytes,
    at: int,
    implicit: bool,
    wanted: Wanted,
    found: _Elements,
    stop: int,
) -> int:
    """Step from element to element up to the tag `stop`; where that is, or the data end."""
    end, before = len(data), 0
    while at < end:
        if at + 8 > end:
            raise _TooShort
        group, element, code, length = _explicit(data, at)
        tag = group << 16 | element
        if tag >= stop:
            break
        if tag <= before:
            raise _Doubt
        before = tag
        if implicit:
            length = _length(data, at + 4)[0]
            at += 8
        elif code in _SHORT:
            at += 8
        else:
            length = _long_length(data, at, code)
            at += 12
        begin = at
        if length == _UNDEFINED:
            if not implicit and code != b"SQ":
                raise _Doubt
            at = _past_items(data, at, implicit)
            length = at - 8 - begin
        else:
            at += length
        if tag in wanted:
            if at > end:
                raise _TooShort
            key, vr = wanted[tag]
            if not implicit:
                vr = code.decode("ascii")
            found[key] = RawDataElement(
                key, vr, length, data[begin : begin + length], begin, implicit, True
            )
    return at


def _long_length(data: bytes, at: int, code: bytes) -> int:
    """The length of an explicit element whose VR has two reserved bytes after it."""
    if code not in _LONG:
        raise _Doubt
    if at + 12 > len(data):
        raise _TooShort
    return int(_length(data, at + 8)[0])


def _past_items(data: bytes, at: int, implicit: bool) -> int:
    """The place after a sequence of undefined length that begins at `at`."""
    while True:
        if at + 8 > len(data):
            raise _TooShort
        tag, length = _item(data, at)
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise _Doubt
        at = _past_item(data, at, implicit) if length == _UNDEFINED else at + length


def _past_item(data: bytes, at: int, implicit: bool) -> int:
    """The place after an item of undefined length whose first element is at `at`."""
    while True:
        if at + 8 > len(data):
            raise _TooShort
        tag, length = _item(data, at)
        if tag == _ITEM_END:
            return at + 8
        code = data[at + 4 : at + 6]
        if implicit:
            at += 8
        elif code in _SHORT:
            length = int.from_bytes(data[at + 6 : at + 8], "little")
            at += 8
        else:
            length = _long_length(data, at, code)
            at += 12
        if length != _UNDEFINED:
            at += length
        elif implicit or code == b"SQ":
            at = _past_items(data, at, implicit)
        else:
            raise _Doubt


def _item(data: bytes, at: int) -> tuple[int, int]:
    """Tag and four-byte length of the item, delimiter or implicit element at `at`."""
    group, element, length = _implicit(data, at)
    return group << 16 | element, length
