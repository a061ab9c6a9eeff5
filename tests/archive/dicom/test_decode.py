"""Every encoding of one image decodes to that image, and damage is told, never filled."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2K as HTJ2KAny
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medssl.archive.dicom import Policy, Unreadable, read_header, read_series
from medssl.archive.dicom import decode as decode_module
from medssl.archive.dicom.decode import decode
from medssl.archive.reasons import Reason
from medssl.archive.scan import Rejection, Scan
from medssl.errors import CodecError

MakeSeries = Callable[..., Any]

IMAGE = (np.arange(120).reshape(12, 10) * 37 % 4096).astype(np.uint16)
# IMAGE as one HTJ2K codestream (reversible) and one 12 bit JPEG Extended one.
HTJ2K = bytes.fromhex(
    "ff4fff51002940000000000a0000000c00000000000000000000000a0000000c000000000000000000010f0101ff50"
    "000800020000000aff52000c00020001000504044001ff5c00132088909090909090909090909090888888ff640017"
    "00014f70656e4a50482056657220302e32362e332eff90000a00000000009f0001ff93c0002653f30507740000c000"
    "13400013400012001cfe02077400def60387740001077400c00013400013400012802697010b74001fef00223400de"
    "00877400c0001510000554000130ff7fe00107e2750080f6d9f7c03201feb600ff7f81047400c0002be00016840002"
    "70480441fe4790d00bf202f7e08b79001bc546d8e88ddee8f41c467401ecb800ff7ff601827500ffd9"
)
JPEG12 = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb00430002010101010102010101020202020204030202020205"
    "04040304060506060605060606070908060709070606080b08090a0a0a0a0a06080b0c0b0a0c090a0a0affc1000b0c"
    "000c000a01011100ffc40017000003010000000000000000000000000008090a0cffc4002f10000003050407090000"
    "000000000000000506090407080a0c0002030b0d0e162a475364262c3536454a636971ffda0008010100003f00cc83"
    "2aee85a9f2e6e9f72b82df9d3dac6c97a16a7b1c13ba7de9981c16f8eef4f63aeacf759156af629ad6b44736fa9cfe"
    "45fa6e2c8ff8ad44a903f34017ca5c34768a356397495b0f514ef8a162079455fac323a7393e4323bf53e25148c2f2"
    "45896ec00044ca2a5b2915c0db471ac49a03400118f159c35990d12f5ac22b9d763827baf4d3ff00f86607b5fd6939"
    "777edbedffd9"
)


def encoded(make_series: MakeSeries, data: bytes, syntax: str, **values: Any) -> Path:
    """One file whose only fragment is `data`."""
    series = make_series(num=1).set(
        BitsStored=12, HighBit=11, PixelRepresentation=0, Rows=12, Columns=10, **values
    )
    series.slices[0].PixelData = encapsulate([data])
    series.slices[0]["PixelData"].VR = "OB"
    series.slices[0]["PixelData"].is_undefined_length = True
    return Path(series.write(syntax)[0])


@pytest.mark.parametrize(
    ("syntax", "signed"),
    [
        (RLELossless, False),
        (RLELossless, True),
        (JPEGLSLossless, False),
        (JPEGLSLossless, True),
        (JPEG2000Lossless, False),
        (JPEG2000Lossless, True),
    ],
)
def test_lossless_encodings_decode_exactly(
    make_series: MakeSeries, syntax: str, signed: bool
) -> None:
    series = make_series(num=1)
    pixels = np.tile(series.voxels[0] if signed else IMAGE, (4, 5))  # 48 x 50
    series.set(Rows=48, Columns=50)
    ds = series.set(PixelRepresentation=int(signed), PixelData=pixels.tobytes()).slices[0]
    if not signed:
        ds.BitsStored, ds.HighBit = 12, 11
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.compress(syntax, generate_instance_uid=False)
    found = decode(read_header(series.write(syntax)[0])).frames
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels[None])


def transcode(path: Path, syntax: str) -> None:
    """Encode a file in place by GDCM, which alone writes lossless JPEG."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_jpeg_decodes_exactly(make_series: MakeSeries, syntax: str, signed: bool) -> None:
    series = make_series(num=1)
    pixels = series.voxels[0] if signed else IMAGE
    if not signed:
        series.set(PixelRepresentation=0, BitsStored=12, HighBit=11, PixelData=pixels.tobytes())
    path = series.write()[0]
    transcode(path, syntax)
    header = read_header(path)
    assert header.pixels.transfer_syntax == syntax
    found = decode(header).frames
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels[None])


