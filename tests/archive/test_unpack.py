"""Packed files: what may be in them, what may not, and that nothing outside is touched."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from medssl.archive import unpack as module
from medssl.archive.find import Found, stamp_of
from medssl.archive.unpack import MEMBERS, Packed, Unpacked, unpack

Members = Iterable[tuple[str, bytes]]
FILES = (("a/one", b"1" * 3000), ("a/b/two.dcm", bytes(range(256)) * 40), ("three", b""))


def zipped(files: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in files:
            file.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def tarred(files: Members, mode: Any = "w", **fields: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:
        for name, content in files:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            for field, value in fields.items():
                setattr(about, field, value)
            file.addfile(about, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Packed]:
    """A file with some content, and the folder to unpack it into."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "archive").mkdir()

    def make(content: bytes, name: str = "some.bin") -> Packed:
        path = tmp_path / "archive" / name
        path.write_bytes(content)
        found = Found(str(path.parent), name, len(content), stamp_of(path.stat()))
        return Packed(found, str(tmp_path / "scratch" / "here"))

    return make


def lying(item: Packed) -> dict[str, bytes]:
    """Name and content of each file in the folder."""
    root = Path(item.folder, MEMBERS)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "content",
    [
        zipped(FILES),
        zipped(FILES, zipfile.ZIP_STORED),
        zipped(FILES, zipfile.ZIP_BZIP2),
        zipped([("a/", b""), *FILES]),
        zipped((name.replace("/", "\\"), content) for name, content in FILES),
        tarred(FILES),
        tarred((f"./{name}", content) for name, content in FILES),
        tarred(FILES, "w:gz"),
        tarred(FILES, "w:bz2"),
        tarred(FILES, "w:xz"),
    ],
    ids=["zip", "stored", "bzip2", "folders", "backslash", "tar", "dot", "gz", "bz2", "xz"],
)
def test_members_come_out_as_they_are(packed: Callable[..., Packed], content: bytes) -> None:
    item = packed(content)
    assert unpack(item) == Unpacked()
    assert lying(item) == dict(FILES)
    for path in Path(item.folder).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name == "stamp"
    assert stat.S_IMODE(os.stat(item.folder).st_mode) == 0o700


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_file_packed_by_itself_loses_its_ending(packed: Callable[..., Packed], pack: Any) -> None:
    content = FILES[1][1]
    ending = {"gzip": "GZ", "bz2": "bz2", "lzma": "xz"}[pack.__module__]
    item = packed(pack(content[:5000]) + pack(content[5000:]), f"IM1.dcm.{ending}")
    assert unpack(item) == Unpacked()
    assert lying(item) == {"IM1.dcm": content}


def _linked(kind: bytes, **fields: Any) -> bytes:
    return tarred([("fine", b"x"), ("link", b"")], type=kind, linkname="fine", **fields)


def _zip_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        about = zipfile.ZipInfo("link")
        about.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(about, "/etc/passwd")
    return out.getvalue()


NAMES = ["../out", "a/../../out", "/out", "//out", "C:\\out", "..\\out", "\\out", ".", "a" * 300]


@pytest.mark.parametrize(
    "content",
    [
        *(zipped([FILES[0], (name, b"x")]) for name in NAMES),
        *(tarred([FILES[0], (name, b"x")]) for name in NAMES if "\\" not in name),
        *(_linked(kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)),
        *(_linked(kind) for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)),
        _zip_link(),
        tarred([FILES[0], FILES[0]]),
        zipped([("a", b"x"), ("a/b", b"x")]),
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    packed: Callable[..., Packed], content: bytes, tmp_path: Path
) -> None:
    item = packed(content)
    assert unpack(item).reason == "PACKED_NAME_REFUSED"
    assert lying(item) == {}
    assert {p.name for p in tmp_path.rglob("*")} <= {
        "archive", "some.bin", "scratch", "here", "stamp",
    }  # fmt: skip
    assert unpack(item).reason == "PACKED_NAME_REFUSED"


