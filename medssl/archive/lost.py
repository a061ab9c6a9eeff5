"""Damaged files of a walk, and the series that they may be slices of.

A slice that is lost at an end of its series leaves no gap. A file whose own header cannot be read
belongs to a series where its bytes still hold the series' UID; that series then certainly lacks it.
Where they hold none, its name ties it to a series in its folder: the one series whose files have
names of its pattern (digits replaced); or, where several share the pattern, the one whose names
differ from its own in their last number alone; or, where several do, those that its number follows
or precedes without a gap in the numbering. What shows that such a series is whole all the same:
`whole`.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.archive.catalogue import PACKED_TAG, is_label
from medssl.archive.find import FileKind
from medssl.archive.numbering import place_of, run_of
from medssl.archive.reasons import Reason

if TYPE_CHECKING:
    from medssl.archive.catalogue import Catalogue, Entry

_DAMAGED = frozenset(
    {
        "",  # a text where the others are DICOM
        Reason.EMPTY_FILE,
        Reason.UNREADABLE_FILE,
        Reason.UNKNOWN_FORMAT,
        Reason.DICOM_HEADER_DAMAGED,
        Reason.DICOM_UID_MISSING,
        Reason.DICOM_TOO_LARGE,
        Reason.CHANGED_WHILE_READ,
        Reason.ARCHIVE_FILE,  # a slice that is packed by itself
        Reason.PACKED_TOO_LARGE,
        Reason.PACKED_DAMAGED,
        Reason.WORKER_DIED,
        Reason.WORKER_OUT_OF_MEMORY,
        Reason.WORKER_TIMED_OUT,
        Reason.INTERNAL_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class LostFile:
    """A damaged file tied to a series: certainly, by a UID in its bytes, or by its neighbours.

    `instance` is the keyed hash of its SOPInstanceUID where that was found too.
    """

    path: Path
    certain: bool
    instance: str = ""


class LostFiles:
    """The damaged files of a walk, tied to series; on disk, so that memory stays flat.

    `find` is called once, `of_unit` answers after that.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("BEGIN")
        for table in (
            "places (place INTEGER, unit TEXT, PRIMARY KEY (place, unit))",
            "series (tag TEXT, unit TEXT, PRIMARY KEY (tag, unit))",
            "numbers (run INTEGER, number INTEGER, unit TEXT)",
            "damaged (place INTEGER, run INTEGER, number INTEGER, tag TEXT, instance TEXT, "
            "path BLOB, sign TEXT)",
            "ties (unit TEXT, certain INTEGER, instance TEXT, path BLOB, sign TEXT)",
        ):
            self._db.execute(f"CREATE TABLE {table}")

    def find(self, catalogue: Catalogue) -> None:
        """Tie each damaged file to the series that its bytes name, else to its one neighbour."""
        any_damaged = False
        for kind in (FileKind.REFUSED, FileKind.SIDE):
            for entry in catalogue.of_kind(kind):
                any_damaged |= self._see_damaged(entry)
        if any_damaged:
            self._db.execute("CREATE INDEX damaged_by_run ON damaged (run, number)")
            for unit_key, files in catalogue.dicom_units():
                self._see_series(unit_key, files)
            self._db.execute("CREATE INDEX numbers_by_run ON numbers (run, number)")
            self._tie()
        self._db.execute("CREATE INDEX by_unit ON ties (unit)")

    def _see_damaged(self, entry: Entry) -> bool:
        is_packed = entry.tags == PACKED_TAG
        tags = "" if is_packed else entry.tags
        name = entry.found.beside.removesuffix(".gz")
        run, number = run_of(name)
        opened = is_packed and not entry.reason
        if opened or entry.reason not in _DAMAGED or (number is None and not tags):
            return False
        tag, _, instance = tags.partition(" ")
        sign = f"{entry.file_key} {entry.found.stamp}"
        path = os.fsencode(entry.found.path).removesuffix(b".gz")
        row = (place_of(name), run, number, tag, instance, path, sign)
        self._db.execute("INSERT INTO damaged VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return True

    def _see_series(self, unit_key: str, files: list[tuple[str, str, str, str, str]]) -> None:
        tag = files[0][3].partition(" ")[0]
        self._db.execute("INSERT OR IGNORE INTO series VALUES (?, ?)", (tag, unit_key))
        for place in {place_of(name) for _, _, _, tags, name in files if not is_label(tags)}:
            self._db.execute("INSERT OR IGNORE INTO places VALUES (?, ?)", (place, unit_key))
        runs = [run_of(name) for *_, name in files]
        there = {run for run in {run for run, _ in runs} if self._holds_damaged(run)}
        rows = [(run, number, unit_key) for run, number in runs if run in there]
        self._db.executemany("INSERT INTO numbers VALUES (?, ?, ?)", rows)

    def _holds_damaged(self, run: int) -> bool:
        row = self._db.execute("SELECT 1 FROM damaged WHERE run = ? LIMIT 1", (run,)).fetchone()
        return row is not None

    def _tie(self) -> None:
        self._db.execute(
            "INSERT INTO ties SELECT unit, 1, instance, path, sign FROM damaged JOIN series "
            "USING (tag) WHERE tag != ''"
        )
        self._db.execute(
            "INSERT INTO ties SELECT MIN(unit), 0, '', path, sign FROM damaged JOIN places "
            "USING (place) WHERE tag = '' GROUP BY damaged.rowid HAVING COUNT(*) = 1"
        )
        shared = self._db.execute(
            "SELECT run, number, path, sign FROM damaged JOIN places USING (place) "
            "WHERE tag = '' GROUP BY damaged.rowid HAVING COUNT(*) > 1"
        )
        for run, number, path, sign in shared:
            for unit in self._units_of_run(run, number):
                self._db.execute("INSERT INTO ties VALUES (?, 0, '', ?, ?)", (unit, path, sign))

    def _units_of_run(self, run: int, number: int) -> set[str]:
        """The one series of a run of numbers, else those next to a number without a gap."""
        units = self._db.execute(
            "SELECT DISTINCT unit FROM numbers WHERE run = ? LIMIT 2", (run,)
        ).fetchall()
        if len(units) < 2:
            return {unit for (unit,) in units}
        found = set()
        for beyond, order in (("<", "DESC"), (">", "ASC")):
            next_to = self._db.execute(
                f"SELECT number, unit FROM numbers WHERE run = ? AND number {beyond} ? "
                f"ORDER BY number {order} LIMIT 1",
                (run, number),
            ).fetchone()
            if next_to is not None:
                low, high = sorted((number, next_to[0]))
                (filled,) = self._db.execute(
                    "SELECT COUNT(*) FROM damaged WHERE run = ? AND number BETWEEN ? AND ?",
                    (run, low, high),
                ).fetchone()
                if filled == high - low:
                    found.add(next_to[1])
        return found

    def of_unit(self, unit_key: str) -> tuple[list[LostFile], list[str]]:
        """The damaged files tied to a series, and what is to go into its signature."""
        rows = self._db.execute(
            "SELECT path, certain, instance, sign FROM ties WHERE unit = ? ORDER BY sign",
            (unit_key,),
        ).fetchall()
        files = [LostFile(Path(os.fsdecode(path)), bool(c), i) for path, c, i, _ in rows]
        return files, [f"lost {sign}" for *_, sign in rows]
