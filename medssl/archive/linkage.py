"""The linkage file: from keys back to sources and patients, only where the user asks for it.

While a run goes on, rows are kept in a SQLite file beside it, so that a killed run loses none; both
have mode 0600. No part of the store or of a log ever holds what is in here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import ConfigError

COLUMNS = (
    "unit_key", "source", "patient_id", "issuer", "study_uid", "series_uid", "part",
    "patient_key", "series_key", "volume_uid", "source_key", "outcome", "reason_code",
    "archive", "preimages",
)  # fmt: skip
_AT_ONCE = 10_000


@dataclass(frozen=True)
class LinkageRow:
    """One volume, label or rejection, with where it comes from in the archive's own terms.

    `archive` is the true path of the archive's folder; `preimages`, on one row of a unit, is what
    each of its keyed hashes was made of, as JSON: `medssl keygen --rotate` makes new ones of it.
    """

    unit_key: str
    source: str
    patient_id: str = ""
    issuer: str = ""
    study_uid: str = ""
    series_uid: str = ""
    part: str = ""
    patient_key: str = ""
    series_key: str = ""
    volume_uid: str = ""
    source_key: str = ""
    outcome: str = ""
    reason_code: str = ""
    archive: str = ""
    preimages: str = ""


class Linkage:
    """An open linkage file; rows of a unit replace those of an earlier run."""

    def __init__(self, path: Path, archive: str = "") -> None:
        """`archive`: that of new rows. Raises ConfigError where the file is no linkage file."""
        self.path = path
        self._archive = archive
        self._work = path.with_name(f".{path.name}.sqlite")
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._work, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(self._work, isolation_level=None)
        columns = ", ".join(f"{name} TEXT" for name in COLUMNS)
        self._db.execute(f"CREATE TABLE IF NOT EXISTS linkage ({columns})")
        self._db.execute("CREATE INDEX IF NOT EXISTS by_unit ON linkage (unit_key)")
        if path.is_file():
            self._load()

    def knows(self, unit_key: str) -> bool:
        found = self._db.execute("SELECT 1 FROM linkage WHERE unit_key = ? LIMIT 1", (unit_key,))
        return found.fetchone() is not None

    def replace(self, unit_keys: Iterable[str], rows: Iterable[LinkageRow]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM linkage WHERE unit_key = ?", ((u,) for u in unit_keys))
        self._insert(astuple(replace(row, archive=self._archive)) for row in rows)
        self._db.execute("COMMIT")

    def remove_patient(self, patient_key: str, patient_id: str, unit_keys: Iterable[str]) -> int:
        """Take out a patient's rows, and all of these units; how many there were."""
        before = self._db.total_changes
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM linkage WHERE patient_key = ?", (patient_key,))
        if patient_id:
            self._db.execute("DELETE FROM linkage WHERE trim(patient_id) = ?", (patient_id,))
        self._db.executemany("DELETE FROM linkage WHERE unit_key = ?", ((u,) for u in unit_keys))
        self._db.execute("COMMIT")
        return self._db.total_changes - before

    def finish(self) -> None:
        """Write the Parquet file whole, mode 0600, and take the working file away."""
        rows = self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM linkage ORDER BY rowid")
        write_linkage(self.path, (LinkageRow(*row) for row in rows))
        self._db.close()
        self._work.unlink(missing_ok=True)

    def close(self) -> None:
        self._db.close()

    def _load(self) -> None:
        try:
            fresh = {row[0] for row in self._db.execute("SELECT DISTINCT unit_key FROM linkage")}
            self._db.execute("BEGIN")
            known = (row for row in read_linkage(self.path) if row.unit_key not in fresh)
            self._insert(astuple(row) for row in known)
            self._db.execute("COMMIT")
        except ConfigError:
            self._db.close()
            self._work.unlink(missing_ok=True)
            raise

    def _insert(self, rows: Iterable[tuple[str, ...]]) -> None:
        marks = ", ".join("?" * len(COLUMNS))
        self._db.executemany(f"INSERT INTO linkage VALUES ({marks})", rows)


def read_linkage(path: Path) -> Iterator[LinkageRow]:
    """The rows of a linkage file, in pieces.

    Raises:
        ConfigError: the file is no linkage file, or of an older medssl.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_AT_ONCE, columns=list(COLUMNS)):
                if set(batch.schema.names) != set(COLUMNS):
                    raise KeyError
                for row in batch.to_pylist():
                    yield LinkageRow(**row)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} is there and is no linkage file of this medssl; choose another --linkage"
        ) from error


def write_linkage(path: Path, rows: Iterable[LinkageRow]) -> None:
    """Write a linkage file whole, mode 0600."""
    partial = path.with_name(f".{path.name}.partial")
    handle = os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    left = iter(rows)
    try:
        with (
            os.fdopen(handle, "wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            while some := [asdict(row) for row in islice(left, _AT_ONCE)]:
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