def _changed(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def _zip_of_size(size: int) -> bytes:
    """A zip that declares another size of its one member than it has."""
    content = zipped([("a", b"x" * 100)])
    declared = (100).to_bytes(4, "little") * 1
    assert content.count(declared) == 2
    return content.replace(declared, size.to_bytes(4, "little"))


def _encrypted() -> bytes:
    content = zipped([("a", b"x" * 100)])
    at = content.index(b"PK\x01\x02")
    return _changed(_changed(content, 6, b"\x01"), at + 8, b"\x01")


TAR = tarred(FILES)
NOISE = bytes(range(1, 255)) * 4


@pytest.mark.parametrize(
    "content",
    [
        zipped(FILES)[:-30],
        _changed(zipped(FILES, zipfile.ZIP_STORED), 100, b"2"),
        _zip_of_size(90),
        _zip_of_size(110),
        _encrypted(),
        TAR[:3584],
        TAR[:3600],
        TAR[: 512 + 3072],  # at the end of a member, where tarfile sees nothing wrong
        _changed(TAR, 512 + 3072, NOISE[:300]),
        TAR + TAR,
        tarred(FILES, "w:gz")[:-4],
        _changed(tarred(FILES, "w:gz"), len(tarred(FILES, "w:gz")) - 8, b"\1\2\3\4"),
        tarred(FILES, "w:xz")[:-20],
        gzip.compress(NOISE, mtime=0)[:-1],
        gzip.compress(NOISE, mtime=0) + b"more",
    ],
)
def test_a_damaged_one_gives_nothing(packed: Callable[..., Packed], content: bytes) -> None:
    item = packed(content)
    assert unpack(item).reason == "PACKED_DAMAGED"
    assert not list(Path(item.folder).parent.iterdir())


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (zipped([("zeros", bytes(300_000))]), "ratio"),
        (tarred([("zeros", bytes(300_000))], "w:gz"), "ratio"),
        (gzip.compress(bytes(300_000), mtime=0), "ratio"),
        (zipped((f"m{n}", b"") for n in range(6)), "members"),
        (tarred((f"m{n}", b"") for n in range(6)), "members"),
        (tarred(((f"m{n}", b"") for n in range(6)), type=tarfile.DIRTYPE), "members"),
        (tarred([("m", NOISE * 600)]), "bytes"),
        (tarred([("m", b"x")], pax_headers={"comment": "x" * 600_000}), "bytes"),
    ],
)
def test_one_that_is_too_large_is_stopped(
    packed: Callable[..., Packed], content: bytes, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 5)
    monkeypatch.setattr(module, "MAX_BYTES", 500_000)
    monkeypatch.setattr(module, "FREE_OF_RATIO", 100_000)
    item = packed(content)
    assert unpack(item) == Unpacked("PACKED_TOO_LARGE", detail)
    assert lying(item) == {}


def test_a_disk_that_is_full_is_tried_again(
    packed: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    item = packed(zipped(FILES))
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda _: type("", (), {"free": 4000}))
        assert unpack(item) == Unpacked("PACKED_TOO_LARGE", "disk")
    assert unpack(item) == Unpacked()


@pytest.mark.parametrize("content", [b"7z\xbc\xaf\x27\x1c" + bytes(600), b"Rar!" + bytes(600)])
def test_what_is_not_opened_says_so(packed: Callable[..., Packed], content: bytes) -> None:
    assert unpack(packed(content)).reason == "ARCHIVE_FILE"


def test_an_unchanged_file_is_unpacked_once(packed: Callable[..., Packed]) -> None:
    item = packed(zipped(FILES))
    assert unpack(item) == Unpacked()
    before = (Path(item.folder) / MEMBERS / "three").stat().st_ino
    assert unpack(item) == Unpacked()
    assert (Path(item.folder) / MEMBERS / "three").stat().st_ino == before
    item = packed(zipped(FILES[:1]))
    assert unpack(item) == Unpacked()
    assert lying(item) == dict(FILES[:1])


def test_one_that_changes_meanwhile_is_not_taken(packed: Callable[..., Packed]) -> None:
    item = packed(zipped(FILES))
    os.utime(item.found.path, ns=(1, 1))
    assert unpack(item).reason == "CHANGED_WHILE_READ"
    assert not list(Path(item.folder).parent.iterdir())
