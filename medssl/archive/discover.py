"""One walk through the archive into a catalogue: every file with what it is.

A file that an earlier run knows, unchanged, is not opened again. DICOM headers are read in guarded
processes; what a NIfTI is, its first kilobyte tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.archive.cases import patient_tag, series_tag
from medssl.archive.catalogue import Catalogue, Entry
from medssl.archive.cluster import ClusterPool
from medssl.archive.find import FileKind, Found, WalkCounts, sniff, stamp_of, walk
from medssl.archive.identity import Key
from medssl.archive.journal import Journal
from medssl.archive.pool import Failure, Pool
from medssl.archive.reasons import Reason
from medssl.archive.scan import Rejection
from medssl.progress import Progress

if TYPE_CHECKING:
    from medssl.archive.dicom import Header

_HEADERS_AT_ONCE = 64
HeaderPool = Pool[Found, "Header | Rejection"] | ClusterPool[Found, "Header | Rejection"]


@dataclass
class Discovery:
    """The catalogue of a walk, and what the walk passed over."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    walked: WalkCounts = field(default_factory=WalkCounts)
    num_files: int = 0


@dataclass(frozen=True)
class Archive:
    """A folder (or a single file) of scans, and the keys of its files."""

    root: Path
    key: Key

    def file_key(self, relative: str) -> str:
        """Of a file by its full place, so that two archives never share one."""
        return self.key.hmac("file", os.path.realpath(self.root), relative)

    def unit_of_file(self, file_key: str) -> str:
        """The unit of a file that is read by itself."""
        return self.key.hmac("unit of file", file_key)

    def unit_of_series(self, header: Header) -> str:
        place = os.path.realpath(self.root)
        return self.key.hmac(
            "unit of series", place, header.patient[0], header.study, header.series
        )

    def files(self, counts: WalkCounts) -> Iterator[Found]:
        if self.root.is_dir():
            yield from walk(self.root, counts)
        else:
            about = os.stat(self.root)
            yield Found(self.root, self.root.name, about.st_size, stamp_of(about))


def discover(
    archive: Archive,
    journal: Journal | None,
    pool: Callable[[], HeaderPool],
    progress: Progress,
) -> Discovery:
    """Walk the archive; `journal` is that of the store where there is one."""
    out = Discovery()
    progress.start("finding files", None)
    with pool() as readers:
        for found, answer in readers.map(_dicom_batches(archive, journal, out, progress)):
            out.catalogue.add(_dicom_entry(archive, journal, found, answer))
            progress.advance()
    out.catalogue.index()
    progress.finish()
    return out


def _dicom_batches(
    archive: Archive, journal: Journal | None, out: Discovery, progress: Progress
) -> Iterator[Sequence[Found]]:
    """Catalogues all files but the DICOM ones that are new; these come out to be read."""
    batch: list[Found] = []
    for found in archive.files(out.walked):
        out.num_files += 1
        entry = _known(archive, journal, found) or _fresh(archive, journal, found)
        if entry.kind is FileKind.DICOM and entry.fresh:
            batch.append(found)
            if len(batch) == _HEADERS_AT_ONCE:
                yield batch
                batch = []
        else:
            out.catalogue.add(entry)
            progress.advance()
    if batch:
        yield batch


def _known(archive: Archive, journal: Journal | None, found: Found) -> Entry | None:
    file_key = archive.file_key(found.relative)
    record = journal.file(file_key) if journal else None
    if record is None or record.stamp != found.stamp or found.size < 0:
        return None
    return Entry(
        file_key,
        found,
        FileKind(record.kind),
        record.reason,
        unit_key=record.unit_key,
        tags=record.tags,
        old_unit=record.unit_key,
        fresh=False,
    )


def _fresh(archive: Archive, journal: Journal | None, found: Found) -> Entry:
    file_key = archive.file_key(found.relative)
    if found.size < 0:
        kind, reason = FileKind.REFUSED, Reason.UNREADABLE_FILE
    else:
        kind, maybe = sniff(found.path, found.size)
        reason = maybe  # type: ignore[assignment]
    return Entry(
        file_key,
        found,
        kind,
        reason.value if reason else "",
        unit_key=archive.unit_of_file(file_key),
        old_unit=_old_unit(journal, file_key),
    )


def _dicom_entry(
    archive: Archive, journal: Journal | None, found: Found, answer: Header | Rejection | Failure
) -> Entry:
    file_key = archive.file_key(found.relative)
    entry = Entry(
        file_key,
        found,
        FileKind.REFUSED,
        unit_key=archive.unit_of_file(file_key),
        old_unit=_old_unit(journal, file_key),
    )
    if isinstance(answer, Rejection | Failure):
        kind = FileKind.SIDE if answer.reason is Reason.DICOMDIR else FileKind.REFUSED
        return replace(entry, kind=kind, reason=answer.reason.value, detail=answer.detail)
    tags = (series_tag(archive.key, answer.series), patient_tag(archive.key, answer.patient[0]))
    return replace(
        entry,
        kind=FileKind.DICOM,
        unit_key=archive.unit_of_series(answer),
        tags=" ".join(tags),
        header=answer,
    )


def _old_unit(journal: Journal | None, file_key: str) -> str:
    record = journal.file(file_key) if journal else None
    return record.unit_key if record else ""
