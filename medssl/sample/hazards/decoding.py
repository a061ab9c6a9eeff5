"""Hazards of decoding: every encoding of pixels, and pixels that are no scan."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medssl.archive.reasons import Reason
from medssl.sample.dicom import ENCODERS
from medssl.sample.hazards.clean import Clean, write_file
from medssl.sample.hazards.hazard import End, Hazard, exact, refused
from medssl.sample.hazards.place import Place
from medssl.volume import Array

_MIDDLE = 5
_LARGE = (10, 40, 36)  # OpenJPEG halves an image five times
# A ramp of 12 x 10 pixels, (37 i) mod 4096, as one codestream of High-Throughput JPEG 2000.
_HTJ2K_SHAPE = (12, 10)
_HTJ2K = bytes.fromhex(
    "ff4fff51002940000000000a0000000c00000000000000000000000a0000000c000000000000000000010f0101ff50"
    "000800020000000aff52000c00020001000504044001ff5c00132088909090909090909090909090888888ff640017"
    "00014f70656e4a50482056657220302e32362e332eff90000a00000000009f0001ff93c0002653f30507740000c000"
    "13400013400012001cfe02077400def60387740001077400c00013400013400012802697010b74001fef00223400de"
    "00877400c0001510000554000130ff7fe00107e2750080f6d9f7c03201feb600ff7f81047400c0002be00016840002"
    "70480441fe4790d00bf202f7e08b79001bc546d8e88ddee8f41c467401ecb800ff7ff601827500ffd9"
)

# --- encodings that must decode exactly -----------------------------------------------------------


def native(syntax: str) -> Callable[[Place], None]:
    """A clean series in an encoding without compression, or deflated."""

    def write(place: Place) -> None:
        Clean(place).expect().write(syntax)

    return write


def by_pydicom(syntax: UID) -> Callable[[Place], None]:
    """A clean series, compressed by pydicom's encoders."""

    def write(place: Place) -> None:
        series = Clean(place, shape=_LARGE).expect()
        for ds, path in zip(series.slices, series.write(), strict=True):
            ds.compress(syntax, encoding_plugin=ENCODERS[syntax], generate_instance_uid=False)
            write_file(path, ds, syntax)

    return write


def by_gdcm(syntax: str, bits: int = 12) -> Callable[[Place], None]:
    """A clean series, compressed by GDCM; blocks of one value where JPEG would lose something."""

    def write(place: Place) -> None:
        series = Clean(place)
        stored = series.stored
        if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
            stored = _blocks(stored, bits)
        kind = np.uint8 if bits == 8 else np.dtype("<u2")
        series.store(stored.astype(kind), BitsAllocated=8 * np.dtype(kind).itemsize,
                     BitsStored=bits, HighBit=bits - 1)  # fmt: skip
        series.expect(stored.astype(np.int32) - 1024)
        with tempfile.TemporaryDirectory() as scratch:
            for ds, path in zip(series.slices, series.write(), strict=True):
                _fragments(ds, [_gdcm_codestream(path, syntax, Path(scratch) / "image")])
                write_file(path, ds, syntax)

    return write


def _blocks(stored: Array, bits: int) -> Array:
    """One value for each block of 8 x 8: JPEG at full quality keeps such an image exactly."""
    small = (stored[:, ::8, ::8].astype(np.int64) * 2**bits // 4096).astype(stored.dtype)
    return np.repeat(np.repeat(small, 8, axis=1), 8, axis=2)[
        :, : stored.shape[1], : stored.shape[2]
    ]


def _gdcm_codestream(path: Path, syntax: str, scratch: Path) -> bytes:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(scratch))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.Write()
    pixels = pydicom.dcmread(scratch).PixelData
    return next(generate_frames(pixels, number_of_frames=1))


def _fragments(ds: Dataset, frames: list[bytes], each: int = 1) -> None:
    ds.PixelData = encapsulate(frames, fragments_per_frame=each, has_bot=each == 1)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def htj2k(place: Place) -> None:
    _htj2k(place, 1)


def split_fragments(place: Place) -> None:
    """Each frame cut into three fragments, without an offset table that would tell."""
    _htj2k(place, 3)


