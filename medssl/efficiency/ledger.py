"""The ledger: an append-only list of what a study did; every line vouches for those before it.

One line of `ledger.jsonl` is one entry: {seq, utc, event, path, sha256, prev, this} and, where the
event has more to say, facts. `this` is the SHA-256 of the 64 hexadecimal digits of `prev` followed
by the canonical JSON of the entry without `this`; `prev` is the line before's `this`, and 64 zeros
on the first line. The last line's `this` is the ledger's root: whoever holds it can tell whether
any line was changed, taken out or added.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from medssl.efficiency.canonical import canonical_json, sha256_bytes
from medssl.errors import StudyError

START = "0" * 64
_KEYS = {"seq", "utc", "event", "path", "sha256", "prev", "this"}


@dataclass(frozen=True)
class Entry:
    """One line of the ledger; `seq` counts from 1, as the lines of the file do."""

    seq: int
    utc: str
    event: str
    path: str | None
    sha256: str | None
    prev: str
    this: str
    facts: dict[str, Any] = field(default_factory=dict)

    def hashed(self) -> str:
        """What `this` has to be: SHA-256(prev, canonical JSON of the entry without `this`)."""
        body = {k: v for k, v in self.as_dict().items() if k != "this"}
        return sha256_bytes(self.prev.encode("ascii", "replace") + canonical_json(body))

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of the line; `facts` is left out where there are none."""
        values: dict[str, Any] = {
            "seq": self.seq,
            "utc": self.utc,
            "event": self.event,
            "path": self.path,
            "sha256": self.sha256,
            "prev": self.prev,
            "this": self.this,
        }
        if self.facts:
            values["facts"] = self.facts
        return values

    def subject(self) -> tuple[str, str | None, bytes]:
        """What the entry is about: a file, or else an event with these facts.

        Of entries about one subject, two in a row with the same hash are one event told twice.
        """
        return self.event, self.path, b"" if self.path else canonical_json(self.facts)


class Ledger:
    """The one writer of a ledger; a second one is refused until this one is closed.

    What a killed process left of a last line is cut off on opening: that event was not told, and
    the resumed study tells it again. An event told twice is written once.

    Raises:
        StudyError: another process writes this ledger, or a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        created = not path.exists()
        self._file: IO[bytes] = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StudyError(
                f"{path}: another process is working on this study; wait for it or stop it"
            ) from error
        try:
            self._entries = read_ledger(path)
        except StudyError:
            self._file.close()
            raise
        self._cut_torn_line()
        self._last = {entry.subject(): entry for entry in self._entries}
        if created:
            _sync_folder(path.parent)

    def append(
        self, event: str, path: str | None = None, sha256: str | None = None, **facts: Any
    ) -> Entry:
        """Write one entry through to the disk and return it.

        Args:
            event: what happened, such as "plan_frozen".
            path: the file it is about, relative to the study, with forward slashes.
            sha256: the hash of that file's bytes.
            facts: JSON values that belong to the event, such as the cell.

        Raises:
            StudyError: `path` leads out of the study.
        """
        if path is not None and not inside(path):
            raise StudyError(f"{path}: a path in the ledger is relative to the study")
        unsigned = Entry(
            seq=len(self._entries) + 1,
            utc=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            event=event,
            path=path,
            sha256=sha256,
            prev=self.root(),
            this="",
            facts=facts,
        )
        last = self._last.get(unsigned.subject())
        if last is not None and last.sha256 == sha256:
            return last
        entry = Entry(**{**unsigned.__dict__, "this": unsigned.hashed()})
        self._file.write(canonical_json(entry.as_dict()) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._entries.append(entry)
        self._last[entry.subject()] = entry
        return entry

    def root(self) -> str:
        """The hash that vouches for every line so far."""
        return root(self._entries)

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries)

    def close(self) -> None:
        """Let another writer in."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut_torn_line(self) -> None:
        whole = self.path.read_bytes().rfind(b"\n") + 1
        if whole < self.path.stat().st_size:
            self._file.truncate(whole)
            os.fsync(self._file.fileno())


def read_ledger(path: Path) -> list[Entry]:
    """The entries of a ledger; a last line without its newline was never finished and is left out.

    Raises:
        StudyError: there is no ledger, or a line is no entry; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StudyError(f"no ledger at {path}") from error
    lines = data.split(b"\n")[:-1]
    return [_parse(line, number, path) for number, line in enumerate(lines, start=1)]


def verify_chain(entries: list[Entry]) -> list[str]:
    """What is wrong with the chain, in words; empty where it is whole."""
    problems = []
    previous = START
    for position, entry in enumerate(entries, start=1):
        if entry.seq != position:
            problems.append(f"line {position} has seq {entry.seq}: a line is missing or moved")
        if entry.prev != previous:
            problems.append(f"line {position} does not follow from the line before it")
        if entry.this != entry.hashed():
            problems.append(f"line {position} was changed: its hash does not recompute")
        previous = entry.this
    return problems


def root(entries: list[Entry]) -> str:
    """`this` of the last entry; 64 zeros where there is none."""
    return entries[-1].this if entries else START


def inside(path: str) -> bool:
    """Whether a ledger's path stays within the study's folder."""
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts and "\\" not in path


def _parse(line: bytes, number: int, path: Path) -> Entry:
    try:
        values = json.loads(line)
        entry = Entry(**values)
        canonical_json(entry.as_dict())
    except (ValueError, TypeError, RecursionError) as error:
        raise StudyError(f"{path}, line {number}: not a ledger entry") from error
    texts = (entry.utc, entry.event, entry.prev, entry.this)
    optional = (entry.path, entry.sha256)
    if (
        not values.keys() >= _KEYS
        or type(entry.seq) is not int
        or not all(isinstance(text, str) for text in texts)
        or not all(text is None or isinstance(text, str) for text in optional)
        or not isinstance(entry.facts, dict)
    ):
        raise StudyError(f"{path}, line {number}: not a ledger entry")
    return entry


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
