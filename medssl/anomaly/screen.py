"""The screening stage: from a pretraining run and a store to a map and a score of every volume."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl.anomaly.config import AnomalyConfig
from medssl.anomaly.folder import Score, Scores, UsualSoFar
from medssl.anomaly.masked_error import passes
from medssl.anomaly.model import MaskedModel, load_masked
from medssl.anomaly.scan_error import Floats, Screened, scan_error, screened
from medssl.anomaly.usual import BinSums, Usual, bin_edges
from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.engine.population import population_digest
from medssl.engine.run_folder import RunFolder
from medssl.errors import ConfigError, StoreError
from medssl.predict.nifti import write_on_grid
from medssl.progress import SILENT, Progress
from medssl.report.quality_facts import count_of
from medssl.store import Store, open_store
from medssl.transfer.whole_volume import windows_of

_TOP = 0.01
_UNCACHED = CacheConfig(gigabytes=0)


@dataclass(frozen=True)
class AnomalyResult:
    """What was screened.

    Attributes:
        scored: volumes of this call.
        done_before: volumes that an earlier call had done.
        failed: volumes whose voxels could not be read; they have no row.
        notes: what the reader has to know before the scores.
    """

    out: Path
    scored: int
    done_before: int
    failed: int
    notes: list[str]

    @property
    def table(self) -> Path:
        return self.out / "scores.csv"

    def lines(self) -> list[str]:
        """For the reader; the last ones say where the results are."""
        lines = [f"{count_of(self.scored)} scored, {self.done_before} done already"]
        if self.failed:
            lines.append(f"{self.failed} could not be read: see {self.out / 'run.log'}")
        maps, table = self.out / "maps", self.table
        return [*lines, *self.notes, f"maps:   {maps}", f"scores: {table}, most unusual first"]


def screen(config: AnomalyConfig, out: Path, progress: Progress = SILENT) -> AnomalyResult:
    """Score every volume of the store; call again to take up where it was.

    The map is the masked error in normalised intensity, or with `healthy` its deviation from what
    is usual in tissue as bright, in scans of its modality, in standard deviations.

    Raises:
        CheckpointError, ConfigError: `run` cannot screen, or `out` holds something else.
        StoreError: a store cannot be read, or the two share patients, scans or no modality.
    """
    model = load_masked(config.run)
    store = open_store(config.store)
    healthy = None if config.healthy is None else open_store(config.healthy)
    if healthy is not None:
        check_apart(store, healthy)
    run = RunFolder.open(out, config, "anomaly")
    try:
        run.checkpoints.rmdir()  # there are none here
        run.bind_key(store.key_id)
        _bind(run, "weights", model.weights_sha256)
        if healthy is not None:
            rows = healthy.columns("volume_uid", "pixel_sha256").astype("str")
            _bind(run, "healthy", population_digest(rows))
        notes = model.told(store)
        modalities = sorted(set(store.columns("modality")["modality"]))
        if healthy is None and len(modalities) > 1:
            notes.append(
                f"errors of {', '.join(modalities)} are in units of their own: compare scores "
                "within a modality, or give --healthy"
            )
        for note in notes:
            run.log(note)
            progress.say(note)
        work = _Work(model, config.repeats, run, progress)
        usual = None
        if healthy is not None:
            usual, unread = work.usual(healthy)
            if unread:
                notes.append(
                    f"{unread} of {count_of(len(healthy.manifest))} in the healthy store could "
                    f"not be read, and what is usual was learned without: see {out / 'run.log'}"
                )
        scores = Scores(out)
        scores.keep(store.manifest.index)
        todo = [str(uid) for uid in store.manifest.index if not scores.is_done(str(uid))]
        failed = work.score(store, todo, usual, scores)
        scores.finish()
        before = len(store.manifest) - len(todo)
        return AnomalyResult(out, len(todo) - failed, before, failed, notes)
    finally:
        run.close()


def check_apart(store: Store, healthy: Store) -> None:
    """No patient and no scan is in both, and what is screened has something to be compared with.

    Raises:
        StoreError: otherwise, or the patients cannot be compared: the stores have other keys.
    """
    if store.key_id != healthy.key_id:
        raise StoreError(
            f"the store is under key {store.key_id}, the healthy one under {healthy.key_id}: "
            "whether they share patients cannot be told; ingest both with one key file"
        )
    names = ("patient_key", "pixel_sha256", "modality")
    ours, theirs = store.columns(*names), healthy.columns(*names)
    patients, scans, modalities = (set(ours[name]) & set(theirs[name]) for name in names)
    if patients or scans:
        raise StoreError(
            f"{len(patients)} patients and {len(scans)} scans are in both stores, and would be "
            "compared with themselves; leave them out of one"
        )
    missing = sorted(set(ours["modality"]) - modalities) or (["volume"] if theirs.empty else [])
    if missing:
        raise StoreError(
            f"the healthy store holds no {', '.join(missing)}, which the other one does; add such "
            "scans, or screen them without --healthy"
        )


def case_score(values: Floats, counted: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[float, float]:
    """Mean of the highest hundredth (rounded up) of the voxels that count, and of all of them."""
    of_body = values[counted].astype(np.float64)
    if not len(of_body):
        return float("nan"), float("nan")
    highest = int(np.ceil(_TOP * len(of_body)))
    top = np.partition(of_body, len(of_body) - highest)[len(of_body) - highest :]
    return float(top.mean()), float(of_body.mean())


class _Work:
    """What both passes share, over the healthy scans and over those to screen."""

    def __init__(
        self, model: MaskedModel, repeats: int, run: RunFolder, progress: Progress
    ) -> None:
        self.model, self.repeats, self.run, self.progress = model, repeats, run, progress
        self.patch = model.config.augment.patch
        self.of_window = passes(model.method, repeats)

    def usual(self, healthy: Store) -> tuple[dict[str, Usual], int]:
        """What error is usual in each modality: their numbers differ.

        Of all healthy scans that could be read; the second value says how many could not. Once
        something was scored beside the others, these stay out, so that all scores mean the same.

        Raises:
            StoreError: no scan of a modality could be read.
        """
        reader = Reader(healthy, _UNCACHED)
        scans = {str(uid): _scan(healthy.row(str(uid))) for uid in healthy.manifest.index}
        of_modality: dict[str, list[str]] = {}
        for uid, scan in scans.items():
            of_modality.setdefault(scan.modality, []).append(uid)
        so_far = UsualSoFar(self.run.path)
        edges = {
            modality: self._edges(so_far, modality, reader, [scans[uid] for uid in uids])
            for modality, uids in of_modality.items()
        }
        todo = [uid for uid in scans if uid not in so_far.done]
        self._start("what is usual", [scans[uid] for uid in todo], list(scans.values()))
        unread = []
        try:
            for uid in todo:
                found = self._read(reader, scans[uid], "healthy volume")
                if found is None:
                    unread.append(uid)
                    continue
                error = self._error(found, scans[uid])
                so_far.add(uid, BinSums.of(found, error, edges[scans[uid].modality]))
        finally:
            self.progress.finish()
        usual = {}
        for modality, uids in of_modality.items():
            every = [sums for uid in uids if (sums := so_far.done.get(uid)) is not None]
            if not every:
                raise StoreError(_none_read(modality, len(uids), self.run))
            usual[modality] = Usual.of(edges[modality], sum(every[1:], start=every[0]))
        for uid in unread:
            so_far.add(uid, None)
        so_far.finish(usual)
        return usual, sum(so_far.done[uid] is None for uid in scans)

    def _edges(
        self, so_far: UsualSoFar, modality: str, reader: Reader, scans: list[ScanInfo]
    ) -> list[float]:
        def make() -> list[float]:
            every = (self._read(reader, scan, "healthy volume") for scan in scans)
            found = (one for one in every if one is not None)
            first = next(found, None)
            if first is None:
                raise StoreError(_none_read(modality, len(scans), self.run))
            return bin_edges(chain([first], found))

        return so_far.edges(modality, make)

    def _read(self, reader: Reader, scan: ScanInfo, what: str) -> Screened | None:
        """The scan; None, and a line in the log, where its voxels cannot be read."""
        try:
            return screened(reader, scan, self.patch)
        except StoreError as unreadable:
            self.run.log(f"{what} {scan.volume_uid}: {unreadable}")
            return None

    def score(
        self, store: Store, todo: list[str], usual: dict[str, Usual] | None, scores: Scores
    ) -> int:
        """Write map and row of each volume; how many could not be read."""
        reader = Reader(store, _UNCACHED)
        scans = [_scan(store.row(uid)) for uid in todo]
        everything = [_scan(row) for _, row in store.manifest.iterrows()]
        failed = 0
        self._start("screening", scans, everything)
        try:
            for scan in scans:
                found = self._read(reader, scan, "volume")
                if found is None:
                    failed += 1
                    self.progress.advance(windows_of(scan, self.patch) * self.of_window)
                    continue
                error = self._error(found, scan)
                values = error if usual is None else usual[scan.modality].deviations(found, error)
                own, counted = found.on_own_grid(values)
                row = store.row(scan.volume_uid)
                _write(scores.map(scan.volume_uid), own, scan, row)
                top, mean = case_score(own, counted)
                scores.add(
                    Score(scan.volume_uid, str(row["patient_key"]), top, mean, int(counted.sum()))
                )
        finally:
            self.progress.finish()
        return failed

    def _error(self, found: Screened, scan: ScanInfo) -> Floats:
        return scan_error(
            self.model.method,
            found,
            self.patch.size,
            scan.normaliser.background,
            self.repeats,
            lambda windows: self.progress.advance(windows * self.of_window),
        )

    def _start(self, what: str, todo: list[ScanInfo], every: list[ScanInfo]) -> None:
        left, whole = (
            sum(windows_of(scan, self.patch) for scan in scans) * self.of_window
            for scans in (todo, every)
        )
        self.progress.start(f"{what} ({len(every)} volumes, passes)", whole, done=whole - left)


def _none_read(modality: str, number: int, run: RunFolder) -> str:
    return (
        f"none of the {number} {modality} volumes in the healthy store could be read: see "
        f"{run.path / 'run.log'}; restore them, then run the same command again"
    )


def _bind(run: RunFolder, what: str, digest: str) -> None:
    """Scores of other weights, or beside other healthy scans, cannot be compared."""
    begun = run.recall(f"{what}_sha256")
    if begun not in (None, digest):
        changed = {"weights": "weights", "healthy": "scans in the healthy store"}[what]
        raise ConfigError(f"{run.path} was begun with other {changed}; choose another --out")
    run.remember(f"{what}_sha256", digest)


def _scan(row: pd.Series[Any]) -> ScanInfo:
    return ScanInfo.from_row({str(name): value for name, value in row.items()})


def _write(path: Path, values: Floats, scan: ScanInfo, row: pd.Series[Any]) -> None:
    if row["source_format"] == "DICOM":  # column, row, slice, as viewers of NIfTI expect
        write_on_grid(path, values.transpose(2, 1, 0), scan.affine[:, [2, 1, 0, 3]])
    else:
        write_on_grid(path, values, scan.affine)
