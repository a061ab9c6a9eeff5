"""One damaged file, read by medssl in a guarded process and held against an independent reading."""

from __future__ import annotations

import os
import resource
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from mutants_bytes import Layout, damaged, layout_of
from mutants_oracle import Disagrees, PlaceUnknown, compare_dicom, compare_nifti

from medssl.archive.cases import series_tag
from medssl.archive.dicom import Header, Unreadable, group_by_series, read_header, read_series
from medssl.archive.identity import Key
from medssl.archive.lost import LostFile
from medssl.archive.nifti import read_nifti
from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan
from medssl.archive.uids_in_bytes import tags_in_bytes
from medssl.archive.whole import Lost, still_lost

_KEY = Key(b"mutants" * 8)
_MOST_VOXELS = 1 << 24


@dataclass
class Verdict:
    """How a mutant ended, and what of it is wrong."""

    ends: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SeriesTrial:
    """A series of which one file is damaged."""

    name: str
    files: tuple[Path, ...]
    seed: int
    compare: bool = True


@dataclass(frozen=True)
class NiftiTrial:
    """A NIfTI file whose byte `at` becomes `value`; or, where `at` is below 0, damaged by seed."""

    file: Path
    at: int
    value: int


def try_series(folder: Path, trial: SeriesTrial) -> Verdict:
    """Damage one file, read the series, and compare what is taken."""
    base = _series(_own(folder), trial.name, trial.files)
    rng = np.random.Generator(np.random.Philox([trial.seed, zlib.crc32(trial.name.encode())]))
    which = int(rng.integers(len(base.paths)))
    path, original = base.paths[which], base.contents[which]
    mutant = damaged(rng, original, base.layouts[which], base.contents)
    path.write_bytes(mutant)
    try:
        return _read(base, which, trial.compare)
    finally:
        path.write_bytes(original)


def _read(base: Base, which: int, compare: bool) -> Verdict:
    path = base.paths[which]
    verdict = Verdict()
    headers = [h for n, h in enumerate(base.headers) if n != which]
    lost: list[LostFile] = []
    damaged_by: Reason | None = None
    try:
        headers.append(read_header(path))
    except Unreadable as fault:
        damaged_by = fault.reason
        verdict.ends.append(f"file {fault.reason.value}")
        tag, _, instance = tags_in_bytes(_KEY, path).partition(" ")
        if not tag or tag == series_tag(_KEY, base.headers[which].series):
            lost.append(LostFile(path, bool(tag), instance))
    missing = still_lost(lost, headers, _KEY)
    judged = [
        item
        for group in group_by_series(headers)
        for item in read_series(
            group, lost=missing if group[0].series == base.headers[which].series else Lost()
        )
    ]
    _count(verdict, judged)
    _account(verdict, base, which, judged, damaged_by, missing != Lost())
    for scan in (j for j in judged if isinstance(j, Scan) and compare):
        try:
            compare_dicom(scan)
        except Disagrees as fault:
            verdict.wrong.append(f"volume: {fault}")
        except PlaceUnknown as fault:
            if not any(np.allclose(scan.affine, other.affine, atol=0.1) for other in base.scans):
                verdict.wrong.append(f"place of a mosaic: {fault}")
        except Exception as error:
            if any(_alike(scan, other) for other in base.scans):
                verdict.ends.append("pydicom refuses, the volume is that of the undamaged series")
            else:
                said = str(error)[:150]
                verdict.wrong.append(f"pydicom refuses: {type(error).__name__} {said}")
    return verdict


def _alike(one: Scan, other: Scan) -> bool:
    return (
        one.stored.shape == other.stored.shape
        and np.allclose(one.affine, other.affine, atol=1e-6)
        and np.array_equal(one.rescale.apply(one.stored), other.rescale.apply(other.stored))
    )


def _count(verdict: Verdict, judged: list[Judged]) -> None:
    for item in judged:
        if isinstance(item, Scan):
            verdict.ends.append("taken " + "+".join(r.value for r in item.corrections))
        else:
            verdict.ends.append(f"{item.kind} {item.reason.value}")
            if item.reason is Reason.INTERNAL_ERROR:
                verdict.wrong.append("internal error")


