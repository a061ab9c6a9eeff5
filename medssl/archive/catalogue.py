"""All files of one walk through the archive, spilled to a file without a name.

Paths and headers identify patients, so they are kept in a private SQLite database that has no name
on disk and is gone with the process, however it ends; memory stays flat for millions of files.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.archive.find import FileKind, Found

if TYPE_CHECKING:
    from medssl.archive.dicom import Header

_SCHEMA = """
CREATE TABLE files (
    file_key TEXT PRIMARY KEY, path TEXT, relative TEXT, size INTEGER, stamp TEXT, kind TEXT,
    reason TEXT, detail TEXT, unit_key TEXT, old_unit TEXT, tags TEXT, fresh INTEGER, header BLOB)
"""


@dataclass(frozen=True)
class Entry:
    """A file of the walk and what is known of it.

    `tags` are keyed hashes of series and patient (DICOM), or whether a NIfTI is a label map;
    `old_unit` is the unit it belonged to in an earlier run, `fresh` whether it is new or changed.
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
    header: Header | None = None


class Catalogue:
    """The entries of a walk, written once and read back in the order of their units."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute(_SCHEMA)
        self._db.execute("BEGIN")

    def add(self, entry: Entry) -> None:
        header = pickle.dumps(entry.header) if entry.header is not None else None
        found = entry.found
        self._db.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.file_key,
                _blob(str(found.path)),
                _blob(found.relative),
                found.size,
                found.stamp,
                entry.kind.value,
                entry.reason,
                entry.detail,
                entry.unit_key,
                entry.old_unit,
                entry.tags,
                int(entry.fresh),
                header,
            ),
        )

    def index(self) -> None:
        """To be called once, after the last `add` of the walk."""
        self._db.execute("CREATE INDEX by_kind ON files (kind, unit_key, file_key)")
        for name, kind in (("nifti", "nifti"), ("pair", "pair data")):
            self._db.execute(f"CREATE INDEX by_{name} ON files (relative) WHERE kind = '{kind}'")

    def count(self, *kinds: FileKind) -> int:
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT COUNT(*) FROM files WHERE kind IN ({marks})"
        (number,) = self._db.execute(query, [k.value for k in kinds]).fetchone()
        return int(number)

    def of_kind(self, kind: FileKind, with_headers: bool = False) -> Iterator[Entry]:
        """Entries of one kind in the order of unit_key, then file_key."""
        header = "header" if with_headers else "NULL"
        rows = self._db.execute(
            "SELECT file_key, path, relative, size, stamp, kind, reason, detail, unit_key, "
            f"old_unit, tags, fresh, {header} FROM files WHERE kind = ? "
            "ORDER BY unit_key, file_key",
            (kind.value,),
        )
        return (_entry(row) for row in rows)

    def of_unit(self, unit_key: str) -> list[Entry]:
        """The DICOM files of a unit, with the headers that were read."""
        rows = self._db.execute(
            "SELECT file_key, path, relative, size, stamp, kind, reason, detail, unit_key, "
            "old_unit, tags, fresh, header FROM files WHERE kind = 'dicom' AND unit_key = ? "
            "ORDER BY file_key",
            (unit_key,),
        )
        return [_entry(row) for row in rows.fetchall()]

    def nifti_names(self) -> Iterator[str]:
        """The archive-relative paths of all NIfTI files, in their order."""
        rows = self._db.execute("SELECT relative FROM files WHERE kind = 'nifti' ORDER BY relative")
        return (relative.decode("utf-8", "surrogateescape") for (relative,) in rows)

    def by_relative(self, relative: str) -> Entry | None:
        """The NIfTI file of this archive-relative path."""
        row = self._db.execute(
            "SELECT file_key, path, relative, size, stamp, kind, reason, detail, unit_key, "
            "old_unit, tags, fresh, NULL FROM files WHERE kind = 'nifti' AND relative = ?",
            (_blob(relative),),
        ).fetchone()
        return None if row is None else _entry(row)

    def pair_data(self, base: str) -> list[Entry]:
        """The files of voxels beside a .hdr whose archive-relative path begins with `base` and ".".

        In the order of unit_key.
        """
        rows = self._db.execute(
            "SELECT file_key, path, relative, size, stamp, kind, reason, detail, unit_key, "
            "old_unit, tags, fresh, NULL FROM files WHERE kind = 'pair data' "
            "AND relative >= ? AND relative < ? ORDER BY unit_key",
            (_blob(f"{base}."), _blob(f"{base}/")),  # "/" is the character after "."
        )
        return [_entry(row) for row in rows.fetchall()]

    def tag(self, file_key: str, tags: str) -> None:
        """Set the tags of a file, which is then one that the journal has to remember anew."""
        self._db.execute(
            "UPDATE files SET tags = ?, fresh = 1 WHERE file_key = ?", (tags, file_key)
        )

    def close(self) -> None:
        self._db.close()


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _entry(row: tuple) -> Entry:  # type: ignore[type-arg]
    key, path, relative, size, stamp, kind, reason, detail, unit, old, tags, fresh, header = row
    found = Found(
        Path(path.decode("utf-8", "surrogateescape")),
        relative.decode("utf-8", "surrogateescape"),
        size,
        stamp,
    )
    return Entry(
        key, found, FileKind(kind), reason, detail, unit, old, tags, bool(fresh),
        pickle.loads(header) if header is not None else None,
    )  # fmt: skip