def test_near_lossless_jpeg_ls_is_as_near_as_it_says(make_series: MakeSeries) -> None:
    import jpeg_ls

    data = bytes(jpeg_ls.encode_array(IMAGE, lossy_error=3))
    found = decode(read_header(encoded(make_series, data, JPEGLSNearLossless))).frames
    error = np.abs(found[0].astype(int) - IMAGE)
    assert 0 < error.max() <= 3


def test_lossy_jpeg_2000_comes_near(make_series: MakeSeries) -> None:
    from openjpeg.utils import encode_array

    noise = np.random.default_rng(2).integers(0, 40, (48, 40))
    smooth = (np.add.outer(np.arange(48) * 30, np.arange(40) * 50) + noise).astype(np.uint16)
    data = encode_array(smooth, bits_stored=12, compression_ratios=[3], codec_format=0)
    path = encoded(make_series, bytes(data), JPEG2000)
    ds = pydicom.dcmread(path)
    ds.Rows, ds.Columns = smooth.shape
    ds.save_as(path)
    found = decode(read_header(path)).frames
    error = np.abs(found[0].astype(int) - smooth)
    assert 0 < error.max() < 40


@pytest.mark.parametrize("syntax", [HTJ2KLosslessRPCL, HTJ2KAny])
def test_the_other_syntaxes_of_htj2k(make_series: MakeSeries, syntax: str) -> None:
    path = encoded(make_series, HTJ2K, syntax)
    np.testing.assert_array_equal(decode(read_header(path)).frames, IMAGE[None])


def test_htj2k_decodes_exactly(make_series: MakeSeries) -> None:
    path = encoded(make_series, HTJ2K, HTJ2KLossless)
    np.testing.assert_array_equal(decode(read_header(path)).frames, IMAGE[None])


def test_jpeg_extended_with_12_bits(make_series: MakeSeries) -> None:
    path = encoded(make_series, JPEG12, JPEGExtended12Bit)
    found = decode(read_header(path)).frames.astype(int)
    assert np.abs(found - IMAGE).max() <= 5  # the quantisation of this codestream


def test_jpeg_baseline(make_series: MakeSeries) -> None:
    smooth = np.add.outer(np.arange(12) * 4, np.arange(10) * 5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95)
    path = encoded(make_series, buffer.getvalue(), JPEGBaseline8Bit)
    ds = pydicom.dcmread(path)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.save_as(path)
    found = decode(read_header(path)).frames
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - smooth).max() <= 3


def test_frames_split_over_fragments(make_series: MakeSeries) -> None:
    path = encoded(make_series, HTJ2K, HTJ2KLossless)
    ds = pydicom.dcmread(path)
    ds.PixelData = encapsulate([HTJ2K], fragments_per_frame=3)
    ds.save_as(path)
    np.testing.assert_array_equal(decode(read_header(path)).frames, IMAGE[None])


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"),
    [
        ("1.2.840.10008.1.2", True, True),
        ("1.2.840.10008.1.2.1", False, True),
        ("1.2.840.10008.1.2.1.99", False, True),
        ("1.2.840.10008.1.2.2", False, False),
    ],
)
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_native_encodings(
    make_series: MakeSeries, syntax: str, implicit: bool, little: bool, bits: int
) -> None:
    """Odd sizes and every width; big endian as 16 bit words (PS3.5 section 8.2)."""
    series = make_series(num=1)
    pixels = np.arange(15).reshape(3, 5).astype(f"u{bits // 8}") * (1 if bits == 8 else 4000)
    ds = series.slices[0]
    ds.Rows, ds.Columns, ds.PixelRepresentation = 3, 5, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    data = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    if not little:
        words = np.frombuffer(data, dtype="<u2")
        data = words.byteswap().tobytes()
    ds.PixelData = data
    ds["PixelData"].VR = "OW"
    found = decode(read_header(series.write(syntax)[0])).frames
    np.testing.assert_array_equal(found[0], pixels)
    assert found.dtype == pixels.dtype


