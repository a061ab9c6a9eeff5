"""One walk through the archive into a catalogue: every file with what it is.

A file that an earlier run knows, unchanged, is not opened again. The others are looked at in
guarded processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from medssl.archive.catalogue import Catalogue, Entry
from medssl.archive.cluster import ClusterPool
from medssl.archive.find import FileKind, Found, WalkCounts, stamp_of, walk
from medssl.archive.journal import FileRecord, Journal
from medssl.archive.look import Archive, Looked
from medssl.archive.pool import Failure, Pool
from medssl.progress import Progress

_FILES_AT_ONCE = 64
LookPool = Pool[Found, Looked] | ClusterPool[Found, Looked]


@dataclass
class Discovery:
    """The catalogue of a walk, and what the walk passed over."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    walked: WalkCounts = field(default_factory=WalkCounts)
    num_files: int = 0


def discover(
    archive: Archive, journal: Journal | None, pool: Callable[[], LookPool], progress: Progress
) -> Discovery:
    """Walk the archive; `journal` is that of the store where there is one."""
    out = Discovery()
    progress.start("finding files", None)
    with pool() as lookers:
        for found, answer in lookers.map(_new_files(archive, journal, out, progress)):
            file_key = archive.file_key(found.relative)
            if isinstance(answer, Failure):
                unit_key = archive.unit_of_file(file_key)
                answer = Looked(
                    FileKind.REFUSED, answer.reason.value, answer.detail, unit_key=unit_key
                )
            record = journal.file(file_key) if journal else None
            out.catalogue.add(_entry(file_key, found, answer, record))
            progress.advance()
    out.catalogue.index()
    progress.finish()
    return out


def _new_files(
    archive: Archive, journal: Journal | None, out: Discovery, progress: Progress
) -> Iterator[Sequence[Found]]:
    """Catalogues the files that an earlier run knows; the others come out to be looked at."""
    batch: list[Found] = []
    for found in files_of(archive, out.walked):
        out.num_files += 1
        file_key = archive.file_key(found.relative)
        record = journal.file(file_key) if journal else None
        if record is None or record.stamp != found.stamp or found.size < 0:
            batch.append(found)
            if len(batch) == _FILES_AT_ONCE:
                yield batch
                batch = []
        else:
            kind = FileKind(record.kind)
            looked = Looked(kind, record.reason, "", record.unit_key, record.tags)
            out.catalogue.add(_entry(file_key, found, looked, record, fresh=False))
            progress.advance()
    if batch:
        yield batch


def files_of(archive: Archive, counts: WalkCounts) -> Iterator[Found]:
    """Every file of an archive, be it a folder or a single file."""
    if archive.root.is_dir():
        yield from walk(archive.root, counts)
    else:
        about = archive.root.stat()
        parent, name = str(archive.root.parent), archive.root.name
        yield Found(parent, name, about.st_size, stamp_of(about))


def _entry(
    file_key: str, found: Found, looked: Looked, record: FileRecord | None, fresh: bool = True
) -> Entry:
    return Entry(
        file_key,
        found,
        looked.kind,
        looked.reason,
        looked.detail,
        looked.unit_key,
        old_unit=record.unit_key if record else "",
        tags=looked.tags,
        fresh=fresh,
        header=looked.header,
    )
