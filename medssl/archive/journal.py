"""The journal of a store: what was seen and what was done, so that a run resumes and grows.

It lies in the store (`ingest.sqlite`) and holds keyed hashes, sizes and times alone. A unit is what
is read together: a DICOM series, or a NIfTI with its mask. Rows go to the store in numbered part
files; a part counts from the moment that one transaction here names it together with its units, so
a run that is killed leaves at most files that nobody names, which the next run takes away. Rows
that must go are taken out of their part before anything replaces them: nothing is there twice.

Of patients it holds which units are theirs, and the keys of those who were withdrawn.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medssl.errors import StoreError
from medssl.store.parts import merged, rows_without, write_tables
from medssl.store.writer import volume_path, write_part

KINDS = {
    "instances": "volume_uid",
    "labels": "volume_uid",
    "rejected": "source_key",
    "manifest": "volume_uid",  # last: a manifest row is never without its labels
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    file_key TEXT PRIMARY KEY, stamp TEXT, kind TEXT, reason TEXT, unit_key TEXT, tags TEXT);
CREATE INDEX IF NOT EXISTS files_by_unit ON files (unit_key);
CREATE TABLE IF NOT EXISTS units (unit_key TEXT PRIMARY KEY, signature TEXT, part TEXT);
CREATE INDEX IF NOT EXISTS units_by_part ON units (part);
CREATE TABLE IF NOT EXISTS outputs (id TEXT, unit_key TEXT, PRIMARY KEY (id, unit_key));
CREATE INDEX IF NOT EXISTS outputs_by_unit ON outputs (unit_key);
CREATE TABLE IF NOT EXISTS patients (
    patient_key TEXT, unit_key TEXT, PRIMARY KEY (patient_key, unit_key));
CREATE INDEX IF NOT EXISTS patients_by_unit ON patients (unit_key);
CREATE TABLE IF NOT EXISTS withdrawn (key TEXT PRIMARY KEY, kind TEXT);
CREATE TABLE IF NOT EXISTS parts (part TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT);
"""

RETRY = "retry"  # the signature of a unit whose reading broke down: the next run tries again
_MANY_PARTS = 32  # small ones; more are merged
_SMALL_BYTES = 32 << 20
_MERGED_BYTES = 128 << 20


class FileRecord(NamedTuple):
    """What is remembered of a file; `tags` are the keyed hashes of its series and patient."""

    file_key: str
    stamp: str
    kind: str
    reason: str
    unit_key: str
    tags: str


@dataclass
class UnitRows:
    """The rows that a unit gives to the store, by the folder that they go to, and its patients."""

    unit_key: str
    signature: str
    patients: set[str] = field(default_factory=set)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def ids(self) -> set[str]:
        return {row[KINDS[kind]] for kind, rows in self.rows.items() for row in rows}


