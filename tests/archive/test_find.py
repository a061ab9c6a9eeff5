from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.archive.find import FileKind, WalkCounts, sniff, stem_of, walk
from medssl.archive.reasons import Reason

_DICOM = b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0" + b"\0" * 200


def test_walk_follows_no_link_and_sees_each_file_once(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "one").write_bytes(b"1")
    os.link(deep / "one", tmp_path / "again")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "file_link").symlink_to(deep / "one")
    os.mkfifo(tmp_path / "pipe")
    counts = WalkCounts()
    found = list(walk(tmp_path, counts))
    assert len(found) == 1
    assert (counts.links, counts.repeats, counts.special) == (2, 1, 1)


def test_walk_reaches_the_bottom_of_a_very_deep_tree(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    assert [f.path.name for f in walk(tmp_path, WalkCounts())] == ["leaf"]


def test_a_rewritten_file_has_another_stamp_though_its_times_were_set_back(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    before = os.stat(path)
    (first,) = walk(tmp_path, WalkCounts())
    path.write_bytes(b"xyz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (second,) = walk(tmp_path, WalkCounts())
    assert first.size == second.size
    assert first.stamp != second.stamp


@pytest.mark.parametrize(
    ("name", "content", "kind", "reason"),
    [
        ("x", b"", FileKind.REFUSED, Reason.EMPTY_FILE),
        ("picture.png", _DICOM, FileKind.DICOM, None),
        ("DICOMDIR", _DICOM + b"1.2.840.10008.1.3.10\0", FileKind.SIDE, None),
        ("bare", b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100" + b"\0" * 50, FileKind.DICOM, None),
        ("damaged.dcm", b"\xfe\0\x01garbage", FileKind.DICOM, None),
        ("t.csv", b"image,patient\nx,y\n", FileKind.SIDE, None),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, FileKind.SIDE, None),
        ("report", b"%PDF-1.7 \0\0\x01", FileKind.SIDE, None),
        ("._x.nii.gz", b"\0\x05\x16\x07\0\x02\0\0", FileKind.SIDE, None),
        ("x.zip", b"PK\x03\x04" + b"\0" * 50, FileKind.REFUSED, Reason.ARCHIVE_FILE),
        ("x.nrrd", b"NRRD0004\n# x", FileKind.REFUSED, Reason.FORMAT_NOT_READ),
        ("x.hdr", (348).to_bytes(4, "big") + b"\0" * 344, FileKind.REFUSED, Reason.FORMAT_NOT_READ),
        ("x.nii", b"\x5c\x01\0\0" + b"\0" * 90, FileKind.REFUSED, Reason.NIFTI_TRUNCATED),
        ("x.nii", b"\0\x01" * 400, FileKind.REFUSED, Reason.NIFTI_HEADER_INVALID),
        ("x.nii.gz", b"\x1f\x8b\x08\0junk" * 9, FileKind.REFUSED, Reason.NIFTI_CRC_WRONG),
        ("x.dcm.gz", gzip.compress(_DICOM * 9, mtime=0), FileKind.REFUSED, Reason.ARCHIVE_FILE),
        (
            "x.mgz",
            gzip.compress(b"\0\0\0\1" * 90, mtime=0),
            FileKind.REFUSED,
            Reason.FORMAT_NOT_READ,
        ),
        ("x.csv.gz", gzip.compress(b"image,patient\n", mtime=0), FileKind.SIDE, None),
        ("x.bin", b"\x93\0\xff\x01" * 90, FileKind.REFUSED, Reason.UNKNOWN_FORMAT),
        ("x.img", b"\x93\0\xff\x01" * 90, FileKind.REFUSED, Reason.NIFTI_PAIR_INCOMPLETE),
    ],
)
def test_the_content_decides(
    tmp_path: Path, name: str, content: bytes, kind: FileKind, reason: Reason | None
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert sniff(path, len(content)) == (kind, reason)


def test_nifti_is_known_in_any_order_size_and_wrapping(tmp_path: Path, write_nifti: Any) -> None:
    import nibabel as nib

    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    one = write_nifti(tmp_path / "no_extension", values)
    two = tmp_path / "two.dcm"
    two.write_bytes(gzip.compress(nib.Nifti2Image(values, np.eye(4)).to_bytes()))
    big = tmp_path / "big.txt"
    header = nib.Nifti1Header(endianness=">")
    big.write_bytes(nib.Nifti1Image(values, np.eye(4), header).to_bytes())
    for path in (one, two, big):
        assert sniff(path, path.stat().st_size) == (FileKind.NIFTI, None)


def test_stem() -> None:
    assert stem_of("a.b.nii.gz") == "a.b"
    assert stem_of("a.NII") == "a"
    assert stem_of("a") == "a"
