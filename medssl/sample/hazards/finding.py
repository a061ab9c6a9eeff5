"""Hazards of finding files: names, media, damage, links, headers that ask for too much."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medssl.archive.reasons import Reason
from medssl.sample.hazards.clean import Clean, write_clean, write_file
from medssl.sample.hazards.hazard import Hazard, exact, refused
from medssl.sample.hazards.place import Place

_MIDDLE, _LAST = 5, 9  # of ten slices
_MEDIA_DIRECTORY = UID("1.2.840.10008.1.3.10")
_MEGABYTE = 1 << 20

# --- names and media ------------------------------------------------------------------------------


def any_name(place: Place) -> None:
    """Every slice under another kind of name."""
    names = ["1", "2.dcm", "3.DCM", "4.jpg", "5.txt", "6 with blanks", "7.nii", "8.tar.gz",
             "\N{LATIN SMALL LETTER U WITH DIAERESIS}9", "10.1.2.840"]  # fmt: skip
    series = Clean(place).expect()
    for ds, name in zip(series.slices, names, strict=True):
        write_file(place.folder / name, ds)


def dicomdir(place: Place) -> None:
    """A DICOMDIR that lists a single file, which is not there."""
    write_clean(place)
    record = Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["GONE", "IM0001"]
    ds = Dataset()
    ds.FileSetID, ds.DirectoryRecordSequence = "SAMPLE", Sequence([record])
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = _MEDIA_DIRECTORY
    ds.file_meta.MediaStorageSOPInstanceUID = UID(place.uid("directory"))
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(place.folder / "DICOMDIR", ds, enforce_file_format=True)


def junk(place: Place) -> None:
    """What gathers between slices."""
    write_clean(place)
    place.put("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    place.put(".DS_Store", b"\0\0\0\x01Bud1" + bytes(256))
    place.put("report.pdf", b"%PDF-1.4\n" + bytes(range(256)))
    place.put("autorun.inf", b"[autorun]\r\nopen=viewer.exe\r\n")
    place.put("index.html", b"<html><body>Images</body></html>\n")


def unknown_format(place: Place) -> None:
    write_clean(place)
    place.put("RAWDATA.BIN", b"\x17\x03\x99\x00" + place.random("raw").bytes(2000))


def no_preamble(place: Place) -> None:
    """Files that begin with their meta header."""
    for path in write_clean(place):
        path.write_bytes(path.read_bytes()[132:])


def bare_implicit(place: Place) -> None:
    _without_meta(Clean(place).expect().write(ImplicitVRLittleEndian))


def bare_explicit(place: Place) -> None:
    _without_meta(Clean(place).expect().write(ExplicitVRLittleEndian))


def _without_meta(paths: list[Path]) -> None:
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[_end_of_meta(content) :])


def _end_of_meta(content: bytes) -> int:
    """Where group 2 ends, by its group length, the first element after the preamble."""
    return 144 + int.from_bytes(content[140:144], "little")


# --- damaged files --------------------------------------------------------------------------------


def empty_inside(place: Place) -> None:
    write_clean(place)[_MIDDLE].write_bytes(b"")


def empty_at_end(place: Place) -> None:
    write_clean(place)[_LAST].write_bytes(b"")


def cut_pixels(place: Place) -> None:
    _cut(write_clean(place)[_MIDDLE], -300)


def cut_header(place: Place) -> None:
    _cut(write_clean(place)[_MIDDLE], 500)


def cut_header_at_end(place: Place) -> None:
    _cut(write_clean(place)[_LAST], 500)


def _cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


def overwritten(place: Place) -> None:
    """A disk sector of noise where the header of a file was."""
    path = write_clean(place)[_MIDDLE]
    content = path.read_bytes()
    start = _end_of_meta(content) + 40
    path.write_bytes(content[:start] + place.random("noise").bytes(512) + content[start + 512 :])


def wrong_vr(place: Place) -> None:
    """Rows, two bytes of a number, called a decimal string."""
    path = write_clean(place)[_MIDDLE]
    path.write_bytes(path.read_bytes().replace(b"\x28\0\x10\0US", b"\x28\0\x10\0DS"))


def wrong_vr_at_end(place: Place) -> None:
    path = write_clean(place)[_LAST]
    path.write_bytes(path.read_bytes().replace(b"\x28\0\x10\0US", b"\x28\0\x10\0DS"))


def cut_before_size_at_end(place: Place) -> None:
    """The last file ends between two elements: after its position, before its size."""
    path = write_clean(place)[_LAST]
    _cut(path, path.read_bytes().index(b"\x28\0\x02\0US"))


def uid_missing(place: Place) -> None:
    series = Clean(place).expect()
    stray = Clean(place, part="stray", shape=(2, 24, 20)).set(SeriesInstanceUID=None)
    series.write()
    stray.write(folder="stray")


# --- deep trees and links -------------------------------------------------------------------------


def deep_tree(place: Place) -> None:
    Clean(place).expect().write(folder="/".join(f"level{n}" for n in range(40)))


def links(place: Place) -> None:
    """Links to a slice, to the folder itself, to the folder above, and to nothing."""
    first = write_clean(place)[0]
    for name, target in (("again", first.name), ("loop", "."), ("up", ".."), ("lost", "nowhere")):
        os.symlink(target, place.folder / name)


def hard_links(place: Place) -> None:
    """Every file under two names."""
    for path in write_clean(place):
        other = path.parent / "other"
        other.mkdir(exist_ok=True)
        os.link(path, other / path.name)


# --- headers that ask for too much ----------------------------------------------------------------


def enormous_header(place: Place) -> None:
    """One slice that claims 65,535 x 65,535 pixels in 100,000 frames."""
    series = Clean(place).expect()
    ds = series.slices[_MIDDLE]
    ds.Rows = ds.Columns = 65535
    ds.NumberOfFrames = 100_000
    series.write()


def deflate_bomb(place: Place) -> None:
    """A deflated file of three megabytes that inflates to three gigabytes, as its header says."""
    series = Clean(place).expect()
    series.slices[_MIDDLE].Rows = series.slices[_MIDDLE].Columns = 40_000
    _deflate(series)


def deflate_bomb_hidden(place: Place) -> None:
    """The same under a header of 24 x 20 pixels."""
    _deflate(Clean(place).expect())


def _deflate(series: Clean) -> None:
    """The sixth file deflated, with 3.2 GB of zeros in its pixel element."""
    paths = series.write()
    write_file(paths[_MIDDLE], series.slices[_MIDDLE], DeflatedExplicitVRLittleEndian)
    content = paths[_MIDDLE].read_bytes()
    start = _end_of_meta(content)
    data = zlib.decompress(content[start:], -15)
    pixels = data.rindex(b"\xe0\x7f\x10\x00OW\0\0") + 8
    data = data[:pixels] + (3_200_000_000).to_bytes(4, "little") + data[pixels + 4 :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(16 * _MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    paths[_MIDDLE].write_bytes(content[:start] + head + zeros * 192 + packer.flush())


def late_slice(place: Place) -> None:
    path = write_clean(place)[_MIDDLE]
    place.late.mkdir(parents=True)
    path.rename(place.late / path.name)


_GAP = refused(Reason.MISSING_SLICE)

HAZARDS = (
    Hazard("names-of-all-kinds", "file names without, with wrong and with odd extensions",
           any_name, (exact(),)),
    Hazard("dicomdir-that-lies", "a DICOMDIR that lists one file, which is not there",
           dicomdir, (exact(),), ignored=1),
    Hazard("junk-between-slices", "Thumbs.db, .DS_Store, a PDF, an autorun.inf, a web page",
           junk, (exact(),), ignored=5),
    Hazard("unknown-file", "raw data in no known format beside a series",
           unknown_format, (exact(), refused(Reason.UNKNOWN_FORMAT))),
    Hazard("no-preamble", "files that begin with the meta header, without preamble",
           no_preamble, (exact(),)),
    Hazard("bare-implicit", "data sets without preamble and meta header, implicit VR",
           bare_implicit, (exact(),)),
    Hazard("bare-explicit", "data sets without preamble and meta header, explicit VR",
           bare_explicit, (exact(),)),
    Hazard("zero-bytes-inside", "the sixth of ten files has no bytes",
           empty_inside, (refused(Reason.EMPTY_FILE), _GAP)),
    Hazard("zero-bytes-at-end", "the last of ten files has no bytes",
           empty_at_end, (refused(Reason.EMPTY_FILE), _GAP)),
    Hazard("truncated-pixels", "the sixth file ends before its last pixel",
           cut_pixels, (refused(Reason.PIXEL_DATA_LENGTH), _GAP)),
    Hazard("truncated-header", "the sixth file ends within its header",
           cut_header, (refused(Reason.DICOM_HEADER_DAMAGED), _GAP)),
    Hazard("truncated-header-at-end", "the last file ends within its header",
           cut_header_at_end, (refused(Reason.DICOM_HEADER_DAMAGED), _GAP)),
    Hazard("overwritten-header", "512 bytes of noise in the header of the sixth file",
           overwritten, (refused(Reason.DICOM_HEADER_DAMAGED), _GAP)),
    Hazard("wrong-vr", "Rows of the sixth file has the value representation of a text",
           wrong_vr, (refused(Reason.PIXEL_FORMAT_INVALID), _GAP)),
    Hazard("wrong-vr-at-end", "the same in the last file", wrong_vr_at_end,
           (refused(Reason.PIXEL_FORMAT_INVALID), _GAP)),
    Hazard("cut-before-size-at-end", "the last file ends between two elements, before its size",
           cut_before_size_at_end, (refused(Reason.PIXEL_DATA_MISSING), _GAP)),
    Hazard("uid-missing", "two files without SeriesInstanceUID beside a series",
           uid_missing, (exact(), refused(Reason.DICOM_UID_MISSING, 2))),
    Hazard("deep-tree", "a series forty folders deep", deep_tree, (exact(),)),
    Hazard("links-and-loops", "links to a slice, the folder itself, the one above, and nothing",
           links, (exact(),)),
    Hazard("hard-links", "every file under two names", hard_links, (exact(),)),
    Hazard("enormous-header", "one header asks for 65,535 x 65,535 x 100,000 pixels",
           enormous_header, (refused(Reason.DICOM_TOO_LARGE), _GAP)),
    Hazard("deflate-bomb", "a deflated file of 3 MB that inflates to 3 GB",
           deflate_bomb, (refused(Reason.DICOM_TOO_LARGE), _GAP)),
    Hazard("deflate-bomb-hidden", "the same under a header of 24 x 20 pixels",
           deflate_bomb_hidden, (refused(Reason.PIXEL_DATA_LENGTH), _GAP)),
    Hazard("late-slice", "the sixth slice comes after the first run (late/late-slice)",
           late_slice, (_GAP,), late=(exact(),)),
)  # fmt: skip
