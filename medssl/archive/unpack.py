"""One packed file, unpacked into a folder: all of it, or nothing and why.

Zip, tar (plain or packed by gzip, bzip2 or xz), and single files packed by one of these. What a
packed file declares of itself is never trusted: bytes are counted as they are inflated, names are
taken apart, and every checksum is read to its end.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from medssl.archive.find import Found, stamp_of
from medssl.archive.reasons import Reason

MAX_MEMBERS = 200_000  # the largest export of one patient has some ten thousand files
MAX_BYTES = 2**38  # 256 GiB: more is a whole archive, which is better unpacked by hand
MAX_RATIO = 200  # scans pack 2:1 to 4:1, an empty label map some 1000:1, a bomb more than that
FREE_OF_RATIO = 100 * 2**20  # up to here nothing is harmed, whatever the ratio
MEMBERS = "members"  # the folder that members go to, beside the marker
_MARKER = "stamp"
_PIECE = 1 << 20
_BLOCK = 512
_ENDINGS = (".gz", ".bz2", ".xz")
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_NO_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ)
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError,
    RuntimeError, struct.error, OverflowError, KeyError, IndexError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed file, and the folder that is to hold its members."""

    found: Found
    folder: str


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came of it: `reason` is empty where the members lie in the folder."""

    reason: str = ""
    detail: str = ""


class _Refused(Exception):
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


def unpack(packed: Packed) -> Unpacked:
    """Unpack into `packed.folder`, which is then there whole or not at all.

    The folder of an unchanged file is kept as it is, and so is a refusal that will not change.

    Raises:
        OSError: the packed file cannot be read.
    """
    kept = _kept(packed)
    if kept is not None:
        return kept
    shutil.rmtree(packed.folder, ignore_errors=True)
    # No process of a run that was just killed, and is not yet gone, has the same one.
    partial = tempfile.mkdtemp(
        ".partial", f"{os.path.basename(packed.folder)}.", os.path.dirname(packed.folder)
    )
    members = os.path.join(partial, MEMBERS)
    os.mkdir(members, 0o700)
    answer, lasting = Unpacked(), True
    try:
        try:
            _open(packed.found, members)
        except _Refused as refused:
            answer = Unpacked(refused.reason.value, refused.detail)
            lasting = refused.reason.group != "failed" and refused.detail != "disk"
            shutil.rmtree(members)
        if stamp_of(os.stat(packed.found.path)) != packed.found.stamp:
            return Unpacked(Reason.CHANGED_WHILE_READ.value)
        if lasting:
            with open(os.path.join(partial, _MARKER), "x", encoding="ascii") as file:
                file.write("\n".join((packed.found.stamp, answer.reason, answer.detail)))
            try:
                os.rename(partial, packed.folder)
            except OSError:
                if _kept(packed) is None:  # else such a process was as quick
                    raise
        return answer
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _kept(packed: Packed) -> Unpacked | None:
    try:
        with open(os.path.join(packed.folder, _MARKER), encoding="ascii") as file:
            lines = file.read().split("\n")
    except (OSError, ValueError):
        return None
    if len(lines) != 3 or lines[0] != packed.found.stamp:
        return None
    opened = not lines[1]
    if opened and not os.path.isdir(os.path.join(packed.folder, MEMBERS)):
        return None
    return Unpacked(lines[1], lines[2])


def _open(found: Found, members: str) -> None:
    """Raises _Refused, or OSError where the packed file cannot be read."""
    try:
        _open_by_content(found, members)
    except NotImplementedError:  # a zip of a kind that the standard library does not read
        raise _Refused(Reason.ARCHIVE_FILE) from None
    except _BROKEN as error:
        raise _Refused(Reason.PACKED_DAMAGED, type(error).__name__) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _Refused(Reason.PACKED_TOO_LARGE, "disk") from None
        if error.errno in _NO_NAME:
            raise _Refused(Reason.PACKED_NAME_REFUSED, "name") from None
        if error.errno is None:  # gzip and bz2 say so of damaged data
            raise _Refused(Reason.PACKED_DAMAGED, type(error).__name__) from None
        raise


def _open_by_content(found: Found, members: str) -> None:
    with open(found.path, "rb") as file:
        head = file.read(_BLOCK)
    budget = _Budget.of(found, members)
    opener = _opener(head)
    if head.startswith(b"PK\x03\x04"):
        _open_zip(found, members, budget)
    elif opener is None and not _is_tar(head):
        raise _Refused(Reason.ARCHIVE_FILE)  # 7z, rar, zstd
    else:
        opener = opener or (lambda path: open(path, "rb"))  # noqa: SIM115
        with opener(found.path) as stream:
            first = _read_whole(stream, _BLOCK)
        with opener(found.path) as stream:
            counted = _Counted(stream, _Budget.of(found, members))
            if _is_tar(first):
                _open_tar(counted, members, budget)
            else:
                name = PurePosixPath(found.relative).name
                _write(members, [_without_ending(name)], counted, budget)


def _opener(head: bytes) -> Callable[[Any], IO[bytes]] | None:
    openers: tuple[tuple[bytes, Callable[[Any], Any]], ...] = (
        (b"\x1f\x8b", gzip.open),
        (b"BZh", bz2.open),
        (b"\xfd7zXZ\0", lzma.open),
    )
    return next((opener for magic, opener in openers if head.startswith(magic)), None)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _without_ending(name: str) -> str:
    ending = next((e for e in _ENDINGS if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)] or name


@dataclass
class _Budget:
    """What may still be unpacked, in bytes and members."""

    packed_bytes: int
    free_bytes: int
    bytes: int = 0
    members: int = 0

    @staticmethod
    def of(found: Found, members: str) -> _Budget:
        return _Budget(found.size, shutil.disk_usage(members).free)

    def spend(self, number: int) -> None:
        self.bytes += number
        if self.bytes > MAX_BYTES:
            raise _Refused(Reason.PACKED_TOO_LARGE, "bytes")
        if self.bytes > self.free_bytes:
            raise _Refused(Reason.PACKED_TOO_LARGE, "disk")
        if self.bytes > FREE_OF_RATIO and self.bytes > MAX_RATIO * self.packed_bytes:
            raise _Refused(Reason.PACKED_TOO_LARGE, "ratio")

    def member(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise _Refused(Reason.PACKED_TOO_LARGE, "members")


class _Counted:
    """A stream whose bytes are counted as they are inflated, headers between members included."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._budget.spend(len(data))
        return data