def _account(
    verdict: Verdict,
    base: Base,
    which: int,
    judged: list[Judged],
    damaged_by: Reason | None,
    tied: bool,
) -> None:
    """Every file in a volume or in a rejection, none in two; the damaged one never just gone.

    `tied`: whether the damaged file is known to be of this series.
    """
    scans = [j for j in judged if isinstance(j, Scan)]
    rejected = {path for j in judged if isinstance(j, Rejection) for path in j.source.files}
    taken = [path for scan in scans for path in scan.source.files]
    once = any(Reason.DUPLICATE_DROPPED in scan.corrections for scan in scans)
    for n, path in enumerate(base.paths):
        told = path in taken or path in rejected or (n == which and damaged_by is not None)
        if not told and not once:
            verdict.wrong.append(f"file {n} is in no result")
        if len(base.paths) > 1 and base.one_volume and taken.count(path) > 1:
            verdict.wrong.append(f"file {n} is in {taken.count(path)} volumes")
    others = [scan for scan in scans if base.paths[which] not in scan.source.files]
    if len(base.paths) > 1 and base.one_volume and others:
        reasons = sorted(
            {j.reason.value for j in judged if isinstance(j, Rejection)}
            | ({damaged_by.value} if damaged_by else set())
        )
        verdict.ends.append("shorter by the damaged file, told as " + "+".join(reasons))
        if damaged_by is not None and tied:
            verdict.wrong.append(f"taken though a file is damaged: {damaged_by.value}")


@dataclass(frozen=True)
class Base:
    """The undamaged series, in a folder of this process."""

    paths: tuple[Path, ...]
    contents: tuple[bytes, ...]
    layouts: tuple[Layout, ...]
    headers: tuple[Header, ...]
    scans: tuple[Scan, ...]
    one_volume: bool


@lru_cache
def _own(folder: Path) -> Path:
    own = folder / f"process{os.getpid()}"
    own.mkdir(exist_ok=True)
    return own


@lru_cache(maxsize=8)
def _series(own: Path, name: str, files: tuple[Path, ...]) -> Base:
    paths, contents = [], []
    for n, file in enumerate(files):
        path = own / f"{name}_{n + 1:03d}.dcm"
        contents.append(file.read_bytes())
        path.write_bytes(contents[-1])
        paths.append(path)
    headers = [read_header(path) for path in paths]
    layouts = [layout_of(data) for data in contents]
    scans = [s for g in group_by_series(headers) for s in read_series(g) if isinstance(s, Scan)]
    one_volume = len(scans) == 1 and all(len(h.frames) == 1 for h in headers)
    return Base(
        tuple(paths), tuple(contents), tuple(layouts), tuple(headers), tuple(scans), one_volume
    )


def try_nifti(folder: Path, trial: NiftiTrial) -> Verdict:
    """Damage a NIfTI file, read it, and compare what is taken."""
    original = _bytes(trial.file)
    if trial.at >= 0:
        mutant = bytearray(original)
        mutant[trial.at] = trial.value
    else:
        rng = np.random.Generator(np.random.Philox(trial.value))
        layout = Layout((), min(400, len(original)))
        mutant = bytearray(damaged(rng, original, layout, [original[::-1]]))
    path = _own(folder) / trial.file.name
    path.write_bytes(mutant)
    verdict = Verdict()
    judged = read_nifti(path, path.name, _MOST_VOXELS)
    _count(verdict, judged)
    if not judged:
        verdict.wrong.append("no result")
    try:
        compare_nifti(judged, path)
    except Disagrees as fault:
        verdict.wrong.append(f"volume: {fault}")
    except Exception as error:
        sound = read_nifti(trial.file, trial.file.name)
        taken = [item for item in judged if isinstance(item, Scan)]
        pairs = zip(taken, sound, strict=False)
        if len(taken) == len(sound) and all(_alike(one, other) for one, other in pairs):
            verdict.ends.append("nibabel refuses, the volumes are those of the undamaged file")
        else:
            verdict.wrong.append(f"nibabel refuses: {type(error).__name__} {str(error)[:150]}")
    return verdict


@lru_cache(maxsize=8)
def _bytes(file: Path) -> bytes:
    return file.read_bytes()


def peak_memory_mib() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