def _htj2k(place: Place, fragments: int) -> None:
    rows, columns = _HTJ2K_SHAPE
    ramp = np.arange(rows * columns).reshape(rows, columns) * 37 % 4096
    series = Clean(place, "MR", shape=(4, rows, columns))
    for ds in series.slices:
        _fragments(ds, [_HTJ2K], fragments)
    series.expect(np.stack([ramp] * 4)).write(HTJ2KLossless)


# --- what the bits say ----------------------------------------------------------------------------


def above_high_bit(place: Place) -> None:
    """An overlay in the upper four bits, as old scanners kept it."""
    series = Clean(place).expect()
    series.store(series.stored | np.where(series.values > 0, 0xA000, 0).astype("<u2")).write()


def signed(place: Place) -> None:
    series = Clean(place).expect()
    series.store(series.values.astype("<i2"), PixelRepresentation=1, BitsStored=16, HighBit=15,
                 RescaleIntercept="0").write()  # fmt: skip


def signed_12_bits(place: Place) -> None:
    """Negative numbers in 12 bits, the upper four zero: the sign has to be extended."""
    series = Clean(place).expect()
    packed = series.values.astype("<i2").view("<u2") & 0x0FFF
    series.store(packed, PixelRepresentation=1, RescaleIntercept="0").write()


def unsigned_16_bits(place: Place) -> None:
    """Numbers above 32,767 that a signed reader turns negative."""
    series = Clean(place, "MR")
    stored = (series.values * 20).astype("<u2")
    series.store(stored, BitsStored=16, HighBit=15).expect(stored).write()