# --- zip ------------------------------------------------------------------------------------------


def _open_zip(found: Found, members: str, budget: _Budget) -> None:
    with zipfile.ZipFile(found.path) as file:
        infos = file.infolist()
        if len(infos) > MAX_MEMBERS:
            raise _Refused(Reason.PACKED_TOO_LARGE, "members")
        names = [_zip_name(info) for info in infos]
        if sum(info.file_size for info in infos) > min(MAX_BYTES, budget.free_bytes):
            raise _Refused(Reason.PACKED_TOO_LARGE, "disk")
        for info, name in zip(infos, names, strict=True):
            if info.flag_bits & 1:
                raise _Refused(Reason.PACKED_DAMAGED, "encrypted")
            if info.compress_type not in _ZIP_METHODS:
                raise _Refused(Reason.ARCHIVE_FILE, f"method {info.compress_type}")
            if info.is_dir():
                continue
            with file.open(info) as stream:
                if _write(members, name, stream, budget) != info.file_size:
                    raise _Refused(Reason.PACKED_DAMAGED, "size")


def _zip_name(info: zipfile.ZipInfo) -> list[str]:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _Refused(Reason.PACKED_NAME_REFUSED, "link")
    name = info.filename.replace("\\", "/")  # some writers for Windows keep its separator
    return _parts(name, folder=info.is_dir())


# --- tar ------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """Says of a damaged or missing header that it is one: tarfile would take it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if len(buf) == _BLOCK and not any(buf):
            return super().frombuf(buf, encoding, errors)  # the end, of which tarfile takes note
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise _Refused(Reason.PACKED_DAMAGED, type(error).__name__) from None


def _open_tar(stream: _Counted, members: str, budget: _Budget) -> None:
    source: Any = stream
    with tarfile.open(
        fileobj=source, mode="r|", tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
    ) as opened:
        file: Any = opened
        while (member := file.next()) is not None:
            file.members = []  # else it keeps them all
            budget.member()
            name = _parts(member.name, folder=member.isdir())
            if member.isdir():
                continue
            content = file.extractfile(member) if member.isreg() else None
            if content is None:
                raise _Refused(Reason.PACKED_NAME_REFUSED, "link")
            if _write(members, name, content, budget) != member.size:
                raise _Refused(Reason.PACKED_DAMAGED, "size")
        while piece := file.fileobj.read(_PIECE):  # to the checksum; what is not zero would be lost
            if any(piece):
                raise _Refused(Reason.PACKED_DAMAGED, "after its end")


# --- parts ----------------------------------------------------------------------------------------


def _parts(name: str, folder: bool) -> list[str]:
    """The parts of a member's name below the folder, or a refusal."""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise _Refused(Reason.PACKED_NAME_REFUSED, "absolute")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or not (parts or folder):
        raise _Refused(Reason.PACKED_NAME_REFUSED, "leads out")
    return parts


def _write(members: str, name: list[str], stream: Any, budget: _Budget) -> int:
    """Write one member, whose name must be new; returns its number of bytes."""
    folder = os.path.join(members, *name[:-1])
    os.makedirs(folder, 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    written = 0
    with os.fdopen(os.open(os.path.join(folder, name[-1]), flags, 0o600), "wb") as file:
        while piece := stream.read(_PIECE):
            budget.spend(len(piece))
            written += file.write(piece)
    return written


def _read_whole(stream: IO[bytes], size: int) -> bytes:
    """The first bytes of a stream that may give fewer at a time than were asked for."""
    data = b""
    with contextlib.suppress(EOFError):  # cut off: reading it whole will say so
        while len(data) < size and (piece := stream.read(size - len(data))):
            data += piece
    return data
