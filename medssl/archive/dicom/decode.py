"""Pixels out of one file: every frame once, as the integers that were stored.

Sizes are checked before anything is decoded: against the cap, against the length of the pixel data
(exactly, so that nothing is ever filled with zeros), and for compressed frames against the size in
the codestream.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from medssl.archive.dicom.deflated import lift_cap
from medssl.archive.dicom.header import (
    Header,
    PixelFormat,
    Unreadable,
    open_data_set,
)
from medssl.archive.reasons import Reason
from medssl.errors import CodecError
from medssl.volume import Array

_COLOURS = ("RGB", "YBR", "PALETTE", "HSV", "ARGB", "CMYK", "XYB")
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_UNDEFINED = 0xFFFFFFFF
_LOOK_BEYOND = 16
_GROUPS_AFTER_PIXELS = (*range(0x7FE0, 0x8000), 0xFFFA, 0xFFFC)  # private, signatures, padding
_MOST_PADDING = 4096  # zeros after the last voxel, as some writers fill up a block

_HTJ2K = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
_PACKAGES: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    # transfer syntaxes, the package to install, the decoders of pydicom that may serve, in order
    ((*JPEGLSTransferSyntaxes,), "pyjpegls", ("pyjpegls", "gdcm")),
    (
        (*JPEG2000TransferSyntaxes, *_HTJ2K),
        "pylibjpeg pylibjpeg-openjpeg",
        ("pylibjpeg", "gdcm"),
    ),
    ((*JPEGTransferSyntaxes,), "python-gdcm", ("gdcm", "pylibjpeg")),
    ((RLELossless,), "pydicom", ("gdcm", "pylibjpeg", "pydicom")),
)


def check_format(header: Header, max_voxels: int = 2**30) -> None:
    """Refuse by the header alone what is no image or asks for too many voxels in one file.

    Raises:
        Unreadable: COLOUR_IMAGE, PIXEL_FORMAT_INVALID, DICOM_TOO_LARGE or PIXEL_DATA_MISSING.
    """
    pixels = header.pixels
    if not pixels.present:
        raise Unreadable(Reason.PIXEL_DATA_MISSING)
    grey = pixels.photometric in ("MONOCHROME1", "MONOCHROME2", "")
    if pixels.photometric.startswith(_COLOURS) or (not grey and pixels.samples in (3, 4)):
        raise Unreadable(Reason.COLOUR_IMAGE)
    if not grey or pixels.samples != 1:
        kind = "grey" if grey else "of an unknown photometric interpretation"
        raise Unreadable(Reason.PIXEL_FORMAT_INVALID, f"{pixels.samples} samples, {kind}")
    if pixels.signed is None:
        raise Unreadable(Reason.PIXEL_FORMAT_INVALID, "PixelRepresentation is neither 0 nor 1")
    if min(pixels.rows, pixels.columns, pixels.frames) < 1:
        raise Unreadable(Reason.PIXEL_FORMAT_INVALID, "rows, columns or frames")
    if pixels.num_voxels > max_voxels:
        raise Unreadable(Reason.DICOM_TOO_LARGE, f"{pixels.num_voxels} voxels")
    low_bit = pixels.high_bit - pixels.bits_stored + 1
    if (
        pixels.bits_allocated not in (8, 16, 32)
        or not 1 < pixels.bits_stored <= pixels.bits_allocated
        or low_bit < 0
        or pixels.high_bit >= pixels.bits_allocated
    ):
        raise Unreadable(
            Reason.PIXEL_FORMAT_INVALID,
            f"bits allocated {pixels.bits_allocated}, stored {pixels.bits_stored}, "
            f"high bit {pixels.high_bit}",
        )
    if low_bit and pixels.transfer_syntax not in (*_NATIVE, RLELossless):
        raise Unreadable(Reason.PIXEL_FORMAT_INVALID, f"high bit {pixels.high_bit}, compressed")
    tiles = len(header.mosaic.positions) if header.mosaic else pixels.frames
    if len(header.frames) != tiles:
        raise Unreadable(
            Reason.PIXEL_FORMAT_INVALID, f"{pixels.frames} frames, {len(header.frames)} described"
        )


@dataclass(frozen=True, slots=True)
class Decoded:
    """The frames of a file, (frames, rows, columns), and the SHA-256 of the whole file."""

    frames: Array
    sha256: str


def decode(header: Header, max_voxels: int = 2**30) -> Decoded:
    """All frames of a file, bits above HighBit masked, sign extended.

    A mosaic comes unfolded, one frame a tile. The file is read once, and hashed on the way.

    Raises:
        Unreadable: the pixel data are cut off, too long, damaged or of an unknown encoding.
        CodecError: the decoder is not installed; the message names the package.
    """
    check_format(header, max_voxels)
    pixels = header.pixels
    try:
        data = _read_file(header.path)
    except OSError as error:
        raise Unreadable(Reason.UNREADABLE_FILE, type(error).__name__) from error
    stream: BinaryIO = io.BytesIO(data)
    if pixels.offset is None:
        stream = open_data_set(stream)[1]
        lift_cap(stream)
    else:
        stream.seek(pixels.offset)
    values = _significant_bits(_read_frames(stream, pixels), pixels)
    frames = header.mosaic.unfold(values) if header.mosaic else values
    return Decoded(frames, hashlib.sha256(data).hexdigest())


def _read_file(path: Path) -> bytes:
    """All bytes of a file, without the file object that costs more than reading a small one."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        data = os.read(handle, size)
        while len(data) < size and (more := os.read(handle, size - len(data))):
            data += more
        return data
    finally:
        os.close(handle)