class Journal:
    """An open journal; only one process can hold it."""

    def __init__(self, root: Path) -> None:
        """Open or make the journal of the store at `root`, and tidy up after a killed run.

        Raises:
            StoreError: another process writes this store, or the journal is damaged.
        """
        self.root = root
        self._db = sqlite3.connect(root / "ingest.sqlite", timeout=2.0, isolation_level=None)
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._db.close()
            raise StoreError(
                f"another process writes the store {root}; wait for it, or choose another --out"
            ) from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StoreError(
                f"the journal of {root} is damaged; ingest into a new --out"
            ) from error
        self._recover()

    def close(self, finished: bool = False) -> None:
        """Let go of the store; after a run that did not finish, take away what no row names."""
        with contextlib.suppress(OSError, sqlite3.Error):  # a full disk: the next run does it
            if not finished:
                self._remove_unnamed()
            self._set_state("running", "")
        self._db.close()

    # --- files ----------------------------------------------------------------------------------

    def file(self, file_key: str) -> FileRecord | None:
        row = self._db.execute("SELECT * FROM files WHERE file_key = ?", (file_key,)).fetchone()
        return FileRecord(*row) if row else None

    def files(self, file_keys: Sequence[str]) -> dict[str, FileRecord]:
        """What is remembered of some hundred files, by their keys."""
        marks = ", ".join("?" * len(file_keys))
        rows = self._db.execute(f"SELECT * FROM files WHERE file_key IN ({marks})", file_keys)
        return {row[0]: FileRecord(*row) for row in rows}

    def remember_files(self, records: Iterable[FileRecord]) -> None:
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                ((r.file_key, r.stamp, r.kind, r.reason, r.unit_key, r.tags) for r in records),
            )

    # --- units ----------------------------------------------------------------------------------

    def signature(self, unit_key: str) -> str | None:
        """What the unit was made from; None where it is not known, empty where it is half done."""
        row = self._db.execute(
            "SELECT signature FROM units WHERE unit_key = ?", (unit_key,)
        ).fetchone()
        return None if row is None else str(row[0])

    def counts(self) -> dict[str, int]:
        """Units that the store holds."""
        (units,) = self._db.execute("SELECT COUNT(*) FROM units").fetchone()
        return {"units": int(units)}

    def drop(self, unit_keys: Sequence[str]) -> None:
        """Take units and all that they gave out of the store."""
        with self._transaction():
            self._db.executemany(
                "UPDATE units SET signature = '' WHERE unit_key = ?", ((u,) for u in unit_keys)
            )
        going: dict[str, set[str]] = defaultdict(set)
        for unit in unit_keys:
            row = self._db.execute("SELECT part FROM units WHERE unit_key = ?", (unit,)).fetchone()
            if row:
                going[row[0]] |= self._ids_of(unit)
        for part, ids in going.items():
            self._rewrite(part, ids)
        with self._transaction():
            for unit in unit_keys:
                self._db.execute("DELETE FROM outputs WHERE unit_key = ?", (unit,))
                self._forget(unit)
        for ids in going.values():
            for uid in ids:
                if not self._db.execute("SELECT 1 FROM outputs WHERE id = ?", (uid,)).fetchone():
                    for folder in ("volumes", "labels"):
                        (self.root / volume_path(uid, folder)).unlink(missing_ok=True)

    def commit(self, units: Sequence[UnitRows]) -> None:
        """Write the units' rows as one part of the store, then remember it and them."""
        if not units:
            return
        self._take_over({i for unit in units for i in unit.ids()}, {u.unit_key for u in units})
        part = self._next_part()
        for kind in KINDS:
            rows = [row for unit in units for row in unit.rows.get(kind, [])]
            if rows:
                write_part(self.root, kind, part, rows)
        with self._transaction():
            self._db.execute("INSERT INTO parts VALUES (?)", (part,))
            for unit in units:
                self._db.execute(
                    "INSERT OR REPLACE INTO units VALUES (?, ?, ?)",
                    (unit.unit_key, unit.signature, part),
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO outputs VALUES (?, ?)",
                    ((i, unit.unit_key) for i in unit.ids()),
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO patients VALUES (?, ?)",
                    ((patient, unit.unit_key) for patient in unit.patients),
                )

    def compact(self) -> int:
        """Where small parts have become many, make few of them; how many are no longer there."""
        sizes = {row[0]: self._size(row[0]) for row in self._db.execute("SELECT part FROM parts")}
        small = sorted(part for part, size in sizes.items() if size < _SMALL_BYTES)
        if len(small) <= _MANY_PARTS:
            return 0
        groups: list[list[str]] = [[]]
        for part in small:
            if groups[-1] and sum(sizes[p] for p in groups[-1]) + sizes[part] > _MERGED_BYTES:
                groups.append([])
            groups[-1].append(part)
        groups = [group for group in groups if len(group) > 1]
        for group in groups:
            self._merge(group)
        return sum(len(group) - 1 for group in groups)

    # --- patients -------------------------------------------------------------------------------

    def withdrawn(self) -> frozenset[str]:
        """Keys of patients, and of source instances of theirs, that are not to be taken again."""
        return frozenset(row[0] for row in self._db.execute("SELECT key FROM withdrawn"))

    def is_withdrawn(self, patient_key: str) -> bool:
        query = "SELECT 1 FROM withdrawn WHERE key = ? AND kind = 'patient'"
        return self._db.execute(query, (patient_key,)).fetchone() is not None

    def units_of_patient(
        self, patient_key: str, volume_uids: Iterable[str], patient_tags: Iterable[str]
    ) -> set[str]:
        """All units that hold something of a patient.

        Args:
            volume_uids: of the patient.
            patient_tags: keyed hashes of the PatientID, to which those of the units' own files are
                added: they tell whose series a process died at. Other sites may have them too, so
                units that are known to be another patient's are left out.
        """
        query = "SELECT unit_key FROM patients WHERE patient_key = ?"
        units = {row[0] for row in self._db.execute(query, (patient_key,))}
        for uid in volume_uids:
            query = "SELECT unit_key FROM outputs WHERE id = ?"
            units.update(row[0] for row in self._db.execute(query, (uid,)))
        series_tags, tags = set(), set(patient_tags)
        for unit in units:
            query = "SELECT tags FROM files WHERE unit_key = ? AND kind = 'dicom'"
            for (text,) in self._db.execute(query, (unit,)):
                series, patient, *_ = f"{text}  ".split(" ")
                series_tags.add(series)
                tags.add(patient)
        tagged: set[str] = set()
        for tag in tags - {""}:
            query = "SELECT unit_key FROM files WHERE kind = 'dicom' AND tags || ' ' LIKE ?"
            tagged.update(row[0] for row in self._db.execute(query, (f"% {tag} %",)))
        query = "SELECT 1 FROM patients WHERE unit_key = ? AND patient_key != ?"
        others = {u for u in tagged if self._db.execute(query, (u, patient_key)).fetchone()}
        for tag in series_tags - {""}:  # damaged files whose bytes name the series
            query = "SELECT unit_key FROM files WHERE kind != 'dicom' AND tags || ' ' LIKE ?"
            units.update(row[0] for row in self._db.execute(query, (f"{tag} %",)))
        return units | (tagged - others)

    def withdraw(
        self, patient_key: str, instance_keys: Iterable[str], unit_keys: Sequence[str]
    ) -> None:
        """Erase units with their voxels, rows and files, and remember not to take them again.

        Once the first transaction is through, opening the journal finishes what was cut short.
        """
        self._db.execute("PRAGMA secure_delete = ON")
        with self._transaction():
            kinds = [(patient_key, "patient"), *((k, "instance") for k in instance_keys)]
            self._db.executemany("INSERT OR IGNORE INTO withdrawn VALUES (?, ?)", kinds)
            for unit in unit_keys:
                self._db.execute("DELETE FROM files WHERE unit_key = ?", (unit,))
                self._db.execute("UPDATE units SET signature = '' WHERE unit_key = ?", (unit,))
        self.drop(unit_keys)

    # --- whole tables, for a new journal of the same store --------------------------------------

    def table(self, name: str) -> Iterator[tuple[str, ...]]:
        """The rows of a table, in the order of its first column."""
        yield from self._db.execute(f"SELECT * FROM {name} ORDER BY 1")

    def fill(self, name: str, rows: Iterable[tuple[str, ...]]) -> None:
        """Add rows to a table in one transaction."""
        with self._transaction():
            for row in rows:
                marks = ", ".join("?" * len(row))
                self._db.execute(f"INSERT OR REPLACE INTO {name} VALUES ({marks})", row)

    def files_of_unit(self, unit_key: str) -> list[tuple[str, str]]:
        """(file_key, stamp) of each file of a unit, in the order of file_key."""
        query = "SELECT file_key, stamp FROM files WHERE unit_key = ? ORDER BY file_key"
        return self._db.execute(query, (unit_key,)).fetchall()

    # --- inside ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk rolls back itself
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _take_over(self, ids: set[str], by: set[str]) -> None:
        """Volumes that came from elsewhere before, such as from a moved archive, go to `by`."""
        moving: dict[str, set[str]] = defaultdict(set)
        owners: list[tuple[str, str]] = []
        for uid in ids:
            for unit, part in self._db.execute(
                "SELECT o.unit_key, u.part FROM outputs o JOIN units u USING (unit_key) "
                "WHERE o.id = ?",
                (uid,),
            ):
                if unit not in by:
                    moving[part].add(uid)
                    owners.append((uid, unit))
        for part, gone in moving.items():
            self._rewrite(part, gone)
        with self._transaction():
            self._db.executemany("DELETE FROM outputs WHERE id = ? AND unit_key = ?", owners)
            for _, unit in owners:
                if not self._ids_of(unit):
                    self._forget(unit)

    def _forget(self, unit_key: str) -> None:
        for table in ("units", "patients"):
            self._db.execute(f"DELETE FROM {table} WHERE unit_key = ?", (unit_key,))

    def _next_part(self) -> str:
        (last,) = self._db.execute("SELECT MAX(part) FROM parts").fetchone()
        return f"part-{int(last.removeprefix('part-')) + 1 if last else 1:08d}"

    def _size(self, part: str) -> int:
        paths = (self.root / kind / f"{part}.parquet" for kind in KINDS)
        return sum(path.stat().st_size for path in paths if path.is_file())

    def _merge(self, group: list[str]) -> None:
        part = self._next_part()
        for kind in KINDS:
            if any((self.root / kind / f"{old}.parquet").is_file() for old in group):
                write_tables(self.root, kind, part, merged(self.root, kind, group), replaces=group)
        with self._transaction():
            self._db.execute("INSERT INTO parts VALUES (?)", (part,))
            for old in group:
                self._db.execute("UPDATE units SET part = ? WHERE part = ?", (part, old))
                self._db.execute("DELETE FROM parts WHERE part = ?", (old,))
        for kind in KINDS:
            for old in group:
                (self.root / kind / f"{old}.parquet").unlink(missing_ok=True)

    def _ids_of(self, unit_key: str) -> set[str]:
        rows = self._db.execute("SELECT id FROM outputs WHERE unit_key = ?", (unit_key,))
        return {row[0] for row in rows}

    def _rewrite(self, part: str, without: set[str]) -> None:
        for kind in reversed(KINDS):  # the manifest first: no row without its voxels and labels
            path = self.root / kind / f"{part}.parquet"
            if not path.is_file():
                continue
            column, ids = KINDS[kind], pa.array(sorted(without), pa.string())
            there = pq.read_table(path, columns=[column])[column]
            if pc.any(pc.is_in(there, value_set=ids)).as_py():
                kept = rows_without(self.root, kind, part, column, ids)
                write_tables(self.root, kind, part, kept)

    def _set_state(self, name: str, value: str) -> None:
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def _recover(self) -> None:
        row = self._db.execute("SELECT value FROM state WHERE name = 'running'").fetchone()
        if row and row[0]:
            self._remove_unnamed()
        self._set_state("running", "yes")

    def _remove_unnamed(self) -> None:
        named = {row[0] for row in self._db.execute("SELECT part FROM parts")}
        for kind in KINDS:
            for path in (self.root / kind).glob("*.parquet"):
                if path.stem not in named:
                    path.unlink()
            for path in (self.root / kind).glob(".*.partial"):
                path.unlink()
        half_done = self._db.execute("SELECT unit_key FROM units WHERE signature = ''")
        self.drop([row[0] for row in half_done.fetchall()])
        for folder in ("volumes", "labels"):
            for path in (self.root / folder).glob("*/*.b2nd"):
                found = self._db.execute("SELECT 1 FROM outputs WHERE id = ?", (path.stem,))
                if not found.fetchone():
                    path.unlink()
            for path in (self.root / folder).glob("*/.*.partial"):
                path.unlink()
