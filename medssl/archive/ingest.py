"""The ingest stage: from a folder of scans to a store.

Find, plan, read, commit. Only this process writes the manifest and the journal; the reading is done
in guarded processes. Killed at any moment, the same command goes on where it was.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from medssl.archive.cases import Cases
from medssl.archive.cluster import ClusterPool
from medssl.archive.config import IngestConfig
from medssl.archive.discover import Discovery, discover
from medssl.archive.find import FileKind, Found
from medssl.archive.identity import Key, RecordingKey, default_key_file, load_key
from medssl.archive.journal import RETRY, Journal, UnitRows
from medssl.archive.linkage import Linkage, LinkageRow
from medssl.archive.look import Archive, look
from medssl.archive.plan import Plan, Planner
from medssl.archive.pool import Failure, Item, Pool, Result
from medssl.archive.preimages import add_signature, ingest_recorded
from medssl.archive.scratch import Scratch
from medssl.archive.summary import IngestResult, RunCounts, summarise
from medssl.archive.unpack import Packed, Unpacked, unpack
from medssl.archive.worker import (
    Context,
    Unit,
    UnitResult,
    ingest_unit,
    is_label_map,
)
from medssl.errors import ConfigError
from medssl.progress import SILENT, Progress
from medssl.store.writer import create_store

_NIFTI_AT_ONCE = 8
_COMMIT_UNITS = 500
_COMMIT_EVERY_S = 10.0
_SLOWEST_UNPACKING = 2**20  # packed bytes a second: xz on a slow core, or a slow network disk


def ingest(config: IngestConfig, progress: Progress = SILENT) -> IngestResult:
    """Take an archive into a store, or what is new of it; write `quality.html` if that changed.

    Raises:
        ConfigError: the archive is missing or holds no scan, a path is where it must not be, the
            scratch folder cannot be had, or the cases file has faults.
        KeyFileError: there is no usable key.
        StoreError: the store is of another key or version, or in use.
        CodecError: a decoder is not installed.
        OSError: the disk is full; what was committed stays.
    """
    began = time.monotonic()
    key = load_key(config.key_file or default_key_file())
    _check_places(config)
    if config.scheduler is not None:  # the workers stand in folders of their own
        places = {"archive": config.archive.absolute(), "store": config.store.absolute()}
        if config.unpack is not None:
            places["unpack"] = config.unpack.absolute()
        config = config.model_copy(update=places)
    cases = _cases(config).tagged(key)
    journal: Journal | None = None
    finished = False
    held = ExitStack()
    if _holds_something(config.store):
        create_store(config.store, key.key_id, _policy(config))
        journal = Journal(config.store)
    try:
        archive = Archive(config.archive, key)
        scratch = _scratch(config, archive)
        if scratch is not None:
            held.enter_context(scratch)
        lookers = partial(_pool, config, partial(look, archive))
        found = discover(archive, journal, lookers, progress, scratch)
        _check_scans(config, found)
        if journal is None:
            create_store(config.store, key.key_id, _policy(config))
            journal = Journal(config.store)
        counts = _Run(config, key, cases, journal, found, progress).run()
        journal.compact()
        finished = True
        _write_quality(config.store, counts, progress)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
    finally:
        held.close()
        if journal is not None:
            # A lost worker of a cluster may leave half a file.
            journal.close(finished and config.scheduler is None)
    return summarise(config.store, counts, cases, time.monotonic() - began)


def _cases(config: IngestConfig) -> Cases:
    if config.cases is None:
        return Cases()
    from medssl.archive.cases_table import read_cases  # loads pandas

    return read_cases(config.cases)


def _write_quality(store: Path, counts: RunCounts, progress: Progress) -> None:
    from medssl.report.quality import write_quality  # loads pandas

    write_quality(store, counts.seen(), progress)


def num_workers(config: IngestConfig) -> int:
    """As many as asked for, else one a core that this process may use, four at most."""
    return config.workers or min(4, len(os.sched_getaffinity(0)))


@dataclass
class _Run:
    """One run over a catalogue that is complete."""

    config: IngestConfig
    key: Key
    cases: Cases
    journal: Journal
    found: Discovery
    progress: Progress
    linkage: Linkage | None = None
    waiting: list[UnitRows] = field(default_factory=list)
    links: list[LinkageRow] = field(default_factory=list)
    masked_voxels: int = 0
    committed_at: float = field(default_factory=time.monotonic)

    def run(self) -> RunCounts:
        plan: Plan | None = None
        if self.config.linkage is not None:
            place = os.path.realpath(self.config.archive)
            self.linkage = Linkage(self.config.linkage, place)
            self.key = RecordingKey(self.key.secret)
        try:
            planner = Planner(
                self.config, self.key, self.cases, self.journal, self.linkage, self._label_maps
            )
            plan = planner.build(self.found.catalogue)
            self._tell_rows()
            self.journal.drop(plan.outdated)
            self.journal.remember_files(planner.records(self.found.catalogue))
            for result in plan.settled:
                self._keep(result)
            try:
                self._read(planner, plan)
            finally:  # what is read is kept, whatever stopped the rest
                self._commit()
            if self.linkage is not None:
                self.linkage.finish()
            return self._counts(plan)
        finally:
            if self.linkage is not None:
                self.linkage.close()
            if plan is not None:
                plan.close()
            self.found.catalogue.close()

    def _read(self, planner: Planner, plan: Plan) -> None:
        self.progress.start("reading scans", plan.num_units)
        withdrawn = self.journal.withdrawn()
        context = Context(self.config.store, Key(self.key.secret), self.config, withdrawn)
        read = ingest_unit if self.linkage is None else ingest_recorded
        with _pool(self.config, partial(read, context)) as pool:
            for unit, answer in pool.map(self._batches(planner, plan)):
                self._keep(answer if isinstance(answer, UnitResult) else self._broken(unit, answer))
                self.progress.advance()
        self.progress.finish()

    def _batches(self, planner: Planner, plan: Plan) -> Iterator[Sequence[Unit]]:
        for unit in planner.dicom_units(self.found.catalogue):
            yield [unit]
        num_units = len(plan.nifti_units)
        at_once = max(1, min(_NIFTI_AT_ONCE, num_units // (2 * num_workers(self.config))))
        yield from _in_batches(plan.nifti_units, at_once)

    def _label_maps(self, files: Iterator[Found]) -> Iterator[tuple[Found, bool]]:
        judge = partial(is_label_map, self.config.max_voxels)
        with _pool(self.config, judge) as pool:
            for found, answer in pool.map(_in_batches(files, _NIFTI_AT_ONCE)):
                yield found, answer is True

    def _keep(self, result: UnitResult) -> None:
        if isinstance(self.key, RecordingKey):
            add_signature(result, self.key)
        if result.failed:
            result.store.signature = RETRY
        self.masked_voxels += result.masked_voxels
        self.waiting.append(result.store)
        self.links += result.linkage
        late = time.monotonic() - self.committed_at > _COMMIT_EVERY_S
        if late or len(self.waiting) >= _COMMIT_UNITS:
            self._commit()

    def _commit(self) -> None:
        if self.linkage is not None:
            self.linkage.replace([unit.unit_key for unit in self.waiting], self.links)
        self.journal.commit(self.waiting)
        self.waiting, self.links = [], []
        self.committed_at = time.monotonic()

    def _broken(self, unit: Unit, failure: Failure) -> UnitResult:
        """The rows of a unit whose reading broke down."""
        result = UnitResult(UnitRows(unit.unit_key, RETRY), failed=True)
        source_key = self.key.hmac("source", unit.source_key, "")
        code = failure.reason.value
        result.store.rows["rejected"].append(
            {
                "source_key": source_key,
                "kind": "series",
                "reason": code,
                "detail": failure.detail,
                "n_files": len(unit.files),
            }
        )
        source = unit.files[0].source
        result.linkage.append(
            LinkageRow(
                unit.unit_key,
                source,
                source_key=source_key,
                outcome="REJECTED",
                reason_code=code,
            )
        )
        self.progress.say(f"series {source_key[:12]}: {code} {failure.detail}".rstrip())
        return result

    def _tell_rows(self) -> None:
        """What the cases file asked for and did not get, by line, never by value."""
        for lines, what in (
            (self.cases.unmatched(), "found no scan"),
            (self.cases.ambiguous_lines(), "name a file that is there several times; give a path"),
        ):
            if lines:
                shown = ", ".join(map(str, lines[:10])) + (" ..." if len(lines) > 10 else "")
                self.progress.say(f"cases: {len(lines)} rows {what} (line {shown})")

    def _counts(self, plan: Plan) -> RunCounts:
        kinds = {kind: self.found.catalogue.count(kind) for kind in FileKind}
        return RunCounts(
            files=self.found.num_files,
            by_kind={kind.value: number for kind, number in kinds.items()},
            links=self.found.walked.links,
            repeats=self.found.walked.repeats,
            units_read=plan.num_units,
            units_unchanged=plan.unchanged,
            masked_voxels=self.masked_voxels,
        )


def _in_batches(items: Iterable[Item], at_once: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, at_once)):
        yield batch


def _pool(
    config: IngestConfig, function: Callable[[Item], Result]
) -> Pool[Item, Result] | ClusterPool[Item, Result]:
    if config.scheduler is not None:
        store = next(p for p in (config.store, *config.store.parents) if p.exists())
        return ClusterPool(
            function,
            config.scheduler,
            [config.archive, store, *([config.unpack] if config.unpack else [])],
            int(config.max_memory_gb * 2**30),
            config.time_limit_s,
        )
    return Pool(
        function,
        num_workers(config),
        int(config.max_memory_gb * 2**30),
        config.time_limit_s,
    )


def _scratch(config: IngestConfig, archive: Archive) -> Scratch | None:
    """The folder for packed files, where they are to be opened."""
    if config.unpack is None:
        return None

    def pool(largest_bytes: int) -> Pool[Packed, Unpacked]:
        limit_s = config.time_limit_s + largest_bytes / _SLOWEST_UNPACKING
        memory = int(config.max_memory_gb * 2**30)
        return Pool(unpack, num_workers(config), memory, limit_s)

    return Scratch(config.unpack, archive, pool)


def _policy(config: IngestConfig) -> dict[str, object]:
    """The settings under which a store was begun; no path of the archive."""
    return {"use_issuer": config.use_issuer, "max_voxels": config.max_voxels}


def _check_places(config: IngestConfig) -> None:
    if not config.archive.exists():
        raise ConfigError(f"no archive at {config.archive}")
    archive, store = config.archive.resolve(), config.store.resolve()
    if _within(store, archive) or _within(archive, store):
        raise ConfigError(
            f"the store {config.store} and the archive lie one inside the other; choose another "
            "--out"
        )
    scratch = config.unpack.resolve() if config.unpack else None
    for place, what in ((archive, "archive"), (store, "store")):
        if scratch is not None and (_within(scratch, place) or _within(place, scratch)):
            raise ConfigError(
                f"{config.unpack} and the {what} lie one inside the other; choose another --unpack"
            )
    key_file = config.key_file or default_key_file()
    for path, what in ((config.linkage, "linkage file"), (key_file, "key file")):
        if path is not None and _within(path.resolve(), store):
            raise ConfigError(f"the {what} must not lie in the store: it undoes the pseudonyms")


def _holds_something(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; --out names the folder of a store")
    return folder.is_dir() and any(folder.iterdir())


def _within(inner: Path, outer: Path) -> bool:
    return inner == outer or outer in inner.parents


def _check_scans(config: IngestConfig, found: Discovery) -> None:
    wanted = (FileKind.DICOM, FileKind.NIFTI, FileKind.REFUSED)
    if found.catalogue.count(*wanted) == 0:
        raise ConfigError(
            f"{config.archive} holds no DICOM and no NIfTI file ({found.num_files} files seen)"
        )