def _read_frames(stream: BinaryIO, pixels: PixelFormat) -> Array:
    length, vr = _pixel_element(stream, pixels.transfer_syntax)
    if pixels.transfer_syntax in _NATIVE:
        return _native(stream, pixels, length, vr)
    if length != _UNDEFINED:
        _decoder_of(pixels)  # an encoding that nobody knows is told as such
        raise Unreadable(Reason.PIXEL_DATA_DAMAGED, "compressed, but not in fragments")
    return _compressed(stream, pixels)


def _pixel_element(stream: BinaryIO, transfer_syntax: str) -> tuple[int, str]:
    """Length and VR of the PixelData element; the stream then stands at its value."""
    big = transfer_syntax == ExplicitVRBigEndian
    start = stream.read(8)
    if len(start) < 8:
        raise Unreadable(Reason.PIXEL_DATA_MISSING)
    order = ">" if big else "<"
    group, element = struct.unpack(f"{order}HH", start[:4])
    if (group, element) != (0x7FE0, 0x0010):
        raise Unreadable(Reason.PIXEL_FORMAT_INVALID, "floating point pixels")
    if transfer_syntax == ImplicitVRLittleEndian:
        return int(struct.unpack("<L", start[4:])[0]), "OW"
    vr = start[4:6].decode("latin-1")
    tail = stream.read(4)
    if vr not in ("OW", "OB", "UN") or len(tail) < 4:
        raise Unreadable(Reason.PIXEL_DATA_DAMAGED, "the pixel element has another VR")
    return int(struct.unpack(f"{order}L", tail)[0]), vr


