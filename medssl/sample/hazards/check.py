"""Does medssl do with every hazard what their table says? Ingest, and compare ends and voxels."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import yaml

from medssl.archive.config import IngestConfig
from medssl.archive.find import FileKind
from medssl.archive.identity import make_key_file
from medssl.archive.ingest import ingest
from medssl.archive.reasons import Reason
from medssl.config import parse_config
from medssl.errors import MedsslError
from medssl.progress import SILENT, Progress
from medssl.sample.hazards.hazard import End, told
from medssl.sample.hazards.write import LATE
from medssl.store import open_store
from medssl.store.store import Store
from medssl.volume import Volume

WHOLE = "(whole archive)"
_PLACE_MM = 0.02  # truth is NIfTI, whose affine is float32; the archive's promise is 0.1 mm
_RELATIVE = 1e-6
_HALF_STEPS = 1.0  # of resampled integers, half a step on either side
_RESAMPLED_CODE = Reason.SPACING_RESAMPLED.value


@dataclass(frozen=True)
class Checked:
    """One row of the table and what came of it.

    Attributes:
        expected, found: ends as text, equal where all is well.
        wrong: what is wrong with voxels, masks or places; empty where nothing is.
    """

    folder: str
    setting: str
    expected: str
    found: str
    wrong: str = ""

    @property
    def ok(self) -> bool:
        return self.expected == self.found and not self.wrong


@dataclass(frozen=True)
class _Run:
    """A store, of each of its sources where in the archive it lies, and files without a scan."""

    store: Store
    linkage: pd.DataFrame
    ignored: int


def check_hazards(out: Path, work: Path, progress: Progress = SILENT) -> list[Checked]:
    """Ingest what `write_hazards` wrote into `out`, and compare; `work` is for stores and a key.

    All folders are one archive for the rows without a setting; each other row has its own run.

    Raises:
        MedsslError: the run over the whole archive failed.
    """
    rows = read_table(out)
    key_file = work / "check.key"
    make_key_file(key_file)
    whole = _ingest(out / "archive", work / "whole", key_file, "", progress)
    ignored = sum(int(row["ignored"]) for row in rows if not row["setting"])
    told_ignored = (f"{number} files ignored" for number in (ignored, whole.ignored))
    checked = [Checked(WHOLE, "", *told_ignored)]
    for number, row in enumerate(rows):
        if not row["setting"]:
            checked.append(_compare(out, row, whole))
            continue
        checked.append(check_alone(out, row, work / f"apart_{number:03d}", key_file, progress))
    return checked


def read_table(out: Path) -> list[dict[str, str]]:
    """The rows of the table that `write_hazards` wrote into `out`."""
    with (out / "hazards.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def check_alone(
    out: Path, row: dict[str, str], work: Path, key_file: Path, progress: Progress = SILENT
) -> Checked:
    """One row of the table by a run over its folder alone; `work` is for a copy and a store."""
    try:
        run = _ingest_apart(out, row, work, key_file, progress)
    except MedsslError as error:
        return Checked(*_of(row), found=f"{type(error).__name__}: {error}")
    checked = _compare(out, row, run)
    if not (checked.wrong or row["setting"]) and run.ignored != int(row["ignored"]):
        return replace(checked, wrong=f"{run.ignored} files ignored, not {row['ignored']}")
    return checked


def _ingest_apart(
    out: Path, row: dict[str, str], work: Path, key_file: Path, progress: Progress
) -> _Run:
    """One folder under its setting, from a copy that lies as it lies in the archive."""
    folder = row["folder"]
    _copy(out / "archive" / folder, work / "archive" / folder)
    setting = row["setting"].replace("unpacked", str(work / "unpacked"))
    if row["setting"] == LATE:
        setting = ""
        _ingest(work / "archive", work, key_file, setting, progress)
        shutil.copytree(out / "late" / folder, work / "archive" / folder, dirs_exist_ok=True)
    return _ingest(work / "archive", work, key_file, setting, progress)


def _copy(folder: Path, target: Path) -> None:
    """A folder with its links as links, and one file under several names as one."""
    copied: dict[int, str] = {}

    def copy(source: str, copy_of: str) -> None:
        first = copied.setdefault(os.stat(source).st_ino, copy_of)
        if first == copy_of:
            shutil.copy2(source, copy_of)
        else:
            os.link(first, copy_of)

    shutil.copytree(folder, target, symlinks=True, copy_function=copy)


def _ingest(archive: Path, work: Path, key_file: Path, setting: str, progress: Progress) -> _Run:
    values = {
        **(yaml.safe_load(setting) or {}),
        "archive": archive,
        "store": work / "store",
        "linkage": work / "linkage.parquet",
        "key_file": key_file,
    }
    config = parse_config(IngestConfig, values, source="setting of a hazard")
    ignored = ingest(config, progress).run.by_kind[FileKind.SIDE]
    linkage = pd.read_parquet(work / "linkage.parquet").fillna("")
    linkage["folder"] = [_folder_of(source, archive) for source in linkage["source"]]
    return _Run(open_store(work / "store"), linkage, ignored)


def _folder_of(source: str, archive: Path) -> str:
    """The hazard's folder; empty for what was unpacked elsewhere, which is the only folder."""
    path = Path(source)
    return path.relative_to(archive).parts[0] if archive in path.parents else ""


