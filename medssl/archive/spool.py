"""A list that may outgrow memory: what is appended is kept on disk, in a file without a name."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Spool(Generic[Item]):
    """Picklable items, appended one by one and read back in their order, as often as asked.

    They may hold paths and so identify patients: the SQLite database has no name on disk and is
    gone with the process, as that of the catalogue.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE items (number INTEGER PRIMARY KEY, item BLOB)")
        self._db.execute("BEGIN")
        self._length = 0

    def append(self, item: Item) -> None:
        self._db.execute("INSERT INTO items (item) VALUES (?)", (pickle.dumps(item),))
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        rows = self._db.execute("SELECT item FROM items ORDER BY number")
        return (pickle.loads(item) for (item,) in rows)

    def close(self) -> None:
        self._db.close()