def test_private_transfer_syntax_is_called_unknown(make_series: MakeSeries) -> None:
    path = Path(make_series(num=1).write()[0])
    known = ExplicitVRLittleEndian.encode() + b"\0"
    path.write_bytes(path.read_bytes().replace(known, b"1.2.752.24.3.7.7".ljust(20, b"\0"), 1))
    with pytest.raises(Unreadable) as caught:
        decode(read_header(path))
    assert caught.value.reason is Reason.TRANSFER_SYNTAX_UNKNOWN


@pytest.mark.parametrize("cut", [30, 150, 260])
def test_cut_codestream_is_damage(make_series: MakeSeries, cut: int) -> None:
    path = encoded(make_series, HTJ2K[:cut], HTJ2KLossless)
    with pytest.raises(Unreadable) as caught:
        decode(read_header(path))
    assert caught.value.reason is Reason.PIXEL_DATA_DAMAGED


def test_codestream_of_another_size_is_refused_before_it_is_decoded(
    make_series: MakeSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = HTJ2K[:8] + (2**31).to_bytes(4, "big") + HTJ2K[12:]
    path = encoded(make_series, huge, HTJ2KLossless)

    decoded: list[Any] = []  # an error raised here would pass for that of a decoder
    monkeypatch.setattr(decode_module, "_decode_frame", lambda *args: decoded.append(args))
    with pytest.raises(Unreadable) as caught:
        decode(read_header(path))
    assert caught.value.reason is Reason.PIXEL_DATA_DAMAGED
    assert not decoded


def test_missing_decoder_is_an_error_that_names_the_package(
    make_series: MakeSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encoded(make_series, HTJ2K, HTJ2KLossless)
    real = decode_module.get_decoder

    class Without:
        available_plugins = ()

    monkeypatch.setattr(decode_module, "get_decoder", lambda uid: Without())
    with pytest.raises(CodecError, match="pip install pylibjpeg pylibjpeg-openjpeg"):
        decode(read_header(path))
    assert real is not decode_module.get_decoder


def test_video_is_an_unknown_transfer_syntax(make_series: MakeSeries) -> None:
    path = encoded(make_series, HTJ2K, "1.2.840.10008.1.2.4.102")
    with pytest.raises(Unreadable) as caught:
        decode(read_header(path))
    assert caught.value.reason is Reason.TRANSFER_SYNTAX_UNKNOWN


def test_zero_padding_after_the_last_voxel_is_ignored(make_series: MakeSeries) -> None:
    series = make_series()
    series.slices[2].PixelData += b"\0" * 128
    (scan,) = series.judge()
    assert not isinstance(scan, Rejection)
    np.testing.assert_array_equal(scan.stored, series.voxels)


def inflated(path: Path) -> tuple[bytes, bytes]:
    """Preamble with meta header, and the data set of a deflated file."""
    content = path.read_bytes()
    at = content.index(b"\x02\0\x12\0UI")  # ImplementationClassUID
    while content[at : at + 2] == b"\x02\0":
        at += 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    return content[:at], zlib.decompress(content[at:], wbits=-zlib.MAX_WBITS)


def deflated(make_series: MakeSeries, before: bytes = b"", after: bytes = b"") -> Path:
    """A deflated file of one slice with more bytes before its first and after its last element."""
    path = Path(make_series(num=1).write("1.2.840.10008.1.2.1.99")[0])
    meta, data = inflated(path)
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    path.write_bytes(meta + packer.compress(before + data + after) + packer.flush())
    return path


def peak_bytes(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        with contextlib.suppress(Unreadable):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_follows_the_pixels_of_a_deflated_file_is_never_inflated(
    make_series: MakeSeries,
) -> None:
    bomb = deflated(make_series, after=b"\0" * (80 << 20))
    assert bomb.stat().st_size < 500_000
    header = read_header(bomb)
    assert decode(header).frames.shape == (1, 12, 10)
    assert peak_bytes(lambda: decode(read_header(bomb))) < 4 << 20


def test_a_deflated_header_without_end_is_refused(make_series: MakeSeries) -> None:
    private = b"\x07\0\x10\x10OB\0\0" + (80 << 20).to_bytes(4, "little")
    bomb = deflated(make_series, before=private + b"\0" * (80 << 20))
    with pytest.raises(Unreadable) as caught:
        read_header(bomb)
    assert caught.value.reason is Reason.DICOM_TOO_LARGE


@pytest.mark.parametrize(
    ("sound_bytes", "reason"),
    [(100_000, Reason.PIXEL_DATA_DAMAGED), (300, Reason.DICOM_HEADER_DAMAGED)],
)
def test_damage_in_a_deflated_file_is_damage(
    make_series: MakeSeries, sound_bytes: int, reason: Reason
) -> None:
    noise = np.random.default_rng(1).integers(0, 4000, (300, 400)).astype(np.int16)
    series = make_series(num=1).set(Rows=300, Columns=400, PixelData=noise.tobytes())
    path = series.write("1.2.840.10008.1.2.1.99")[0]
    np.testing.assert_array_equal(decode(read_header(path)).frames[0], noise)
    meta, data = inflated(path)
    packer = zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
    sound = packer.compress(data[:sound_bytes]) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(meta + sound + b"\x07\xff")  # a block of no known type
    with pytest.raises(Unreadable) as caught:
        decode(read_header(path))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Rows": 65535, "Columns": 65535}, Reason.DICOM_TOO_LARGE),
        ({"NumberOfFrames": 2**31 - 1}, Reason.DICOM_TOO_LARGE),
        ({"Rows": 30000, "Columns": 30000}, Reason.PIXEL_DATA_LENGTH),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, Reason.PIXEL_FORMAT_INVALID),
        ({"BitsStored": 1, "HighBit": 0}, Reason.PIXEL_FORMAT_INVALID),
        ({"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, Reason.PIXEL_FORMAT_INVALID),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, Reason.COLOUR_IMAGE),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL"}, Reason.COLOUR_IMAGE),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOUR_IMAGE),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "XYZ"}, Reason.COLOUR_IMAGE),
        ({"PhotometricInterpretation": "CHROME2"}, Reason.PIXEL_FORMAT_INVALID),
        ({"SamplesPerPixel": 2}, Reason.PIXEL_FORMAT_INVALID),
        ({"PixelRepresentation": 65535}, Reason.PIXEL_FORMAT_INVALID),
        ({"PixelRepresentation": None}, Reason.PIXEL_FORMAT_INVALID),
    ],
)
def test_what_the_header_gives_away_is_refused_cheaply(
    make_series: MakeSeries, values: dict[str, Any], reason: Reason
) -> None:
    path = make_series(num=1).set(**values).write()[0]
    with pytest.raises(Unreadable) as caught:
        decode(read_header(path))
    assert caught.value.reason is reason
    assert peak_bytes(lambda: decode(read_header(path))) < 1 << 20