def _compare(out: Path, row: dict[str, str], run: _Run) -> Checked:
    linkage = run.linkage[run.linkage["folder"].isin([row["folder"], ""])]
    uids = sorted(set(linkage["volume_uid"]) - {""})
    found = told(_ends(run.store, linkage, uids))
    expected, volumes = row["expected"], int(row["volumes"])
    wrong = ""
    if found == expected and volumes:
        truth = out / "truth" / row["folder"]
        read = [run.store.read(uid) for uid in uids]
        wrong = _differences(truth, "volume", read, resampled=_RESAMPLED_CODE in expected)
    if found == expected and not wrong and int(row["masks"]):
        masked = run.store.mask_labels().index
        masks = [run.store.read_label(uid) for uid in uids if uid in masked]
        wrong = _differences(out / "truth" / row["folder"], "mask", masks)
    return Checked(*_of(row), found=found, wrong=wrong)


def _of(row: dict[str, str]) -> tuple[str, str, str]:
    return row["folder"], row["setting"], row["expected"]


def _ends(store: Store, linkage: pd.DataFrame, uids: list[str]) -> Iterator[End]:
    """Volumes and masks by the store, what was refused by the linkage file."""
    rows = store.manifest.loc[uids]
    for outcome, corrections, notes in rows[["outcome", "corrections", "notes"]].itertuples(
        index=False
    ):
        yield End(outcome, _sorted(corrections), _sorted(notes))
    labels = store.labels[store.labels["volume_uid"].isin(uids)]
    for corrections in labels.loc[labels["kind"] == "mask", "corrections"]:
        outcome = "mask CORRECTED" if corrections else "mask EXACT"
        yield End(outcome, _sorted(corrections))
    for code in linkage.loc[linkage["outcome"] == "REJECTED", "reason_code"]:
        yield End(Reason[code].group.upper(), code)


def _sorted(codes: str) -> str:
    return "+".join(sorted(code for code in codes.split("+") if code))


def _differences(folder: Path, kind: str, read: list[Volume], resampled: bool = False) -> str:
    """Empty where each truth is one of the volumes read, value by value at its place in space."""
    truths = [_load(path) for path in sorted(folder.glob(f"{kind}_*.nii.gz"))]
    if len(truths) != len(read):
        return f"{len(truths)} true {kind}s, {len(read)} read"
    left = list(read)
    same_as = _same_field if resampled else _same
    for number, truth in enumerate(truths, 1):
        same = next((volume for volume in left if same_as(truth, volume)), None)
        if same is None:
            return f"{kind} {number} is not among those read: other values, or another place"
        left = [volume for volume in left if volume is not same]
    return ""


def _load(path: Path) -> Volume:
    image: Any = nib.load(path)
    return Volume(np.asarray(image.dataobj), image.affine)


def _same(truth: Volume, volume: Volume) -> bool:
    true, read = truth.to_ras(), volume.to_ras()
    return (
        true.shape == read.shape
        and np.allclose(true.corners_mm(), read.corners_mm(), rtol=0, atol=_PLACE_MM)
        and np.allclose(true.voxels, read.voxels, rtol=_RELATIVE, atol=_RELATIVE)
    )


def _same_field(truth: Volume, read: Volume) -> bool:
    """Whether a volume on a grid of its own choice holds the truth between its voxels."""
    there = truth.resampled(read.affine, read.shape, outside=np.nan).voxels
    inside = np.isfinite(there)
    return bool(inside.mean() > 0.8 and np.abs(there - read.voxels)[inside].max() <= _HALF_STEPS)
