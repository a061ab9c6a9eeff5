"""Every row of what an archive does to a loader has code that answers it; without, it fails.

Each entry of GUARDS takes one piece of code away, or puts what a careless reader does in its place,
and takes in the hazard folder again, in this process: the check must then find another end or other
voxels than the table says. With nothing taken away the same run finds none.

What no folder can bring about (a worker that dies, a kill, a lost codec, identities) is proven in
`test_guards_of_tests.py`, by breaking the code in a copy and seeing the named test fail.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import runpy
import sqlite3
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.archive.dicom.geometry import Stack, affine_of_plane, normal_of
from medssl.archive.dicom.grouping import Part, slice_places
from medssl.archive.dicom.label_reference import LabelReference
from medssl.archive.dicom.segmentation import Place
from medssl.archive.dicom.unreadable import Unreadable
from medssl.archive.find import FileKind
from medssl.archive.identity import make_key_file
from medssl.archive.labels import Mask
from medssl.archive.nifti import inflate, load_nifti
from medssl.archive.pool import _apply
from medssl.archive.reasons import Reason
from medssl.archive.whole import Lost
from medssl.sample.hazards.check import Checked, check_alone, check_hazards, read_table
from medssl.sample.hazards.write import HAZARDS, write_hazards
from medssl.store.voxels import Rescale

ROWS = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "archive_rows.py"))["ROWS"]
_MEMORY = 1 << 30


class Instead:
    """A replacement that is given the original before its arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def of(self, original: Any) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.function(original, *args, **kwargs)


@dataclass(frozen=True)
class Guard:
    """A row of the specification, folders of it, and what to put in place of the code.

    Attributes:
        patches: dotted names below `medssl.archive`, and what a careless reader has there.
        run: which row of the folder's table: 0 the plain run, 1 the one under its setting.
        breaks: whether the reader breaks down without this code, where it must say why instead.
    """

    row: str
    folders: str
    patches: dict[str, Any]
    run: int = 0
    breaks: bool = False


# --- what a careless reader does ------------------------------------------------------------------


def nothing(*_: Any) -> None:
    return None


