"""Hazards of packed files: opened only when asked, and never further than is safe."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from medssl.archive.reasons import Reason
from medssl.sample.hazards.clean import write_clean
from medssl.sample.hazards.hazard import Hazard, exact, refused
from medssl.sample.hazards.place import Place

UNPACK = "unpack: unpacked"  # a folder, which the check puts where it works
_MEGABYTE = 1 << 20


def zipped(place: Place) -> None:
    _zip(place.folder / "export.zip", _packed_away(place))


def tarred(place: Place) -> None:
    files = _packed_away(place)
    with tarfile.open(place.folder / "export.tar.gz", "w:gz") as tar:
        for name, content in files:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))


def gzipped(place: Place) -> None:
    for name, content in _packed_away(place):
        place.put(f"{name}.gz", gzip.compress(content, mtime=0))


def zip_leads_out(place: Place) -> None:
    """Members that would be written beside the folder, or anywhere."""
    files = list(_packed_away(place))
    _zip(place.folder / "up.zip", [("../outside.dcm", files[0][1])])
    _zip(place.folder / "absolute.zip", [("/tmp/outside.dcm", files[0][1])])


def tar_with_link(place: Place) -> None:
    about = tarfile.TarInfo("link")
    about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
    place.folder.mkdir(parents=True)
    with tarfile.open(place.folder / "link.tar", "w") as tar:
        tar.addfile(about)


def zip_bomb(place: Place) -> None:
    """256 MiB of zeros in a quarter of a megabyte."""
    _zip(place.folder / "bomb.zip", [("IM0001", bytes(256 * _MEGABYTE))])


def zip_damaged(place: Place) -> None:
    zipped(place)
    path = place.folder / "export.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = place.random("noise").bytes(200)
    path.write_bytes(content)


def _packed_away(place: Place) -> Iterable[tuple[str, bytes]]:
    """Names and bytes of a clean series that is in no folder."""
    paths = write_clean(place)
    files = [(path.name, path.read_bytes()) for path in paths]
    for path in paths:
        path.unlink()
    return files


def _zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


_PACKED = (refused(Reason.ARCHIVE_FILE),)

HAZARDS = (
    Hazard("zip", "a series in a zip file", zipped, _PACKED, under=((UNPACK, (exact(),)),)),
    Hazard("tar-gz", "a series in a tar.gz file", tarred, _PACKED,
           under=((UNPACK, (exact(),)),)),
    Hazard("gzip", "each file of a series packed by gzip", gzipped,
           (refused(Reason.ARCHIVE_FILE, 10),), under=((UNPACK, (exact(),)),)),
    Hazard("zip-that-leads-out", "zip files with members named ../outside.dcm and /tmp/...",
           zip_leads_out, (refused(Reason.ARCHIVE_FILE, 2),),
           under=((UNPACK, (refused(Reason.PACKED_NAME_REFUSED, 2),)),)),
    Hazard("tar-with-link", "a tar file with a link to /etc/passwd", tar_with_link, _PACKED,
           under=((UNPACK, (refused(Reason.PACKED_NAME_REFUSED),)),)),
    Hazard("zip-bomb", "a small zip file that unpacks to 256 MiB of zeros", zip_bomb, _PACKED,
           under=((UNPACK, (refused(Reason.PACKED_TOO_LARGE),)),)),
    Hazard("zip-damaged", "200 bytes of noise inside a zip file", zip_damaged, _PACKED,
           under=((UNPACK, (refused(Reason.PACKED_DAMAGED),)),)),
)  # fmt: skip
