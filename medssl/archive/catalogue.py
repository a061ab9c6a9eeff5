"""All files of one walk through the archive, spilled to a file without a name.

Paths and headers identify patients, so they are kept in a private SQLite database that has no name
on disk and is gone with the process, however it ends; memory stays flat for millions of files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from medssl.archive.find import FileKind, Found, beside

LABEL_TAG = "label"  # third of the tags of a DICOM file that is a SEG or RTSTRUCT
PACKED_TAG = "packed"  # the tags of a packed file, opened or not
_CACHE_KIB = 8 * 1024
_AT_ONCE = 1000
_SCHEMA = """
CREATE TABLE files (
    file_key TEXT, root BLOB, relative BLOB, packed BLOB, member BLOB, unpacked BLOB, size INTEGER,
    stamp TEXT, kind TEXT, reason TEXT, detail TEXT, unit_key TEXT, old_unit TEXT, tags TEXT,
    fresh INTEGER, header BLOB);
CREATE TABLE planned (unit_key TEXT, signature TEXT);
"""
_NAMED = "kind IN ('nifti', 'pair data')"
_NAME_APART = (
    "UPDATE files SET relative = CAST(packed || '!/' || member AS BLOB) "
    f"WHERE {_NAMED} AND packed IN (SELECT packed FROM files WHERE packed != x'' AND {_NAMED} AND "
    f"relative IN (SELECT relative FROM files WHERE {_NAMED} GROUP BY relative HAVING COUNT(*) > 1)"
    ")"
)
_ENTRY = (
    "file_key, root, relative, packed, member, unpacked, size, stamp, kind, reason, detail, "
    "unit_key, old_unit, tags, fresh"
)


class Entry(NamedTuple):
    """A file of the walk and what is known of it.

    `tags` are keyed hashes of series and patient (DICOM; for a label the series that it was drawn
    on, and LABEL_TAG), or whether a NIfTI is a label map;
    `old_unit` is the unit it belonged to in an earlier run, `fresh` whether it is new or changed,
    `header` a pickled DICOM header.
    """

    file_key: str
    found: Found
    kind: FileKind
    reason: str = ""
    detail: str = ""
    unit_key: str = ""
    old_unit: str = ""
    tags: str = ""
    fresh: bool = True
    header: bytes | None = None


class Catalogue:
    """The entries of a walk, written once and read back in the order of their units."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")
        self._waiting: list[tuple[Any, ...]] = []

    def add(self, entry: Entry) -> None:
        found = entry.found
        self._waiting.append(
            (
                entry.file_key,
                _root_blob(found.root),
                _blob(found.relative),
                _blob(found.packed),
                _blob(found.member),
                _blob(found.unpacked),
                found.size,
                found.stamp,
                entry.kind.value,
                entry.reason,
                entry.detail,
                entry.unit_key,
                entry.old_unit,
                entry.tags,
                entry.fresh,
                entry.header,
            )
        )
        if len(self._waiting) >= _AT_ONCE:
            self._flush()

    def index(self) -> None:
        """To be called once, after the last `add` of the walk.

        A packed file one of whose NIfTI members has the name of another file then gives the names
        of a folder of its own to all of them: a.zip!/image.nii and a.zip!/mask.nii stay together.
        """
        self._flush()
        if self._db.execute("SELECT 1 FROM files WHERE packed != x'' LIMIT 1").fetchone():
            self._db.execute(_NAME_APART)
        self._db.execute("CREATE INDEX by_kind ON files (kind, unit_key, file_key)")
        for name, kind in (("nifti", "nifti"), ("pair", "pair data")):
            self._db.execute(f"CREATE INDEX by_{name} ON files (relative) WHERE kind = '{kind}'")

    def count(self, *kinds: FileKind) -> int:
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT COUNT(*) FROM files WHERE kind IN ({marks})"
        (number,) = self._db.execute(query, [k.value for k in kinds]).fetchone()
        return int(number)

    def size_of(self, kind: FileKind) -> tuple[int, int]:
        """Number of files of one kind, and the size of the largest in bytes."""
        query = "SELECT COUNT(*), COALESCE(MAX(size), 0) FROM files WHERE kind = ?"
        number, largest = self._db.execute(query, (kind.value,)).fetchone()
        return int(number), int(largest)

    def of_kind(self, kind: FileKind) -> Iterator[Entry]:
        """Entries of one kind, without headers, in the order of unit_key, then file_key."""
        rows = self._db.execute(
            f"SELECT {_ENTRY}, NULL FROM files WHERE kind = ? ORDER BY unit_key, file_key",
            (kind.value,),
        )
        return map(_entry, rows)

    def of_unit(self, unit_key: str) -> list[Entry]:
        """The DICOM files of a unit, with the headers that were read."""
        rows = self._db.execute(
            f"SELECT {_ENTRY}, header FROM files WHERE kind = 'dicom' AND unit_key = ? "
            "ORDER BY file_key",
            (unit_key,),
        )
        return [_entry(row) for row in rows.fetchall()]

    def nifti_names(self) -> Iterator[str]:
        """The archive-relative paths of all NIfTI files, in their order."""
        rows = self._db.execute("SELECT relative FROM files WHERE kind = 'nifti' ORDER BY relative")
        return (_text(relative) for (relative,) in rows)

    def by_relative(self, relative: str) -> Entry | None:
        """The NIfTI file of this archive-relative path."""
        row = self._db.execute(
            f"SELECT {_ENTRY}, NULL FROM files WHERE kind = 'nifti' AND relative = ?",
            (_blob(relative),),
        ).fetchone()
        return None if row is None else _entry(row)

    def pair_data(self, base: str) -> list[Entry]:
        """The files of voxels beside a .hdr whose archive-relative path begins with `base` and ".".

        In the order of unit_key.
        """
        rows = self._db.execute(
            f"SELECT {_ENTRY}, NULL FROM files WHERE kind = 'pair data' "
            "AND relative >= ? AND relative < ? ORDER BY unit_key",
            (_blob(f"{base}."), _blob(f"{base}/")),  # "/" is the character after "."
        )
        return [_entry(row) for row in rows.fetchall()]

    def tag(self, relative: str, tags: str) -> None:
        """Set the tags of a NIfTI file, which is then one that the journal has to remember anew."""
        self._db.execute(
            "UPDATE files SET tags = ?, fresh = 1 WHERE kind = 'nifti' AND relative = ?",
            (tags, _blob(relative)),
        )

    def fresh(self) -> Iterator[Entry]:
        """The entries that are new or changed, without headers."""
        return map(_entry, self._db.execute(f"SELECT {_ENTRY}, NULL FROM files WHERE fresh"))

    def left_units(self) -> Iterator[str]:
        """Units of earlier runs that a file has left, or that now hold what is no scan."""
        rows = self._db.execute(
            "SELECT DISTINCT old_unit FROM files WHERE old_unit != '' "
            "AND fresh AND (old_unit != unit_key OR kind IN (?, ?))",
            (FileKind.SIDE.value, FileKind.PAIR_DATA.value),
        )
        return (row[0] for row in rows)

    def dicom_units(self) -> Iterator[tuple[str, list[tuple[str, str, str, str, str]]]]:
        """Each DICOM unit, with (file_key, stamp, relative, tags, beside) of its files.

        `beside` is the name among the files it lies with, see `Found`.
        """
        rows = self._db.execute(
            "SELECT unit_key, file_key, stamp, relative, tags, packed, member FROM files "
            "WHERE kind = 'dicom' ORDER BY unit_key, file_key"
        )
        for unit_key, group in groupby(rows, key=itemgetter(0)):
            files = []
            for _, key, stamp, blob, tags, packed, member in group:
                name = _text(blob)
                near = beside(name, _text(packed), _text(member)) if packed else name
                files.append((key, stamp, name, tags, near))
            yield unit_key, files

    def plan(self, unit_key: str, signature: str) -> None:
        """Remember a DICOM unit that has to be read."""
        self._db.execute("INSERT INTO planned VALUES (?, ?)", (unit_key, signature))

    def planned(self) -> Iterator[tuple[str, str]]:
        """The units that have to be read, with their signatures."""
        yield from self._db.execute("SELECT unit_key, signature FROM planned")

    def num_planned(self) -> int:
        (number,) = self._db.execute("SELECT COUNT(*) FROM planned").fetchone()
        return int(number)

    def close(self) -> None:
        self._db.close()

    def _flush(self) -> None:
        marks = ", ".join("?" * 16)
        self._db.executemany(f"INSERT INTO files VALUES ({marks})", self._waiting)
        self._waiting.clear()


def is_label(tags: str) -> bool:
    """Whether the tags are those of a DICOM label object."""
    return tags.endswith(f" {LABEL_TAG}")


@lru_cache(maxsize=8)
def _root_blob(root: str) -> bytes:
    return _blob(root)


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogateescape")


def _entry(row: tuple[Any, ...]) -> Entry:
    key, root, relative, packed, member, unpacked, size, stamp, *about = row
    kind, reason, detail, unit, old, tags, fresh, header = about
    place = (_text(packed), _text(member), _text(unpacked)) if packed else ("", "", "")
    found = Found(_text(root), _text(relative), size, stamp, *place)
    return Entry(key, found, FileKind(kind), reason, detail, unit, old, tags, bool(fresh), header)
