"""Which NIfTI files are labels, and of which images: by the names that data sets use.

A label is in the place of its image (see `names`), or elsewhere under a name with a number in it.
A file of any other name that extends the name of an image (case1, case1_DLMUSE) is a label map
where its voxels look like labels. Names are kept in a private SQLite database without a name on
disk, so that memory stays flat for millions of files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from medssl.archive.names import Name, distant_key, parse_name
from medssl.archive.reasons import Reason

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -16384;
CREATE TABLE names (
    id INTEGER PRIMARY KEY, relative BLOB, scope BLOB, stem BLOB, parent BLOB,
    is_label INTEGER, role_folder INTEGER, is_map INTEGER DEFAULT 0);
CREATE TABLE owners (id INTEGER PRIMARY KEY, owner INTEGER);
CREATE TABLE maps (relative BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE keys (key BLOB, scope BLOB, image INTEGER, exact INTEGER, channel TEXT);
CREATE TABLE claims (label INTEGER, image INTEGER, how TEXT);
CREATE TABLE paired (image INTEGER PRIMARY KEY, label INTEGER);
CREATE TABLE unpaired (label INTEGER PRIMARY KEY, reason TEXT);
CREATE TABLE labelled_scopes (scope BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE labelled_parents (parent BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_IMAGE = "NOT is_label AND NOT is_map"
_SEPARATORS = b"_.- "
_WITHOUT, _AMBIGUOUS = Reason.LABEL_WITHOUT_IMAGE, Reason.LABEL_AMBIGUOUS
_Claim = tuple[int, int | None, str]  # label, image or none, "near", "distant" or why none


class Pairing:
    """All NIfTI names of an archive: `add` each once, `index`, `pair`, then read the outcome."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def add(self, relatives: Iterable[str]) -> None:
        """Take in archive-relative paths, no path twice."""
        self._db.executemany(
            "INSERT INTO names (relative, scope, stem, parent, is_label, role_folder) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            map(_row, relatives),
        )

    def index(self) -> None:
        """To be called once, after the last `add`."""
        self._db.execute("CREATE INDEX by_relative ON names (relative)")
        self._db.execute("CREATE INDEX by_stem ON names (stem, scope) WHERE NOT is_label")
        self._db.executemany("INSERT INTO owners VALUES (?, ?)", self._derived())

    def extended_names(self) -> Iterator[tuple[str, str]]:
        """Files that no word calls a label and whose stem extends another's, with that other file.

        Whether they are label maps their voxels must tell (case1 and case1_DLMUSE; but also case1
        and case1_brain). In the order of the names.
        """
        rows = self._db.execute(
            "SELECT n.relative, o.relative FROM owners CROSS JOIN names n ON n.id = owners.id "
            "CROSS JOIN names o ON o.id = owners.owner ORDER BY n.relative"
        )
        return ((_text(relative), _text(owner)) for relative, owner in rows)

    def pair(self, label_maps: Iterable[str]) -> None:
        """Sort the files into images and labels, and give each image its label. Called once.

        Args:
            label_maps: those of `extended_names` whose voxels are labels.
        """
        self._mark_maps(label_maps)
        if self._any("names", "is_label"):
            self._db.execute(f"CREATE INDEX by_scope ON names (scope, stem) WHERE {_IMAGE}")
            self._db.executemany("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", self._keys())
            self._db.execute("CREATE INDEX by_key ON keys (key, scope)")
            self._db.executemany("INSERT INTO claims VALUES (?, ?, ?)", self._claims())
        if self._any("claims", "1"):
            self._settle()
            self._find_labelled_places()

    def images(self) -> Iterator[tuple[str, str | None, bool]]:
        """Each image with its label or none, in the order of the names.

        The third value tells an image without a label where others of the same folder, or of
        folders like it, have one.
        """
        rows = self._db.execute(
            "SELECT n.relative, l.relative, paired.image IS NULL AND ("
            "n.scope IN labelled_scopes OR n.parent IN labelled_parents) "
            "FROM names n LEFT JOIN paired ON paired.image = n.id "
            "LEFT JOIN names l ON l.id = paired.label "
            "WHERE NOT n.is_label AND NOT n.is_map ORDER BY n.relative"
        )
        for image, label, lacks in rows:
            yield _text(image), None if label is None else _text(label), bool(lacks)

    def paired_labels(self) -> Iterator[str]:
        """The labels that `images` gives."""
        rows = self._db.execute(
            "SELECT relative FROM names WHERE id IN (SELECT label FROM paired) ORDER BY relative"
        )
        return (_text(relative) for (relative,) in rows)

    def unpaired_labels(self) -> Iterator[tuple[str, Reason]]:
        """The labels that are given to no image, and why."""
        rows = self._db.execute(
            "SELECT relative, reason FROM unpaired JOIN names ON id = label ORDER BY relative"
        )
        return ((_text(relative), Reason[reason]) for relative, reason in rows)

    def close(self) -> None:
        self._db.close()

    # --- label maps by their voxels -------------------------------------------------------------

    def _derived(self) -> Iterator[tuple[int, int]]:
        """Files whose stem extends that of exactly one other file: the longest such one.

        In the order of stems, all stems that begin this one lie on a stack.
        """
        stack: list[bytes] = []
        rows = self._db.execute(
            "SELECT id, stem, scope FROM names WHERE NOT is_label ORDER BY stem, scope"
        )
        for number, stem, scope in rows:
            while stack and not stem.startswith(stack[-1]):
                stack.pop()
            if not stack or stack[-1] != stem:
                stack.append(stem)
            for shorter in reversed(stack[:-1]):
                if stem[len(shorter)] in _SEPARATORS:
                    owner = self._only_image(shorter, scope)
                    if owner is not None:
                        yield number, owner
                        break

    def _only_image(self, stem: bytes, scope: bytes) -> int | None:
        query = "SELECT id FROM names WHERE NOT is_label AND stem = ?"
        there = self._db.execute(f"{query} AND scope = ? LIMIT 2", (stem, scope)).fetchall()
        there = there or self._db.execute(f"{query} LIMIT 2", (stem,)).fetchall()
        return int(there[0][0]) if len(there) == 1 else None

    def _mark_maps(self, label_maps: Iterable[str]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO maps VALUES (?)", ((_blob(name),) for name in label_maps)
        )
        self._db.execute(
            "UPDATE names SET is_map = 1 WHERE id IN (SELECT owners.id FROM maps CROSS JOIN "
            "names n ON n.relative = maps.relative CROSS JOIN owners ON owners.id = n.id)"
        )
        self._db.execute(  # a label map of a label map has no image
            "INSERT INTO claims SELECT m.id, CASE WHEN o.is_map THEN NULL ELSE o.id END, "
            "CASE WHEN o.is_map THEN ? ELSE 'near' END FROM maps CROSS JOIN names m "
            "ON m.relative = maps.relative CROSS JOIN owners ON owners.id = m.id "
            "CROSS JOIN names o ON o.id = owners.owner",
            (_WITHOUT.value,),
        )

    # --- labels by their names ------------------------------------------------------------------

    def _keys(self) -> Iterator[tuple[bytes, bytes | None, int, bool, str | None]]:
        """Images by what a label of theirs may be called; the key of no scope holds anywhere."""
        for number, relative in self._db.execute(f"SELECT id, relative FROM names WHERE {_IMAGE}"):
            image = parse_name(_text(relative))
            for key in image.keys:
                exact = key in (image.stem, image.case)
                yield _blob(key), _blob(image.scope), number, exact, image.channel
            if image.bids_key is not None:
                yield _blob(image.bids_key), None, number, False, None

    def _claims(self) -> Iterator[_Claim]:
        for number, relative in self._db.execute("SELECT id, relative FROM names WHERE is_label"):
            yield from self._claims_of(number, parse_name(_text(relative)))

    def _claims_of(self, number: int, label: Name) -> Iterator[_Claim]:
        """The images of a label, in its own place before elsewhere; or one row with why none."""
        scope = _blob(label.scope)
        for key in dict.fromkeys((label.stem, label.case)):
            there = self._db.execute(
                "SELECT image, exact, channel FROM keys WHERE key = ? AND scope = ?",
                (_blob(key), scope),
            ).fetchall()
            if there:
                yield from _one_or_channels(number, there)
                return
        if not label.case:
            scans = self._db.execute(
                f"SELECT id FROM names WHERE {_IMAGE} AND scope = ? LIMIT 2", (scope,)
            ).fetchall()
            if len(scans) == 2:
                yield number, None, _AMBIGUOUS.value
                return
            if scans:
                yield number, scans[0][0], "near"
                return
        elif not label.role_folder:
            found = False
            for image in self._longer(scope, _blob(label.case)):
                found = True
                yield number, image, "near"
            if found:
                return
        yield self._distant(number, label)

    def _longer(self, scope: bytes, case: bytes) -> Iterator[int]:
        """Images of the place whose names are that of the label and more."""
        for separator in _SEPARATORS:
            ends = (case + bytes([separator]), case + bytes([separator + 1]))
            rows = self._db.execute(
                f"SELECT id FROM names WHERE {_IMAGE} AND scope = ? AND stem >= ? AND stem < ?",
                (scope, *ends),
            )
            yield from (number for (number,) in rows)

    def _distant(self, number: int, label: Name) -> _Claim:
        """The one image in another folder whose name, one with a number in it, is the label's."""
        key = distant_key(label)
        if key is not None:
            there = self._db.execute(
                "SELECT n.id, n.role_folder FROM keys CROSS JOIN names n ON n.id = keys.image "
                "WHERE key = ? LIMIT 2",
                (_blob(key),),
            ).fetchall()
            # labelsTr/x is not for imagesTs/x, nor a/labels/x for b/images/x.
            if len(there) == 1 and not (label.role_folder and there[0][1]):
                return number, there[0][0], "distant"
        return number, None, _WITHOUT.value

    # --- outcome --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """One claim makes a pair; a label that is refused for one image is not another's."""
        self._db.execute("CREATE INDEX by_image ON claims (image, how, label)")
        self._db.execute(  # what is in the place of the image goes before what is elsewhere
            "UPDATE claims SET image = NULL, how = ? WHERE how = 'distant' AND EXISTS "
            "(SELECT 1 FROM claims near WHERE near.image = claims.image AND near.how = 'near')",
            (_WITHOUT.value,),
        )
        self._db.execute("INSERT INTO unpaired SELECT label, how FROM claims WHERE image IS NULL")
        self._db.execute(
            "INSERT OR IGNORE INTO unpaired SELECT label, ? FROM claims WHERE image IN (SELECT "
            "image FROM claims WHERE image NOT NULL GROUP BY image HAVING COUNT(*) > 1)",
            (_AMBIGUOUS.value,),
        )
        self._db.execute(
            "INSERT INTO paired SELECT image, label FROM (SELECT image, MIN(label) label "
            "FROM claims WHERE image NOT NULL GROUP BY image HAVING COUNT(*) = 1) "
            "WHERE label NOT IN (SELECT label FROM unpaired)"
        )

    def _find_labelled_places(self) -> None:
        for what in ("scope", "parent"):
            self._db.execute(
                f"INSERT OR IGNORE INTO labelled_{what}s SELECT {what} FROM paired "
                f"JOIN names ON names.id = paired.image WHERE {what} NOT NULL"
            )

    def _any(self, table: str, condition: str) -> bool:
        query = f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1"
        return self._db.execute(query).fetchone() is not None


def _one_or_channels(label: int, there: list[tuple[int, int, str | None]]) -> Iterator[_Claim]:
    """Claims on the one image of a key, or on all where these are channels of one case."""
    chosen = [row for row in there if row[1]] or there
    channels = {channel for _, _, channel in chosen if channel is not None}
    if len(chosen) > 1 and len(channels) != len(chosen):
        yield label, None, _AMBIGUOUS.value
    else:
        yield from ((label, image, "near") for image, _, _ in chosen)


def _row(relative: str) -> tuple[Any, ...]:
    name = parse_name(relative)
    parent = None if name.parent is None else _blob(name.parent)
    return (
        _blob(relative),
        _blob(name.scope),
        _blob(name.stem),
        parent,
        name.is_label,
        name.role_folder,
    )


def _blob(text: str) -> bytes:
    """Also of names that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogateescape")
