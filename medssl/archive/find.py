"""Finding files, and telling by their content what they are.

Links are never followed, a file with several names is seen once, and a name or an extension is
never believed: only where the content says nothing does the name choose the better reason code.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from medssl.archive.reasons import Reason

_HEAD_BYTES = 1024
_GZIP = b"\x1f\x8b"
_NIFTI_MAGIC = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0", b"ni2\0"))}
_PACKED = (
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
)
_OTHER_SCANS = (b"NRRD", b"ObjectType", b"NDims", b"\x89HDF", b"CDF\x01", b"MINC")
_DOCUMENTS = (
    b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\xd0\xcf\x11\xe0", b"SQLite format 3",
    b"\0\x05\x16\x07", b"\0\0\0\x01Bud1", b"II*\0", b"MM\0*", b"PAR1", b"\x93NUMPY", b"{\\rtf",
)  # fmt: skip
_MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10\0"


class FileKind(StrEnum):
    """What a file is by its content."""

    DICOM = "dicom"
    NIFTI = "nifti"
    PAIR_DATA = "pair data"  # the .img of a NIfTI .hdr
    SIDE = "side"  # a table, text, document or directory record; no scan was expected
    REFUSED = "refused"


class Found(NamedTuple):
    """A file, `relative` to the folder `root`; `stamp` changes when its bytes do.

    Negative size: the file, or the folder, cannot be read. A `member` of the file `packed` has the
    name that it would have if it were unpacked beside that, and lies in the folder `unpacked`.
    """

    root: str
    relative: str
    size: int
    stamp: str
    packed: str = ""
    member: str = ""
    unpacked: str = ""

    @property
    def path(self) -> Path:
        """Where it can be read."""
        return Path(self.unpacked, self.member) if self.packed else Path(self.root, self.relative)

    @property
    def place(self) -> str:
        """Where it lies in the archive, which no other file shares: `a/b.zip!/c` for a member."""
        return f"{self.packed}!/{self.member}" if self.packed else self.relative

    @property
    def source(self) -> str:
        """The whole path, for the linkage file alone."""
        return str(Path(self.root, self.place))

    @property
    def beside(self) -> str:
        """Its name among the files it lies with."""
        return beside(self.relative, self.packed, self.member)


@dataclass
class WalkCounts:
    """What the walk passed over, by number."""

    links: int = 0
    repeats: int = 0
    special: int = 0


def walk(root: Path, counts: WalkCounts) -> Iterator[Found]:
    """Every regular file below `root`, with flat memory: in the order of the disk."""
    base = os.fspath(root)
    folders = {_identity(os.stat(root))}
    linked = _Identities()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        inner = []
        for relative, about in _entries(base, folder, counts):
            if about is None:
                yield Found(base, relative, -1, "")
            elif stat.S_ISDIR(about.st_mode):
                if (identity := _identity(about)) in folders:
                    counts.repeats += 1
                else:
                    folders.add(identity)
                    inner.append(relative)
            elif not stat.S_ISREG(about.st_mode):
                counts.special += 1
            elif about.st_nlink > 1 and not linked.first_time(_identity(about)):
                counts.repeats += 1
            else:
                yield Found(base, relative, about.st_size, stamp_of(about))
        waiting.extend(sorted(inner, reverse=True))


def _entries(
    base: str, folder: str, counts: WalkCounts
) -> Iterator[tuple[str, os.stat_result | None]]:
    """What lies in a folder, but for links, which are counted; None for what cannot be read."""
    try:
        with os.scandir(os.path.join(base, folder)) as listing:
            for entry in listing:
                relative = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    counts.links += 1
                    continue
                try:
                    about = entry.stat(follow_symlinks=False)
                except OSError:
                    about = None
                yield relative, about
    except OSError:
        yield folder, None


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


class _Identities:
    """Files with several names that were seen, on disk: an archive may have millions."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE seen (dev INTEGER, ino INTEGER, PRIMARY KEY (dev, ino))")

    def first_time(self, identity: tuple[int, int]) -> bool:
        inserted = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", identity)
        return inserted.rowcount == 1


def beside(relative: str, packed: str, member: str) -> str:
    """The name of a file, or of a member, among the files it lies with.

    Those are the other members; but a file that was packed by itself lies with its like.
    """
    alone = os.path.basename(packed).startswith(f"{member}.")
    return f"{packed}!/{member}" if packed and not alone else relative


