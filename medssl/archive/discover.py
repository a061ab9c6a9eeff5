"""One walk through the archive into a catalogue: every file with what it is.

A file that an earlier run knows, unchanged, is not opened again. The others are looked at in
guarded processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from medssl.archive.catalogue import PACKED_TAG, Catalogue, Entry
from medssl.archive.cluster import ClusterPool
from medssl.archive.find import FileKind, Found, WalkCounts, stamp_of, walk
from medssl.archive.journal import FileRecord, Journal
from medssl.archive.look import Archive, Looked
from medssl.archive.pool import Failure, Pool
from medssl.archive.reasons import Reason
from medssl.archive.scratch import Scratch
from medssl.progress import Progress

_FILES_AT_ONCE = 64
_ASKED_AT_ONCE = 256
LookPool = Pool[Found, Looked] | ClusterPool[Found, Looked]


@dataclass
class Discovery:
    """The catalogue of a walk, and what the walk passed over."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    walked: WalkCounts = field(default_factory=WalkCounts)
    num_files: int = 0
    packed: Catalogue | None = None  # what is still to be unpacked, where it is

    def add(self, entry: Entry) -> None:
        opened = entry.reason == Reason.ARCHIVE_FILE and not entry.found.packed
        into = self.packed if self.packed is not None and opened else self.catalogue
        into.add(entry)


def discover(
    archive: Archive,
    journal: Journal | None,
    pool: Callable[[], LookPool],
    progress: Progress,
    scratch: Scratch | None = None,
) -> Discovery:
    """Walk the archive, and what is packed in it where there is a scratch folder for that.

    `journal` is that of the store where there is one.
    """
    out = Discovery(packed=Catalogue() if scratch is not None else None)
    with pool() as lookers:
        progress.start("finding files", None)
        _look_at(files_of(archive, out.walked), archive, journal, out, lookers, progress)
        progress.finish()
        if scratch is not None and out.packed is not None:
            progress.start("unpacking", None)
            members = scratch.members(out.packed, out.catalogue, out.walked)
            _look_at(members, archive, journal, out, lookers, progress)
            out.packed.close()
            progress.finish()
    out.catalogue.index()
    return out


def _look_at(
    files: Iterator[Found],
    archive: Archive,
    journal: Journal | None,
    out: Discovery,
    lookers: LookPool,
    progress: Progress,
) -> None:
    for found, answer in lookers.map(_new_files(files, archive, journal, out, progress)):
        file_key = archive.file_key(found)
        if isinstance(answer, Failure):
            unit_key = archive.unit_of_file(file_key)
            answer = Looked(FileKind.REFUSED, answer.reason.value, answer.detail, unit_key=unit_key)
        record = journal.file(file_key) if journal else None
        out.add(_entry(file_key, found, answer, record))
        progress.advance()


def _new_files(
    files: Iterator[Found],
    archive: Archive,
    journal: Journal | None,
    out: Discovery,
    progress: Progress,
) -> Iterator[Sequence[Found]]:
    """Catalogues the files that an earlier run knows; the others come out to be looked at."""
    batch: list[Found] = []
    while group := list(islice(files, _ASKED_AT_ONCE)):
        out.num_files += len(group)
        keys = [archive.file_key(found) for found in group]
        known = journal.files(keys) if journal else {}
        for file_key, found in zip(keys, group, strict=True):
            record = known.get(file_key)
            if record is not None and record.stamp == found.stamp and found.size >= 0:
                out.add(_known(file_key, found, record))
                progress.advance()
                continue
            batch.append(found)
            if len(batch) == _FILES_AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


def _known(file_key: str, found: Found, record: FileRecord) -> Entry:
    """A file that has not changed since an earlier run."""
    kind, reason = FileKind(record.kind), record.reason
    if record.tags == PACKED_TAG:  # whatever came of it: whether it is opened may change
        kind, reason = FileKind.REFUSED, Reason.ARCHIVE_FILE.value
    unit = record.unit_key
    return Entry(
        file_key, found, kind, reason, "", unit, old_unit=unit, tags=record.tags, fresh=False
    )


def files_of(archive: Archive, counts: WalkCounts) -> Iterator[Found]:
    """Every file of an archive, be it a folder or a single file."""
    if archive.root.is_dir():
        yield from walk(archive.root, counts)
    else:
        about = archive.root.stat()
        parent, name = str(archive.root.parent), archive.root.name
        yield Found(parent, name, about.st_size, stamp_of(about))


def _entry(file_key: str, found: Found, looked: Looked, record: FileRecord | None) -> Entry:
    """A file that is new or has changed."""
    return Entry(
        file_key,
        found,
        looked.kind,
        looked.reason,
        looked.detail,
        looked.unit_key,
        old_unit=record.unit_key if record else "",
        tags=looked.tags,
        header=looked.header,
    )
