"""Damage to the bytes of a file: one seed, one damage, always the same.

Most of it goes into the header, and there into the elements that decide place, size and values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.uid import ImplicitVRLittleEndian

Random = np.random.Generator

_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_VRS = (b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OW PN SH SL SQ SS ST SV TM UC UI UL UN "
        b"UR US UT UV ZZ \0\0 ds").split(b" ")  # fmt: skip
_DECIDING = frozenset({
    0x00020010, 0x00080008, 0x00080016, 0x00080018, 0x00100020, 0x0020000D, 0x0020000E, 0x00200013,
    0x00200032, 0x00200037, 0x00200052, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011,
    0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00281052, 0x00281053,
    0x00281054, 0x00291010, 0x00291020, 0x52009229, 0x52009230, 0x00209113, 0x00209116, 0x00289110,
    0x00289145, 0x7FE00010,
})  # fmt: skip
_SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "1.2.3", "",
)  # fmt: skip
_EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0xFFFE, 0xFFFF, 0x7FFF, 0x8000, 0x10000, 0x7FFFFFFF,
             0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip


@dataclass(frozen=True)
class Element:
    """Where one element of a data set lies; `code_at` is 0 where its VR is not written."""

    tag: int
    vr: str
    start: int
    code_at: int
    length_at: int
    length_size: int
    value_at: int
    length: int

    @property
    def end(self) -> int:
        return self.value_at + self.length


@dataclass(frozen=True)
class Layout:
    """Elements of a little-endian file in the order of its bytes, items of sequences opened."""

    elements: tuple[Element, ...]
    header_end: int


def layout_of(data: bytes) -> Layout:
    """What of a file can be understood; a deflated or big-endian one is bytes alone."""
    elements: list[Element] = []
    at, implicit = 132, False
    try:
        while at + 8 <= len(data):
            group, number = struct.unpack_from("<HH", data, at)
            tag = group << 16 | number
            if group == 0xFFFE:
                at += 8
                continue
            inside = implicit and group != 2
            element = _element(data, at, tag, inside)
            elements.append(element)
            if tag == 0x00020010:
                implicit = data[element.value_at : element.end].strip(b"\0 ") == (
                    ImplicitVRLittleEndian.encode()
                )
            if tag >= 0x7FE00008:
                return Layout(tuple(elements), element.value_at)
            opened = element.vr == "SQ" or element.length == 0xFFFFFFFF
            at = element.value_at if opened else element.end
    except (struct.error, ValueError):
        pass
    return Layout(tuple(elements), min(len(data), elements[-1].start if elements else 2048))


def _element(data: bytes, at: int, tag: int, implicit: bool) -> Element:
    if implicit:
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            vr = "UN"
        length = struct.unpack_from("<L", data, at + 4)[0]
        return Element(tag, vr, at, 0, at + 4, 4, at + 8, length)
    vr = data[at + 4 : at + 6].decode("ascii")
    if not (vr.isalpha() and vr.isupper()):
        raise ValueError
    if vr in _LONG:
        length = struct.unpack_from("<L", data, at + 8)[0]
        return Element(tag, vr, at, at + 4, at + 8, 4, at + 12, length)
    length = struct.unpack_from("<H", data, at + 6)[0]
    return Element(tag, vr, at, at + 4, at + 6, 2, at + 8, length)


def damaged(rng: Random, data: bytes, layout: Layout, donors: Sequence[bytes]) -> bytes:
    """The file with one to three damages."""
    times = int(rng.choice([1, 1, 1, 1, 2, 3]))
    out = bytearray(data)
    for _ in range(times):
        if len(out) < 16:
            break
        kinds = _STRUCTURED if layout.elements and rng.random() < 0.75 else _BLIND
        change = kinds[rng.integers(len(kinds))]
        change(rng, out, layout, donors)
    return bytes(out)


Damage = Callable[[Random, bytearray, Layout, Sequence[bytes]], None]


def _place(rng: Random, data: bytearray, layout: Layout) -> int:
    """A byte, nine times of ten in the header."""
    end = min(layout.header_end, len(data))
    return int(rng.integers(max(1, end if rng.random() < 0.9 else len(data))))


def _any(rng: Random, layout: Layout) -> Element:
    chosen = [e for e in layout.elements if e.tag in _DECIDING] if rng.random() < 0.7 else []
    chosen = chosen or list(layout.elements)
    return chosen[rng.integers(len(chosen))]


def _value(rng: Random, layout: Layout, vrs: Sequence[str]) -> Element | None:
    for _ in range(20):
        element = _any(rng, layout)
        if element.vr in vrs and 0 < element.length < 1 << 16:
            return element
    return None


def _flip(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    data[_place(rng, data, layout)] ^= 1 << int(rng.integers(8))


def _byte(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    data[_place(rng, data, layout)] = int(rng.integers(256))


def _number(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    at, size = _place(rng, data, layout), int(rng.choice([2, 4]))
    value = int(rng.choice(_EXTREMES)) & ((1 << 8 * size) - 1)
    data[at : at + size] = value.to_bytes(size, "little")


def _delete(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    at = _place(rng, data, layout)
    del data[at : at + int(rng.choice([1, 2, 4, 8, 64, 1000]))]


def _insert(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    at = _place(rng, data, layout)
    data[at:at] = rng.bytes(int(rng.choice([1, 2, 4, 8, 64])))


def _duplicate(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    at, size = _place(rng, data, layout), int(rng.choice([2, 8, 16, 64, 512]))
    data[at:at] = data[at : at + size]


def _truncate(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    del data[_place(rng, data, layout) if rng.random() < 0.5 else int(rng.integers(len(data))) :]


def _splice(rng: Random, data: bytearray, layout: Layout, donors: Sequence[bytes]) -> None:
    donor, at = donors[rng.integers(len(donors))], _place(rng, data, layout)
    size = int(rng.choice([8, 64, 512, 4096, 1 << 30]))
    data[at : at + size] = donor[at : at + size]


_BLIND: tuple[Damage, ...] = (
    _flip, _flip, _byte, _byte, _number, _delete, _insert, _duplicate, _truncate, _splice,
)  # fmt: skip


def _length(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    element = _any(rng, layout)
    value = int(rng.choice(_EXTREMES))
    if rng.random() < 0.5:
        value = element.length + int(rng.choice([-2, -1, 1, 2, 4, 8]))
    value %= 1 << 8 * element.length_size
    at = element.length_at
    data[at : at + element.length_size] = value.to_bytes(element.length_size, "little")


def _swap(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    one, two = sorted((_any(rng, layout), _any(rng, layout)), key=lambda e: e.start)
    if one.end <= two.start and two.tag != 0x7FE00010 and two.end <= len(data):
        first, between = data[one.start : one.end], data[one.end : two.start]
        data[one.start : two.end] = data[two.start : two.end] + between + first


def _twice(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    element = _any(rng, layout)
    if element.length < 1 << 16:
        data[element.start : element.start] = data[element.start : element.end]


def _without(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    element = _any(rng, layout)
    if element.length < 1 << 16:
        del data[element.start : element.end]


def _code(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    element = _any(rng, layout)
    if element.code_at:
        data[element.code_at : element.code_at + 2] = _VRS[rng.integers(len(_VRS))][:2]


def _tag(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    element, other = _any(rng, layout), _any(rng, layout)
    if rng.random() < 0.5:
        data[element.start : element.start + 4] = data[other.start : other.start + 4]
    elif element.start + 4 <= len(data):
        data[element.start + int(rng.integers(4))] ^= 1 << int(rng.integers(8))


def _digit(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    element = _value(rng, layout, ("DS", "IS", "UI", "DA", "TM"))
    if element is not None and element.end <= len(data):
        at = element.value_at + int(rng.integers(element.length))
        data[at] = b"0123456789.-+eE\\ \0x"[rng.integers(19)]


def _wide(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    element = _value(rng, layout, ("US", "SS", "UL", "FD", "FL", "CS"))
    if element is not None:
        fill = int(rng.choice(_EXTREMES)) & ((1 << 8 * min(element.length, 4)) - 1)
        size = min(element.length, 4)
        data[element.value_at : element.value_at + size] = fill.to_bytes(size, "little")


def _text(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    """A number or a text in place of another of the same length."""
    element = _value(rng, layout, ("DS", "IS", "CS", "UI", "LO"))
    if element is not None:
        texts = ("0", "1", "-1", "1e9", "1e-9", "nan", "inf", "1\\2", "", "MOSAIC", "MONOCHROME1")
        text = texts[rng.integers(len(texts))].encode()[: element.length]
        data[element.value_at : element.end] = text.ljust(element.length)


def _syntax(rng: Random, data: bytearray, layout: Layout, _: Sequence[bytes]) -> None:
    found = [e for e in layout.elements if e.tag == 0x00020010]
    if found:
        text = _SYNTAXES[rng.integers(len(_SYNTAXES))].encode()
        text += b"\0" * (len(text) % 2)
        element = found[0]
        data[element.value_at : element.end] = text
        data[element.length_at : element.length_at + 2] = len(text).to_bytes(2, "little")


_STRUCTURED: tuple[Damage, ...] = (
    _length, _swap, _twice, _without, _code, _tag, _digit, _digit, _digit, _digit, _wide, _wide,
    _text, _text, _syntax,
)  # fmt: skip