def eight_bits(place: Place) -> None:
    series = Clean(place, "MR")
    stored = (series.values // 16).astype(np.uint8)
    series.store(stored, BitsAllocated=8, BitsStored=8, HighBit=7).expect(stored).write()


def thirty_two_bits(place: Place) -> None:
    series = Clean(place, "MR")
    stored = (series.values * 70_001).astype("<u4")
    series.store(stored, BitsAllocated=32, BitsStored=32, HighBit=31)
    series.expect(stored.astype(np.float64)).write()


def one_bit(place: Place) -> None:
    series = Clean(place, shape=(3, 24, 20))
    for ds, values in zip(series.slices, series.values, strict=True):
        ds.PixelData = np.packbits(values > 0, bitorder="little").tobytes()
    series.set(BitsAllocated=1, BitsStored=1, HighBit=0).write()


# --- colour, and pixels that cannot be had --------------------------------------------------------


def rgb(place: Place) -> None:
    _colour(place, "RGB")


def ybr(place: Place) -> None:
    _colour(place, "YBR_FULL")


def _colour(place: Place, photometric: str) -> None:
    series = Clean(place, shape=(3, 24, 20))
    series.set(SamplesPerPixel=3, PhotometricInterpretation=photometric, PlanarConfiguration=0,
               BitsAllocated=8, BitsStored=8, HighBit=7)  # fmt: skip
    for ds, values in zip(series.slices, series.values, strict=True):
        grey = (np.clip(values + 1000, 0, 3000) // 12).astype(np.uint8)
        ds.PixelData = np.stack([grey, grey // 2, 255 - grey], axis=-1).tobytes()
        ds["PixelData"].VR = "OB"
    series.write()


def palette(place: Place) -> None:
    series = Clean(place, shape=(3, 24, 20))
    table = np.arange(256, dtype="<u2").tobytes()
    series.set(PhotometricInterpretation="PALETTE COLOR", RescaleSlope=None,
               RescaleIntercept=None, RescaleType=None)  # fmt: skip
    for colour in ("Red", "Green", "Blue"):
        series.set(**{f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16],
                      f"{colour}PaletteColorLookupTableData": table})  # fmt: skip
    series.write()


def too_long(place: Place) -> None:
    """The pixels of the sixth slice go on for a row of another image."""
    series = Clean(place).expect()
    ds = series.slices[_MIDDLE]
    ds.PixelData += np.arange(1, 21, dtype="<u2").tobytes()
    series.write()


def unknown_syntax(place: Place) -> None:
    """A private transfer syntax."""
    series = Clean(place, shape=(3, 24, 20))
    for path in series.write():
        old = ExplicitVRLittleEndian.encode().ljust(20, b"\0")
        path.write_bytes(path.read_bytes().replace(old, b"1.2.752.24.3.7.7".ljust(20, b"\0"), 1))


def damaged_codestream(place: Place) -> None:
    _one_jpeg2000(place, lambda data: data[: len(data) // 2])


def codestream_bomb(place: Place) -> None:
    """A codestream that says it is 2,147,483,648 pixels wide, under a header of 20."""
    _one_jpeg2000(place, lambda data: data[:8] + (2**31).to_bytes(4, "big") + data[12:])


def _one_jpeg2000(place: Place, damage: Callable[[bytes], bytes]) -> None:
    series = Clean(place, shape=_LARGE).expect()
    paths = series.write()
    ds = series.slices[_MIDDLE]
    ds.compress(JPEG2000Lossless, encoding_plugin=ENCODERS[JPEG2000Lossless],
                generate_instance_uid=False)  # fmt: skip
    data = next(generate_frames(ds.PixelData, number_of_frames=1))
    _fragments(ds, [damage(data)])
    write_file(paths[_MIDDLE], ds, JPEG2000Lossless)


def _encoding(name: str, what: str, write: Callable[[Place], None]) -> Hazard:
    return Hazard(name, what, write, (exact(),))


def _none_taken(reason: Reason) -> tuple[End, ...]:
    """Three files, each refused for itself, and with them the series that they would be."""
    return refused(reason, 3), refused(Reason.MISSING_SLICE)


_ONE_LOST = (refused(Reason.PIXEL_DATA_DAMAGED), refused(Reason.MISSING_SLICE))

HAZARDS = (
    _encoding("implicit-little-endian", "implicit VR", native(ImplicitVRLittleEndian)),
    _encoding("big-endian", "explicit VR, big endian", native(ExplicitVRBigEndian)),
    _encoding("deflated", "deflated data sets", native(DeflatedExplicitVRLittleEndian)),
    _encoding("rle", "RLE", by_pydicom(RLELossless)),
    _encoding("jpeg-baseline", "JPEG baseline, 8 bits", by_gdcm(JPEGBaseline8Bit, 8)),
    _encoding("jpeg-extended", "JPEG extended, 12 bits", by_gdcm(JPEGExtended12Bit)),
    _encoding("jpeg-lossless", "JPEG lossless, any predictor", by_gdcm(JPEGLossless)),
    _encoding("jpeg-lossless-sv1", "JPEG lossless, first predictor", by_gdcm(JPEGLosslessSV1)),
    _encoding("jpeg-ls", "JPEG-LS", by_pydicom(JPEGLSLossless)),
    _encoding("jpeg-2000", "JPEG 2000, lossless", by_pydicom(JPEG2000Lossless)),
    _encoding("htj2k", "High-Throughput JPEG 2000", htj2k),
    _encoding("frames-in-fragments", "each frame split over three fragments", split_fragments),
    _encoding("bits-above-high-bit", "an overlay in the bits above HighBit", above_high_bit),
    _encoding("signed", "signed pixels", signed),
    _encoding("signed-12-bits", "signed numbers of 12 bits in words of 16", signed_12_bits),
    _encoding("unsigned-16-bits", "unsigned numbers above 32,767", unsigned_16_bits),
    _encoding("eight-bits", "pixels of 8 bits", eight_bits),
    _encoding("thirty-two-bits", "pixels of 32 bits", thirty_two_bits),
    Hazard("one-bit", "pixels of one bit under the class of a CT", one_bit,
           _none_taken(Reason.PIXEL_FORMAT_INVALID)),
    Hazard("rgb", "RGB pixels under the class of a CT", rgb, (refused(Reason.COLOUR_IMAGE, 3),)),
    Hazard("ybr", "YBR pixels under the class of a CT", ybr, (refused(Reason.COLOUR_IMAGE, 3),)),
    Hazard("palette", "palette colours under the class of a CT", palette,
           (refused(Reason.COLOUR_IMAGE, 3),)),
    Hazard("pixels-too-long", "one slice has more pixels than its header says", too_long,
           (refused(Reason.PIXEL_DATA_LENGTH), refused(Reason.MISSING_SLICE))),
    Hazard("private-transfer-syntax", "a transfer syntax that nobody knows", unknown_syntax,
           _none_taken(Reason.TRANSFER_SYNTAX_UNKNOWN)),
    Hazard("damaged-codestream", "half of a JPEG 2000 codestream in one slice",
           damaged_codestream, _ONE_LOST),
    Hazard("codestream-bomb", "a codestream 2,147,483,648 pixels wide under a header of 20",
           codestream_bomb, _ONE_LOST),
)  # fmt: skip