def filled_with_zeros(stream: Any, pixels: Any, *_: Any) -> Any:
    """As many bytes as the header asks for, whatever there is."""
    size = max(1, pixels.bits_allocated // 8)
    count = pixels.frames * pixels.rows * pixels.columns * size
    data = stream.read(count).ljust(count, b"\0")
    return np.frombuffer(data, f"<u{size}").reshape(pixels.frames, pixels.rows, pixels.columns)


def zeros_where_it_fails(real: Any, stream: Any, pixels: Any) -> Any:
    try:
        return real(stream, pixels)
    except Unreadable:
        return np.zeros((pixels.frames, pixels.rows, pixels.columns), "<u2")


def following_links(base: str, folder: str, _: Any) -> Iterator[tuple[str, Any]]:
    for entry in os.scandir(os.path.join(base, folder)):
        with contextlib.suppress(OSError):
            yield (f"{folder}/{entry.name}" if folder else entry.name), os.stat(entry.path)


def below_whatever_the_name(name: str, **_: bool) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def all_of_a_tar(stream: Any, members: str, _: Any) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as file:
        file.extractall(members, filter="fully_trusted")


def by_name(path: Path, _: int) -> tuple[FileKind, None]:
    return (FileKind.DICOM if path.suffix == ".dcm" else FileKind.SIDE), None


def in_given_order(positions: Any, orientation: Any, spacing: Any) -> Stack:
    """The first slice's place, and equal steps along the normal from there."""
    step = float(np.median(np.abs(np.diff(positions @ normal_of(orientation))))) if (
        len(positions) > 1) else 3.0  # fmt: skip
    affine = affine_of_plane(positions[0], step * normal_of(orientation), orientation, spacing)
    return Stack(list(range(len(positions))), affine)


def by_instance_number(real: Any, headers: Any) -> Any:
    return [sorted(group, key=lambda h: h.instance_number or 0) for group in real(headers)]


def without_shear(real: Any, first: Any, step: Any, orientation: Any, spacing: Any) -> Any:
    normal = normal_of(orientation)
    return real(first, normal * (step @ normal), orientation, spacing)


def always_axial(real: Any, first: Any, step: Any, _: Any, spacing: Any) -> Any:
    return real(first, step, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing)


def of_first_slice(slices: Any) -> Any:
    frame = slices[0].frame
    slope = frame.slope if frame.slope and np.isfinite(frame.slope) else 1.0
    return Rescale(slope, frame.intercept or 0.0), "HU"


def time_points_with_holes(part: Part) -> list[Part]:
    """The n-th slice of each place, where there is one."""
    seen: dict[int, int] = {}
    points: dict[int, list[Any]] = {}
    for one, place in zip(part.slices, slice_places(part), strict=True):
        seen[place] = seen.get(place, -1) + 1
        points.setdefault(seen[place], []).append(one)
    return [replace(part, slices=tuple(s), name=f"time={t}") for t, s in points.items()]


def unpacked_loosely(data: bytes, wanted: int) -> tuple[bytes, bool]:
    """Without checksum or length, filled with zeros."""
    if data[:2] == b"\x1f\x8b":
        data = zlib.decompressobj(-15).decompress(data[10:], wanted)
    return data.ljust(wanted, b"\0"), False


def frames_with(**changes: Any) -> Instead:
    return Instead(lambda real, *args: tuple(replace(f, **changes) for f in real(*args)))


def headers_with(**changes: Any) -> Instead:
    return Instead(lambda real, headers: real([replace(h, **changes) for h in headers]))


def in_order_of_frames(index: int) -> Place:
    return Place(np.array([index, 0, 0]), np.array([[0, 1, 0], [0, 0, 1]]))


def any_fraction(segment: Any, index: int) -> tuple[Any, bool]:
    return segment.source.get_stored_frame(index, as_index=True) > 0, False


def without_holes(real: Any, polygons: Any, shape: Any) -> Any:
    return np.any([real([polygon], shape) for polygon in polygons], axis=0)


def rounded_down(path: Path, max_voxels: int) -> Mask:
    file = load_nifti(path, max_voxels)
    return Mask(file.raw[..., 0].astype(np.uint8), file.affine)


class Everything:
    def __contains__(self, _: object) -> bool:
        return True


class AllCt(dict[str, str]):
    def get(self, *_: Any) -> Any:
        return "CT"


# --- the rows -------------------------------------------------------------------------------------

_NO_FORMAT = {"dicom.series.check_format": nothing, "dicom.decode.check_format": nothing}
_ANY_PIXELS = {**_NO_FORMAT, "dicom.decode._native": filled_with_zeros}
_NO_STEPS = {"dicom.geometry._check_steps": nothing}
_NO_SPLIT = {"dicom.series.split": lambda slices: [Part(tuple(slices))]}
_BY_NUMBER = {
    "dicom.group_by_series": Instead(by_instance_number),
    "dicom.respace.stack": in_given_order,
}
_NOT_LOST = {"dicom.series._Series._completed": lambda _, images: images}

FINDING = (
    Guard("names", "names-of-all-kinds", {"look.sniff": by_name}),
    Guard("names", "dicomdir-that-lies",
          {"find._MEDIA_DIRECTORY": b"no", "dicom.header._MEDIA_DIRECTORY": "no"}),
    Guard("names", "junk-between-slices", {"find._DOCUMENTS": (), "find._is_text": nothing}),
    Guard("names", "unknown-file other-formats",
          {"find._sniff_other": lambda *_: (FileKind.SIDE, None)}),
    Guard("bare", "no-preamble bare-implicit bare-explicit",
          {"dicom.header._may_be_bare": lambda _: False}),
    Guard("bare", "bare-implicit",
          {"dicom.header._transfer_syntax": lambda _: "1.2.840.10008.1.2.1"}),
    Guard("damage", "zero-bytes-at-end truncated-header-at-end",
          {"worker.still_lost": lambda *_: Lost()}),
    Guard("damage", "zero-bytes-inside truncated-header overwritten-header", _NO_STEPS),
    Guard("damage", "wrong-vr wrong-vr-at-end", _NOT_LOST),
    Guard("damage", "cut-before-size-at-end",
          {**_NOT_LOST, "dicom.series._check_count": nothing}),
    Guard("damage", "truncated-pixels pixels-too-long",
          {"dicom.decode._native": filled_with_zeros}),
    Guard("damage", "damaged-codestream",
          {"dicom.decode._compressed": Instead(zeros_where_it_fails)}),
    Guard("damage", "uid-missing", {"dicom.header._check_identified": nothing}),
    Guard("trees", "links-and-loops", {"find._entries": following_links}),
    Guard("trees", "hard-links", {"find._Identities.first_time": lambda *_: True}),
    Guard("trees", "deep-tree", {"find._entries": Instead(
        lambda real, base, folder, counts: () if folder.count("/") > 20
        else real(base, folder, counts))}),
    Guard("packed", "zip zip-that-leads-out zip-bomb zip-damaged", {"find._PACKED": ()}),
    Guard("packed", "tar-gz gzip", {"find._sniff_gzip": lambda *_: (FileKind.SIDE, None)}),
    Guard("packed", "tar-with-link", {"find._sniff_other": lambda *_: (FileKind.SIDE, None)}),
    Guard("packed", "zip tar-gz gzip", {"ingest._scratch": nothing}, run=1),
    Guard("packed", "zip-that-leads-out", {"unpack._parts": below_whatever_the_name}, run=1),
    Guard("packed", "tar-with-link", {"unpack._open_tar": all_of_a_tar}, run=1),
    Guard("packed", "zip-bomb", {"unpack.MAX_RATIO": np.inf}, run=1),
    Guard("packed", "zip-damaged", {"unpack._BROKEN": ()}, run=1, breaks=True),
    Guard("bombs", "enormous-header deflate-bomb", _NO_FORMAT),
    Guard("bombs", "deflate-bomb-hidden", {"dicom.decode._native": filled_with_zeros}),
    Guard("bombs", "codestream-bomb", {"dicom.decode._compressed": Instead(zeros_where_it_fails)}),
)  # fmt: skip

DECODING = (
    Guard("encodings", "implicit-little-endian big-endian",
          {"dicom.header._transfer_syntax": lambda _: "1.2.840.10008.1.2.1"}),
    Guard("encodings", "deflated", {"dicom.header.inflated_if_deflated": lambda file: file}),
    Guard("encodings", "rle jpeg-baseline jpeg-extended jpeg-lossless jpeg-lossless-sv1 jpeg-ls "
          "jpeg-2000 htj2k", {"dicom.decode._PACKAGES": ()}),
    Guard("encodings", "private-transfer-syntax", {"dicom.decode._NATIVE": Everything()}),
    Guard("encodings", "frames-in-fragments", {"dicom.decode.generate_frames": Instead(
        lambda real, stream, number_of_frames: real(stream, number_of_frames=3))}),
    Guard("bits", "bits-above-high-bit signed-12-bits",
          {"dicom.decode._significant_bits": lambda stored, pixels: stored.view(pixels.dtype)}),
    Guard("bits", "signed", {"dicom.header.PixelFormat.dtype":
          property(lambda pixels: np.dtype(f"u{pixels.bits_allocated // 8}"))}),
    Guard("bits", "unsigned-16-bits", {"dicom.header.PixelFormat.dtype":
          property(lambda pixels: np.dtype(f"i{pixels.bits_allocated // 8}"))}),
    Guard("bits", "eight-bits", {"dicom.decode._native": lambda stream, pixels, *_: np.frombuffer(
        stream.read(pixels.num_bytes // 2 * 2), "<u2").astype(np.uint8).repeat(2).reshape(
            pixels.frames, pixels.rows, pixels.columns)}),
    Guard("bits", "thirty-two-bits", {"dicom.decode._significant_bits":
          lambda stored, _: stored.astype(np.uint16)}),
    Guard("colour", "rgb ybr palette one-bit", _ANY_PIXELS),
)  # fmt: skip

INTENSITY = (
    Guard("rescale", "one-slice-other-rescale enhanced-pet-rescale-by-frame pet-suv",
          {"dicom.intensity._one_or_each": lambda values: values[0]}),
    Guard("rescale", "one-slice-without-rescale rescale-slope-zero rescale-slope-nan "
          "modality-lookup-table", {"dicom.series.rescale_of": of_first_slice}),
    Guard("rescale", "enhanced-ct-shared-rescale",
          {"dicom.header.enhanced_frames": frames_with(slope=None, intercept=None)}),
    Guard("monochrome1", "monochrome1", {"dicom.series.notes_of": lambda *_: ()}),
    Guard("monochrome1", "monochrome1", {"dicom.decode._significant_bits": Instead(
        lambda real, stored, pixels: 4095 - real(stored, pixels))}),
    Guard("shown", "presentation-lut real-world-map", {"dicom.header.ignored_of": lambda _: ()}),
    Guard("philips", "philips-private-scale", {"dicom.frames.private_slope_of": nothing}),
    Guard("pet", "pet-suv pet-in-grams pet-in-counts",
          {"dicom.intensity.pet_units": lambda _: ("BQML", 1.0)}),
    Guard("pet", "pet-without-weight pet-without-dose", {"dicom.pet._suv_factor": lambda _: 1e-4}),
    Guard("pet", "pet-without-attenuation pet-decayed-to-injection",
          {"dicom.pet._decay_corrected": lambda _: True}),
    Guard("padding", "padding-value padding-range", {"dicom.series.padding_of_volume": nothing}),
    Guard("values", "ct-out-of-range constant-volume", {"worker.judge_values": lambda scan: scan}),
)  # fmt: skip

SERIES = (
    Guard("parts", "two-echoes b-values mixed-orientations one-slice-rotated", _NO_SPLIT),
    Guard("parts", "magnitude-and-phase", {**_NO_SPLIT, "dicom.grouping._TELL_APART": ()}),
    Guard("parts", "b-directions time-points", {"dicom.grouping._TELL_APART": ()}),
    Guard("parts", "heart-phases",
          {"dicom.grouping._TELL_APART": (), "dicom.grouping._trigger": nothing}),
    Guard("parts", "mixed-sizes one-slice-other-size",
          {"dicom.grouping._size": lambda _: (0, 0), "dicom.series._Series._frame": Instead(
              lambda real, series, one: real(series, one)[:16, :14])}),
    Guard("parts", "series-uid-reused",
          {"look.Archive.unit_of_series": lambda self, _, series: self.key.hmac(series),
           "dicom.group_by_series": lambda headers: [headers]}),
    Guard("order", "instance-number-shuffled instance-number-constant instance-number-absent "
          "reversed-order", _BY_NUMBER),
    Guard("order", "epi-by-instance-number", {"dicom.grouping._instance_number": nothing}),
    Guard("order", "epi-incomplete", {"dicom.series.split_by_time": time_points_with_holes,
                                      **_NO_STEPS}),
    Guard("order", "position-absent", {"dicom.frames._exactly": Instead(
        lambda real, count, values: real(count, values) or (0.0,) * count)}),
    Guard("twice", "same-file-twice same-pixels-again", {
        "dicom.series._Series._instances_once": lambda _, headers: (headers, set(), set()),
        "dicom.series._Series._equal_pixels_once": lambda _, part: part}),
    Guard("differs", "same-position-other-pixels",
          {"dicom.series._Series._same_values": lambda *_: True}),
    Guard("differs", "same-instance-other-pixels",
          {"dicom.series._Series._alike": lambda *_: True}),
    Guard("gap", "missing-slice missing-slices enhanced-mr-missing-frame", _NO_STEPS),
    Guard("gap", "pet-last-slice-missing", {"dicom.series._check_count": nothing}),
    Guard("late", "late-slice", {"plan.Planner._sign": lambda *_, **__: "as before"}, run=1),
    Guard("uneven", "irregular-spacing", _NO_STEPS),
    Guard("uneven", "irregular-spacing", {"dicom.series.interpolate":
          lambda stored, rescale, new, padding: (rescale.apply(stored[new.below]), padding)},
          run=1),
    Guard("tilt", "gantry-tilt sheared-stack",
          {"dicom.geometry.affine_of_plane": Instead(without_shear)}),
    Guard("spacing", "wrong-slice-thickness", {"dicom.geometry.affine_of_plane": Instead(
        lambda real, first, step, *rest: real(first, 9.0 * step / np.linalg.norm(step), *rest))}),
    Guard("spacing", "pixel-spacing-empty pixel-spacing-absent", {"dicom.frames._exactly": Instead(
        lambda real, count, values: real(count, values) or (1.0,) * count)}),
    Guard("spacing", "single-slice", {"dicom.respace.stack": in_given_order}),
    Guard("objects", "localizer-inside projection reformat screen-save",
          {"dicom.frames.marker_of": nothing}),
    Guard("objects", "derived", {"dicom.frames.marker_of":
          lambda image_type, *_: Reason.REFORMAT if "DERIVED" in image_type else None}),
    Guard("objects", "secondary-capture reports-beside-images",
          {"dicom.kinds.IMAGE_CLASSES": AllCt()}),
    Guard("enhanced", "enhanced-mr-two-stacks",
          {"dicom.header.enhanced_frames": frames_with(stack="")}),
    Guard("enhanced", "enhanced-mr-time-points",
          {"dicom.header.enhanced_frames": frames_with(temporal=None)}),
    Guard("enhanced", "enhanced-ct-shared-rescale enhanced-pet-rescale-by-frame",
          {"dicom.header.ENHANCED_CLASSES": frozenset()}),
    Guard("mosaic", "siemens-mosaic", {"dicom.header.mosaic_of": nothing}),
    Guard("mosaic", "siemens-mosaic-bare", {"dicom.header.is_mosaic": lambda _: False}),
    Guard("world", "two-frames-of-reference", _NO_SPLIT),
    Guard("world", "clean-series", {"dicom.geometry._LPS_TO_RAS": np.eye(3)}),
    Guard("world", "decubitus feet-first-prone oblique",
          {"dicom.geometry.affine_of_plane": Instead(always_axial)}),
    Guard("world", "cosines-not-perpendicular", {"dicom.series.check_orientation": nothing}),
)  # fmt: skip

NIFTI = (
    Guard("forms", "nifti-clean", {"nifti._affine_of": Instead(
        lambda real, *args: (np.diag(np.diag(real(*args)[0])), True, []))}),
    Guard("forms", "qform-and-sform-disagree qform-and-sform-conflict",
          {"nifti._compare_forms": lambda *_, **__: []}),
    Guard("forms", "qform-alone", {"nifti._qform_of": lambda header: header.get_base_affine()}),
    Guard("forms", "no-affine",
          {"nifti._affine_of": Instead(lambda real, *args: (real(*args)[0], True, []))}),
    Guard("forms", "affine-in-metres", {"nifti._MM_PER_UNIT": {}}),
    Guard("forms", "affine-not-in-metres", {"nifti._PLAUSIBLE_MM": (0.0, np.inf)}),
    Guard("affine", "affine-singular affine-not-finite sform-zero",
          {"nifti._check_affine": nothing}, breaks=True),
    Guard("affine", "affine-singular affine-not-finite sform-zero",
          {"nifti._affine_of": lambda header, _: (header.get_base_affine(), True, [])}),
    Guard("file", "nii-truncated nii-gz-truncated nii-gz-wrong-crc",
          {"nifti._content": unpacked_loosely}),
    Guard("file", "nii-trailing-bytes",
          {"nifti._content": Instead(lambda real, *args: (real(*args)[0], False))}),
    Guard("file", "vox-offset-huge", {"nifti._parse_header": Instead(
        lambda real, head: (real(head)[0], 352, True))}),
    Guard("file", "dims-huge", {"nifti._check_size": nothing}),
    Guard("file", "gzip-bomb",
          {"nifti._content": lambda data, wanted: (inflate(data, wanted)[0], False)}),
    Guard("file", "hdr-without-img", {"nifti.pair_image": lambda path: path}),
    Guard("file", "nifti-two-files", {"nifti.pair_image": nothing}),
    Guard("file", "nifti-big-endian", {"find._NIFTI_MAGIC": {
        348: (344, (b"n+1\0",)), 540: (4, (b"n+2\0",))}, "nifti._parse_header": Instead(
        lambda real, head: (real(head)[0].as_byteswapped("<"), *real(head)[1:]))}),
    Guard("numbers", "scl-slope-zero scl-slope-nan", {"nifti._scale_of":
          lambda header: (float(header["scl_slope"]), float(header["scl_inter"]), [])}),
    Guard("numbers", "scaled-beyond-16-bits", {"nifti.compact": lambda raw, slope, intercept:
          ((raw * np.int16(slope) + np.int16(intercept)).astype(np.int16), Rescale(), 0)}),
    Guard("numbers", "nan-and-inf all-nan", {"nifti.compact": lambda raw, slope, intercept:
          (raw.astype(np.float32), Rescale(slope, intercept), 0)}),
    Guard("numbers", "rgb-nifti complex-nifti",
          {"nifti._READ_TYPES": Everything(), "nifti.compact": lambda raw, *_: (
              (raw["R"] if raw.dtype.names else raw.real).astype(np.float32), Rescale(), 0)}),
    Guard("numbers", "five-dimensions four-dimensions",
          {"nifti._shape_of": lambda header: (*map(int, header["dim"][1:4]), 1)}),
    Guard("sets", "bids decathlon nnunet masks-beside-images partners-missing two-masks",
          {"pairing.parse_name": Instead(lambda real, name: replace(real(name), is_label=False))}),
    Guard("sets", "mask-among-images", {"worker.looks_like_labels": lambda _: False}),
)  # fmt: skip

LABELS = (
    Guard("segments", "segmentation",
          {"dicom.segmentation._place": lambda frame, *_: in_order_of_frames(frame.index)}, run=1),
    Guard("segments", "segmentation-fractional",
          {"dicom.segmentation.Segment._pixels": any_fraction}, run=1),
    Guard("segments", "segmentation-alone", {"label_objects._drawn": lambda *_: []}),
    Guard("contours", "structure-set",
          {"dicom.structure_set.enclosed": Instead(without_holes)}, run=1),
    Guard("contours", "structure-set-open", {"dicom.structure_set._CLOSED": Everything()}, run=1),
    Guard("contours", "structure-set-other-frame",
          {"label_objects._same_frame": lambda *_: True}, run=1),
    Guard("contours", "structure-set-off-slice",
          {"dicom.structure_set._HALF_SLICE": np.inf}, run=1),
    Guard("contours", "structure-set-two-series", {"dicom.header.label_reference": Instead(
        lambda real, path: LabelReference(real(path).series[:1]))}),
    Guard("names of structures", "segmentation segmentation-fractional structure-set "
          "structure-set-overlap structure-set-open structure-set-other-frame "
          "structure-set-off-slice", {"worker.label_volumes": Instead(
              lambda real, labels, targets, known, _: real(labels, targets, known, {"*": 1}))}),
    Guard("names of structures", "structure-set-overlap", {"label_objects._painted": Instead(
        lambda real, *args: replace(real(*args), corrections=()))}, run=1),
    Guard("masks", "mask-on-other-grid mask-elsewhere",
          {"worker.fit_mask": lambda mask, *_: (mask, ())}),
    Guard("masks", "mask-of-fractions", {"worker.read_mask": rounded_down}),
)  # fmt: skip

IDENTITY = (
    Guard("burnt in", "burnt-in-yes", {"dicom.group_by_series": headers_with(burned_in=False)}),
    Guard("burnt in", "burnt-in-no", {"dicom.group_by_series": headers_with(burned_in=True)}),
    Guard("burnt in", "screen-save", {"dicom.frames.marker_of": nothing}),
    Guard("burnt in", "secondary-capture", {"dicom.kinds.IMAGE_CLASSES": AllCt()}),
    Guard("burnt in", "rgb", _ANY_PIXELS),
)  # fmt: skip

GUARDS = (*FINDING, *DECODING, *INTENSITY, *SERIES, *NIFTI, *LABELS, *IDENTITY)
CASES = [(guard, folder) for guard in GUARDS for folder in guard.folders.split()]

# --- the proof ------------------------------------------------------------------------------------


class SerialPool:
    """`pool.Pool` in this process: the same answers, but a crash would be the test's own."""

    def __init__(self, function: Callable[[Any], Any], *_: object) -> None:
        self.function = function

    def __enter__(self) -> SerialPool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, batches: Iterator[Sequence[Any]]) -> Iterator[tuple[Any, Any]]:
        for item in (item for batch in batches for item in batch):
            with warnings.catch_warnings(), limited_memory():
                warnings.simplefilter("ignore")
                answer = _apply(self.function, item)
            yield item, answer


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def hazards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hazards") / "out"
    write_hazards(out)
    return out


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of `ingest` without processes, without the page, and without waiting for the disk."""
    monkeypatch.setattr("medssl.archive.ingest.Pool", SerialPool)
    for place in ("medssl.report.quality", "medssl.archive.ingest"):
        monkeypatch.setattr(f"{place}.write_quality", nothing, raising=False)
    monkeypatch.setattr("sqlite3.connect", Instead(without_waiting).of(sqlite3.connect))
    monkeypatch.setattr("os.fsync", nothing)


def without_waiting(connect: Any, *args: Any, **kwargs: Any) -> sqlite3.Connection:
    db: sqlite3.Connection = connect(*args, **kwargs)
    db.execute("PRAGMA synchronous = OFF")
    return db


@pytest.fixture
def check(hazards: Path, tmp_path: Path, in_this_process: None) -> Callable[[str, int], Checked]:
    """One row of the table by a run over its folder, in this process."""
    make_key_file(tmp_path / "key")
    table: dict[str, list[dict[str, str]]] = {}
    for row in read_table(hazards):
        table.setdefault(row["folder"], []).append(row)

    def run(folder: str, which: int) -> Checked:
        with tempfile.TemporaryDirectory(dir=tmp_path) as work:  # a bomb may have been opened
            return check_alone(hazards, table[folder][which], Path(work), tmp_path / "key")

    return run


def put(patch: pytest.MonkeyPatch, dotted: str, value: Any) -> None:
    """Set an attribute of a module, or of a class in one, below `medssl.archive`."""
    place, name = f"medssl.archive.{dotted}".rsplit(".", 1)
    owner: Any
    try:
        owner = importlib.import_module(place)
    except ModuleNotFoundError:
        module, cls = place.rsplit(".", 1)
        owner = getattr(importlib.import_module(module), cls)
    value = value.of(getattr(owner, name)) if isinstance(value, Instead) else value
    patch.setattr(owner, name, value)


@pytest.mark.parametrize(
    ("guard", "folder"), CASES, ids=[f"{g.row}-{f}-{next(iter(g.patches))}" for g, f in CASES]
)
def test_without_its_guard_the_hazard_is_not_met(
    guard: Guard,
    folder: str,
    check: Callable[[str, int], Checked],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for dotted, value in guard.patches.items():
        put(monkeypatch, dotted, value)
    found = check(folder, guard.run)
    assert not found.ok
    assert ("INTERNAL_ERROR" in found.found) == guard.breaks, "the reader breaks down"


def test_with_all_guards_every_hazard_is_met(
    hazards: Path, tmp_path: Path, in_this_process: None
) -> None:
    for found in check_hazards(hazards, tmp_path):
        assert (found.folder, found.found, found.wrong) == (found.folder, found.expected, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "run"), sorted({(folder, guard.run) for guard, folder in CASES})
)
def test_with_all_guards_each_is_met_alone(
    folder: str, run: int, check: Callable[[str, int], Checked]
) -> None:
    found = check(folder, run)
    assert (found.found, found.wrong) == (found.expected, "")


def test_every_row_and_every_folder_has_a_guard() -> None:
    """The list and docs/archive_rows.py, of which a page is made, are in step."""
    in_rows = {(row.name, folder) for row in ROWS for folder in row.folders.split()}
    assert {(guard.row, folder) for guard, folder in CASES} == in_rows
    written = {hazard.name for hazards in HAZARDS.values() for hazard in hazards}
    assert {folder for _, folder in in_rows} == written
    assert all(row.folders or row.tests for row in ROWS)
    assert len({row.name for row in ROWS}) == len(ROWS)
