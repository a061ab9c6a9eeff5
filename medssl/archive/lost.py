"""Slices that are lost without a gap: a damaged file beside a series whose end may be missing.

A file whose own header cannot be read belongs to a series where its bytes still hold the series'
UID; that series then certainly lacks it. Where they hold none, its name ties it to a series in its
folder: the one series whose files have names of its pattern (digits replaced); or, where several
share the pattern, the one whose names differ from its own in their last number alone; or, where
several do, those that its number follows or precedes without a gap in the numbering. Such a series
is refused rather than taken short, but for what shows that it is whole:

- a sound file of the same name, but for its ending, lies beside the damaged one;
- the damaged file's SOP instance is there in a sound file;
- its folder is a copy: each sound slice in it is also elsewhere, and more slices are;
- the headers declare how many images there are, and so many came;
- the names number the slices along their positions, and its own lies inside that run: a slice lost
  there would have left a gap;
- the names rise with InstanceNumber, and by its own the damaged one would have a number below 1.

A file that is whole in itself (enhanced, mosaic) is no stack that a neighbour could be a slice of.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from medssl.archive.cases import series_tag
from medssl.archive.find import FileKind
from medssl.archive.identity import Key
from medssl.archive.reasons import Reason

if TYPE_CHECKING:
    from medssl.archive.catalogue import Catalogue, Entry
    from medssl.archive.dicom import Header

_SEARCHED_BYTES = 1 << 16
_NUMBER = re.compile(r"(?=[0-9a-f]*\d)[0-9a-f]{8,}|\d+")  # digits, or a long hexadecimal number
_LAST_NUMBER = re.compile(r"(?<!\d)\d{1,18}(?=\D*$)")
_ENDINGS = (".dcm", ".ima", ".dicom", ".dic")
_UID = re.compile(rb"[0-9][0-9.]{0,63}")
_UID_BYTES = [bytes([byte]) for byte in b"0123456789."]
_SERIES = (0x0020, 0x000E)
_STUDY = (0x0020, 0x000D)
_INSTANCE = (0x0008, 0x0018)
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


@dataclass(frozen=True, slots=True)
class Lost:
    """What a series has lost: files that are certainly its own, and files that may be."""

    certain: int = 0
    beside: tuple[Path, ...] = ()


def tags_in_bytes(key: Key, path: Path) -> str:
    """Keyed hashes of the series and the SOP instance that a damaged file's bytes name, or ""."""
    try:
        with path.open("rb") as file:
            head = file.read(_SEARCHED_BYTES)
    except OSError:
        return ""
    series = _own_series(head)
    if not series:
        return ""
    instance = next(iter(_uids(head, _INSTANCE)), ("", 0, 0))[0]
    hashed = key.hmac("instance", instance) if instance else ""
    return f"{series_tag(key, series)} {hashed}".rstrip()


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
        relative = entry.found.relative
        run, number = _run(relative)
        if entry.reason not in _DAMAGED or (number is None and not entry.tags):
            return False
        tag, _, instance = entry.tags.partition(" ")
        sign = f"{entry.file_key} {entry.found.stamp}"
        path = os.fsencode(entry.found.path)
        row = (_place(relative), run, number, tag, instance, path, sign)
        self._db.execute("INSERT INTO damaged VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return True

    def _see_series(self, unit_key: str, files: list[tuple[str, str, str, str]]) -> None:
        tag = files[0][3].partition(" ")[0]
        self._db.execute("INSERT OR IGNORE INTO series VALUES (?, ?)", (tag, unit_key))
        for place in {_place(relative) for _, _, relative, _ in files}:
            self._db.execute("INSERT OR IGNORE INTO places VALUES (?, ?)", (place, unit_key))
        runs = [_run(relative) for _, _, relative, _ in files]
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


def still_lost(files: Iterable[LostFile], headers: Sequence[Header], key: Key) -> Lost:
    """Of the files tied to a series, those that no sound file of it stands for."""
    files = list(files)
    if not files:
        return Lost()
    names = {(h.path.parent, _without_ending(h.path.name)) for h in headers}
    instances = {key.hmac("instance", h.instance) for h in headers}
    left = [
        f
        for f in files
        if f.instance not in instances
        and (f.path.parent, _without_ending(f.path.name)) not in names
    ]
    beside = tuple(f.path for f in left if not f.certain)
    return Lost(certain=len(left) - len(beside), beside=beside)


def may_be_slices(
    damaged: Sequence[Path], stack: Sequence[Header], instances: Mapping[Path, str]
) -> int:
    """How many damaged files may be slices of a stack that is without a gap.

    Args:
        damaged: files beside the series.
        stack: the stack's own files, one a slice, along its normal.
        instances: the SOP instance of each sound file of the series, copies included.
    """
    by_folder: dict[Path, list[Path]] = {}
    for path in damaged:
        by_folder.setdefault(path.parent, []).append(path)
    count = 0
    for folder, files in by_folder.items():
        here = {uid for path, uid in instances.items() if path.parent == folder}
        elsewhere = {uid for path, uid in instances.items() if path.parent != folder}
        is_copy = here <= elsewhere and len(elsewhere - here) >= len(files)
        if not is_copy:
            count += sum(
                not (_inside_run(path, stack) or _before_first(path, stack)) for path in files
            )
    return count


def _inside_run(damaged: Path, stack: Sequence[Header]) -> bool:
    """Whether the names number the slices along the stack, and this one lies within."""
    numbers = [
        _numbers(h.path.name)
        for h in stack
        if h.path.parent == damaged.parent and _pattern(h.path.name) == _pattern(damaged.name)
    ]
    if len(numbers) < max(3, len(stack)):
        return False
    if numbers[0] > numbers[-1]:
        numbers.reverse()
    rising = all(a < b for a, b in pairwise(numbers))
    return rising and numbers[0] < _numbers(damaged.name) < numbers[-1]


def _before_first(damaged: Path, stack: Sequence[Header]) -> bool:
    """Whether names and InstanceNumbers rise together, and this one's would be below 1."""
    run, number = _run(str(damaged))
    offsets = set()
    for header in stack:
        its_run, its_number = _run(str(header.path))
        if its_run != run or its_number is None or header.instance_number is None:
            return False
        offsets.add(its_number - header.instance_number)
    return number is not None and len(offsets) == 1 and number - offsets.pop() < 1


def _pattern(name: str) -> str:
    return _NUMBER.sub("#", name.lower())


def _numbers(name: str) -> list[int]:
    return [int(found, 16) for found in _NUMBER.findall(name.lower())]


def _place(relative: str) -> int:
    """Folder and pattern of a name, as a number of this process alone."""
    folder, name = os.path.split(relative)
    return hash((folder, _pattern(name)))


def _run(relative: str) -> tuple[int, int | None]:
    """Folder and name but for its last number, as a number of this process; and that number."""
    folder, name = os.path.split(relative)
    found = _LAST_NUMBER.search(name)
    if found is None:
        return hash((folder, name)), None
    rest = name[: found.start()], name[found.end() :]
    return hash((folder, *rest)), int(found[0])


def _without_ending(name: str) -> str:
    path = PurePath(name.lower())
    return path.stem if path.suffix in _ENDINGS else name.lower()


def _own_series(head: bytes) -> str:
    """The SeriesInstanceUID of the data set itself: the one right after its StudyInstanceUID.

    A referenced series carries the same tag, but without a study before it.
    """
    found = list(_uids(head, _SERIES))
    ends = {end for *_, end in _uids(head, _STUDY)}
    own = [uid for uid, start, _ in found if start in ends]
    return (own or [uid for uid, *_ in found] or [""])[0]


def _uids(head: bytes, tag: tuple[int, int]) -> Iterable[tuple[str, int, int]]:
    """(UID, where its element starts, where it ends), in explicit and implicit encodings."""
    for order in ("little", "big"):
        mark = b"".join(part.to_bytes(2, order) for part in tag)
        at = head.find(mark)
        while at >= 0:
            explicit = head[at + 4 : at + 6] == b"UI"
            size = head[at + 6 : at + 8] if explicit else head[at + 4 : at + 8]
            length = int.from_bytes(size, order)
            end = at + 8 + length
            value = head[at + 8 : end].rstrip(b"\0 ") if length <= 64 else b""
            cut = len(head) < end or head[end : end + 1] in _UID_BYTES
            if _UID.fullmatch(value) and not cut:
                yield value.decode("ascii"), at, at + 8 + length
            at = head.find(mark, at + 1)
