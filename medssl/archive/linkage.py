"""The linkage file: from keys back to sources and patients, only where the user asks for it.

While a run goes on, rows are kept in a SQLite file beside it, so that a killed run loses none; both
have mode 0600. No part of the store or of a log ever holds what is in here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import ConfigError

COLUMNS = (
    "unit_key", "source", "patient_id", "issuer", "study_uid", "series_uid", "part",
    "patient_key", "series_key", "volume_uid", "source_key", "outcome", "reason_code",
)  # fmt: skip


@dataclass(frozen=True)
class LinkageRow:
    """One volume, label or rejection, with where it comes from in the archive's own terms."""

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


class Linkage:
    """An open linkage file; rows of a unit replace those of an earlier run."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file is there and is no linkage file."""
        self.path = path
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
        self._insert([astuple(row) for row in rows])
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
        columns = list(zip(*rows.fetchall(), strict=True)) or [()] * len(COLUMNS)
        table = pa.table(
            {n: pa.array(c, pa.string()) for n, c in zip(COLUMNS, columns, strict=True)}
        )
        partial = self.path.with_name(f".{self.path.name}.partial")
        handle = os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                pq.write_table(table, file)
            os.replace(partial, self.path)
        finally:
            partial.unlink(missing_ok=True)
        self._db.close()
        self._work.unlink(missing_ok=True)

    def close(self) -> None:
        self._db.close()

    def _load(self) -> None:
        try:
            table = pq.read_table(self.path, columns=list(COLUMNS))
        except (OSError, pa.ArrowException) as error:
            self._db.close()
            self._work.unlink(missing_ok=True)
            raise ConfigError(
                f"{self.path} is there and is no linkage file; choose another --linkage"
            ) from error
        fresh = {row[0] for row in self._db.execute("SELECT DISTINCT unit_key FROM linkage")}
        rows = [tuple(row[n] for n in COLUMNS) for row in table.to_pylist()]
        self._db.execute("BEGIN")
        self._insert([row for row in rows if row[0] not in fresh])
        self._db.execute("COMMIT")

    def _insert(self, rows: list[tuple[str, ...]]) -> None:
        marks = ", ".join("?" * len(COLUMNS))
        self._db.executemany(f"INSERT INTO linkage VALUES ({marks})", rows)
