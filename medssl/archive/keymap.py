"""From keys under one secret to keys under another, by what they were made of.

Every hash is made again under the old secret first; one that does not come out as it stands is
refused, so that nothing is carried over by guess. Lies in a database without a name on disk, gone
with the process: whoever held it beside a secret that leaked could undo the new keys too.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping

from medssl.archive.find import Found
from medssl.archive.identity import Key
from medssl.archive.look import Archive
from medssl.errors import ConfigError

_DIGEST = re.compile(r"[0-9a-f]{32}")


class KeyMap:
    """The new key of every old one that has been learnt."""

    def __init__(self, old: Key, new: Key) -> None:
        self.old, self.new = old, new
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE keys (old TEXT PRIMARY KEY, new TEXT) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def get(self, old: str) -> str | None:
        """The new key, or None."""
        row = self._db.execute("SELECT new FROM keys WHERE old = ?", (old,)).fetchone()
        return str(row[0]) if row else None

    def get_all(self, old: Iterable[str]) -> list[str | None]:
        """The new keys in the order of the old; empty stays empty."""
        known: dict[str, str | None] = {"": ""}
        return [known[k] if k in known else known.setdefault(k, self.get(k)) for k in old]

    def add(self, old: str, new: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", (old, new))

    def learn(self, preimages: Mapping[str, tuple[str, ...]]) -> None:
        """Take over what was recorded; keys inside of others are renewed first.

        Raises:
            ConfigError: a recorded hash is not of the old secret.
        """
        left = dict(preimages)
        while left:
            ready = [d for d, fields in left.items() if not left.keys() & set(fields)]
            for digest in ready:
                fields = left.pop(digest)
                if self.old.hmac(*fields) != digest:
                    raise ConfigError("the linkage file was not written under the old key")
                self.add(digest, self.new.hmac(*self.renewed(fields)))
            if not ready:
                raise ConfigError("the linkage file is damaged: its hashes go round in circles")

    def renewed(self, fields: Iterable[str]) -> list[str]:
        """Fields with the keys among them renewed, where they are known."""
        return [(self.get(f) or f) if is_key(f) else f for f in fields]

    def learn_file(self, place: Archive, found: Found) -> tuple[str, str]:
        """A file that is there now: its old and its new key, and what is read by itself of it."""
        old_key = place.file_key(found)
        renewed = Archive(place.root, self.new)
        new_key = renewed.file_key(found)
        self.add(old_key, new_key)
        self.add(place.unit_of_file(old_key), renewed.unit_of_file(new_key))
        self.add(self.old.hmac("source", old_key, ""), self.new.hmac("source", new_key, ""))
        return old_key, new_key

    def close(self) -> None:
        self._db.close()


def is_key(text: str) -> bool:
    """Whether a text looks like a keyed hash."""
    return _DIGEST.fullmatch(text) is not None