def test_the_cap_is_the_one_that_was_set(make_series: MakeSeries) -> None:
    series = make_series()
    headers = [read_header(path) for path in series.write()]
    assert decode(headers[0], max_voxels=120).frames.shape == (1, 12, 10)
    with pytest.raises(Unreadable) as caught:
        decode(headers[0], max_voxels=119)
    assert caught.value.reason is Reason.DICOM_TOO_LARGE
    (scan,) = read_series(headers, Policy(max_voxels=8 * 120))
    assert isinstance(scan, Scan)
    (refused,) = read_series(headers, Policy(max_voxels=8 * 120 - 1))
    assert isinstance(refused, Rejection)
    assert (refused.reason, refused.detail) == (Reason.TOO_LARGE, "8x12x10 voxels")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_bytes_that_got_into_the_pixels_are_seen_behind_them(
    make_series: MakeSeries, syntax: str
) -> None:
    """The length of the element is still right, but its last voxels lie behind it."""
    series = make_series(num=1)
    (path,) = series.write(syntax)
    data, pixels = path.read_bytes(), series.voxels[0].tobytes()
    at = data.index(pixels)
    path.write_bytes(data[: at + 100] + b"\1\2\3\4" + data[at + 100 :])
    with pytest.raises(Unreadable) as caught:
        decode(read_header(path))
    assert caught.value.reason is Reason.PIXEL_DATA_LENGTH
    for behind in (b"\0" * 100, b"\xfc\xff\xfc\xffOB\0\0\0\0\0\0"):
        path.write_bytes(data + behind)
        if syntax == ExplicitVRLittleEndian or not any(behind):
            np.testing.assert_array_equal(decode(read_header(path)).frames, series.voxels)