def _native(stream: BinaryIO, pixels: PixelFormat, length: int, vr: str) -> Array:
    expected = pixels.num_bytes
    excess = length - expected
    if not 0 <= excess <= _MOST_PADDING:
        raise Unreadable(Reason.PIXEL_DATA_LENGTH, f"{length} bytes stated, {expected} expected")
    data = stream.read(expected)
    if len(data) != expected:
        raise Unreadable(Reason.PIXEL_DATA_LENGTH, f"{len(data)} bytes of {expected}")
    rest = stream.read(excess + _LOOK_BEYOND)
    if excess > 1 and any(rest[:excess]):
        raise Unreadable(Reason.PIXEL_DATA_LENGTH, f"{excess} bytes more than {expected}")
    if not _may_follow(rest[excess:], pixels.transfer_syntax):
        raise Unreadable(Reason.PIXEL_DATA_LENGTH, "what follows the pixels is no element")
    shape = (pixels.frames, pixels.rows, pixels.columns)
    size = pixels.bits_allocated // 8
    if pixels.transfer_syntax != ExplicitVRBigEndian:
        return np.frombuffer(data, dtype=f"<u{size}").reshape(shape)
    if size == 1 and vr == "OW":  # bytes swapped in pairs (PS3.5 section 8.2)
        data += rest[: expected % 2]
        return np.frombuffer(data, dtype="<u2").byteswap().view(np.uint8)[:expected].reshape(shape)
    if size == 4 and vr == "OW":  # each half-word swapped, the low one first
        halves = np.frombuffer(data, dtype=">u2").astype("<u2")
        return halves.view("<u4").reshape(shape)
    return np.frombuffer(data, dtype=f">u{size}").astype(f"<u{size}").reshape(shape)


def _may_follow(rest: bytes, transfer_syntax: str) -> bool:
    """Whether what follows the pixel element is nothing, an element of a higher tag, or zeros.

    Bytes that got into the pixels push their end out of the element: then this is no element.
    """
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    group, number = struct.unpack_from(f"{order}HH", rest.ljust(4, b"\0"))
    if (group, number) <= (0x7FE0, 0x0010) or group not in _GROUPS_AFTER_PIXELS:
        return not any(rest)
    explicit = transfer_syntax != ImplicitVRLittleEndian
    return not explicit or (rest[4:6].isalpha() and rest[4:6].isupper())


def _compressed(stream: BinaryIO, pixels: PixelFormat) -> Array:
    decoder, plugins = _decoder_of(pixels)
    frames: list[Array] = []
    try:
        for data in generate_frames(stream, number_of_frames=pixels.frames):
            _check_codestream(data, pixels)
            frames.append(_decode_frame(decoder, plugins, data, pixels))
    except (Unreadable, CodecError):
        raise
    except Exception as error:  # each decoder has its own errors for a damaged codestream
        raise Unreadable(Reason.PIXEL_DATA_DAMAGED, type(error).__name__) from error
    if len(frames) != pixels.frames:
        raise Unreadable(Reason.PIXEL_DATA_LENGTH, f"{len(frames)} frames of {pixels.frames}")
    return np.stack(frames)


def _decode_frame(
    decoder: Any, plugins: tuple[str, ...], data: bytes, pixels: PixelFormat
) -> Array:
    """One frame by the first installed decoder that can; the last one's error stands."""
    if pixels.transfer_syntax == JPEGExtended12Bit and pixels.bits_stored > 8 and "gdcm" in plugins:
        return _decode_by_gdcm(data, pixels)
    failure: Exception | None = None
    for plugin in plugins:
        try:
            frame, _ = decoder.as_array(
                _one_fragment(data),
                raw=True,
                index=0,
                decoding_plugin=plugin,
                transfer_syntax_uid=UID(pixels.transfer_syntax),
                rows=pixels.rows,
                columns=pixels.columns,
                number_of_frames=1,
                samples_per_pixel=1,
                bits_allocated=pixels.bits_allocated,
                bits_stored=pixels.bits_stored,
                pixel_representation=int(bool(pixels.signed)),
                photometric_interpretation=pixels.photometric or "MONOCHROME2",
                pixel_keyword="PixelData",
            )
            return np.asarray(frame)
        except Exception as error:
            failure = error
    assert failure is not None
    raise failure