def stamp_of(about: os.stat_result) -> str:
    """Size and times of change: a file put back with its old mtime still differs."""
    return f"{about.st_size}.{about.st_mtime_ns}.{about.st_ctime_ns}"


def sniff(path: Path, size: int) -> tuple[FileKind, Reason | None]:
    """What a file is, by its first bytes; with a reason where it is refused at once.

    A negative size is that of a file, or a folder, that could not be read.
    """
    if size == 0:
        return FileKind.REFUSED, Reason.EMPTY_FILE
    if size < 0:
        return FileKind.REFUSED, Reason.UNREADABLE_FILE
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = os.read(handle, _HEAD_BYTES)
        finally:
            os.close(handle)
    except OSError:
        return FileKind.REFUSED, Reason.UNREADABLE_FILE
    if head[128:132] == b"DICM":
        is_directory = _MEDIA_DIRECTORY in head
        return (FileKind.SIDE if is_directory else FileKind.DICOM), None
    if head[:2] == _GZIP:
        return _sniff_gzip(path, head)
    if is_nifti_header(head):
        return FileKind.NIFTI, None
    if head[:2] in (b"\x08\0", b"\0\x08", b"\x02\0"):
        return FileKind.DICOM, None  # a bare data set, for the DICOM reader to judge
    return _sniff_other(path, head)


def is_nifti_header(head: bytes) -> bool:
    """NIfTI-1 (348) or NIfTI-2 (540) in either byte order, by its size field and magic."""
    for order in ("little", "big"):
        at, magics = _NIFTI_MAGIC.get(int.from_bytes(head[:4], order), (0, ()))
        if magics and head[at : at + 4] in magics:
            return True
    return False


def stem_of(name: str) -> str:
    """A file name without .nii, .nii.gz, .hdr, .img and the like."""
    for ending in (".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name.rsplit(".", 1)[0] if "." in name[1:] else name


def _sniff_gzip(path: Path, head: bytes) -> tuple[FileKind, Reason | None]:
    named_nifti = path.name.lower().endswith((".nii.gz", ".nii"))
    try:
        inner = zlib.decompressobj(wbits=31).decompress(head, 544)
    except zlib.error:
        return FileKind.REFUSED, Reason.NIFTI_CRC_WRONG if named_nifti else Reason.UNKNOWN_FORMAT
    if is_nifti_header(inner):
        return FileKind.NIFTI, None
    if named_nifti:
        short = len(inner) < 348
        return FileKind.REFUSED, Reason.NIFTI_TRUNCATED if short else Reason.NIFTI_HEADER_INVALID
    if _is_pair_data(path):
        return FileKind.PAIR_DATA, None
    if _is_text(inner):
        return FileKind.SIDE, None
    is_scan = path.name.lower().endswith(".mgz")
    return FileKind.REFUSED, Reason.FORMAT_NOT_READ if is_scan else Reason.ARCHIVE_FILE


def _sniff_other(path: Path, head: bytes) -> tuple[FileKind, Reason | None]:
    name = path.name.lower()
    if name.endswith(".nii"):
        short = len(head) < 348
        return FileKind.REFUSED, Reason.NIFTI_TRUNCATED if short else Reason.NIFTI_HEADER_INVALID
    if _is_pair_data(path):
        return FileKind.PAIR_DATA, None
    if head.startswith(_PACKED) or head[257:262] == b"ustar":
        return FileKind.REFUSED, Reason.ARCHIVE_FILE
    is_analyze = 348 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    if head.startswith(_OTHER_SCANS) or is_analyze or name.endswith((".mgh", ".mgz")):
        return FileKind.REFUSED, Reason.FORMAT_NOT_READ
    if head.startswith(_DOCUMENTS) or _is_text(head):
        return FileKind.SIDE, None
    if name.endswith((".dcm", ".ima")):
        return FileKind.DICOM, None  # damaged at its start: the DICOM reader says how
    if name.endswith((".img", ".img.gz")):
        return FileKind.REFUSED, Reason.NIFTI_PAIR_INCOMPLETE
    return FileKind.REFUSED, Reason.UNKNOWN_FORMAT


def _is_pair_data(path: Path) -> bool:
    stem = stem_of(path.name)
    is_image = path.name[len(stem) :].lower() in (".img", ".img.gz")
    return is_image and any((path.parent / f"{stem}{end}").is_file() for end in (".hdr", ".hdr.gz"))


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return head.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return control <= len(head) // 100