def _decode_by_gdcm(data: bytes, pixels: PixelFormat) -> Array:
    """12 bit JPEG Extended, which GDCM decodes exactly though pydicom does not ask it to."""
    import gdcm

    for silence in (gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
        silence()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((pixels.columns, pixels.rows, 1))
    image.SetPixelFormat(
        gdcm.PixelFormat(
            1, pixels.bits_allocated, pixels.bits_stored, pixels.high_bit, pixels.signed
        )
    )
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(pixels.transfer_syntax)
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetDataElement(element)
    decoded = image.GetBuffer()
    if decoded is None:
        raise Unreadable(Reason.PIXEL_DATA_DAMAGED, "12 bit JPEG Extended")
    values = np.frombuffer(
        decoded.encode("utf-8", "surrogateescape"), dtype=f"<u{pixels.bits_allocated // 8}"
    )
    return values.reshape(pixels.rows, pixels.columns)


def _decoder_of(pixels: PixelFormat) -> tuple[Any, tuple[str, ...]]:
    """pydicom's decoder and those of its plugins that are installed, best first."""
    syntax = pixels.transfer_syntax
    for syntaxes, package, plugins in _PACKAGES:
        if syntax in syntaxes:
            decoder = get_decoder(UID(syntax))
            installed = tuple(p for p in plugins if p in decoder.available_plugins)
            if not installed:
                raise CodecError(
                    f"{UID(syntax).name}: its decoder is not installed; pip install {package}"
                )
            return decoder, installed
    raise Unreadable(Reason.TRANSFER_SYNTAX_UNKNOWN)


def _one_fragment(data: bytes) -> bytes:
    """A frame as the value of an encapsulated PixelData element: empty offset table, one item."""
    data += b"\0" * (len(data) % 2)
    head = b"\xfe\xff\x00\xe0" + struct.pack("<L", 0) + b"\xfe\xff\x00\xe0"
    return head + struct.pack("<L", len(data)) + data + b"\xfe\xff\xdd\xe0" + struct.pack("<L", 0)


def _check_codestream(data: bytes, pixels: PixelFormat) -> None:
    """Refuse a frame whose codestream has another size than the header says."""
    if pixels.transfer_syntax == RLELossless:
        return
    size = _codestream_size(data)
    if size is None:
        raise Unreadable(Reason.PIXEL_DATA_DAMAGED, "no codestream header")
    if size != (pixels.rows, pixels.columns, 1):
        raise Unreadable(
            Reason.PIXEL_DATA_DAMAGED,
            f"codestream of {size[0]} x {size[1]} x {size[2]}, "
            f"header of {pixels.rows} x {pixels.columns} x 1",
        )


def _codestream_size(data: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, components) by the SIZ marker of JPEG 2000 or the SOF marker of JPEG."""
    siz = data.find(b"\xff\x4f\xff\x51") if data[:2] != b"\xff\xd8" else -1
    if siz >= 0 and len(data) >= siz + 42:
        right, bottom, left, top = struct.unpack(">4L", data[siz + 8 : siz + 24])
        return bottom - top, right - left, int.from_bytes(data[siz + 40 : siz + 42], "big")
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    while at + 10 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _FRAME_MARKERS:
            rows, columns, components = struct.unpack(">HHB", data[at + 5 : at + 10])
            return rows, columns, components
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def _significant_bits(stored: Array, pixels: PixelFormat) -> Array:
    """The stored bits alone, at the low end, as the smallest integer type that states the sign."""
    size = pixels.bits_allocated // 8
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    if stored.dtype.itemsize != size:
        raise Unreadable(Reason.PIXEL_DATA_DAMAGED, f"decoded to {stored.dtype.itemsize} bytes")
    low_bit = pixels.high_bit - pixels.bits_stored + 1
    spare = pixels.bits_allocated - pixels.bits_stored
    if spare == 0:
        return unsigned.view(pixels.dtype)
    if not pixels.signed and low_bit == 0:
        kept: Array = unsigned & unsigned.dtype.type((1 << pixels.bits_stored) - 1)
        return kept
    moved = unsigned << (spare - low_bit) if spare > low_bit else unsigned
    return moved.view(pixels.dtype) >> spare
