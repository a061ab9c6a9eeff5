"""What a manifest of any length says, in one pass over its part files and in bounded memory.

Everything is counted over all volumes; what needs a distribution (medians, spreads, pictures) is
taken from a sample: of each kind, up to a thousand volumes with the smallest volume_uid. A uid is
a keyed hash, so they are drawn at random, and the same ones are drawn again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import StoreError
from medssl.store.parts import part_files
from medssl.store.schema import PERCENTILES

KIND = ("modality", "contrast", "body_part", "manufacturer", "units")
SCANNER = ("modality", "units", "manufacturer", "model")
NUMBERS = (
    *PERCENTILES,
    *(f"shape_{a}" for a in range(3)),
    *(f"spacing_{a}" for a in range(3)),
    "foreground_voxels",
    "masked_voxels",
)
_WORDS = (*KIND, "model", "outcome", "corrections", "notes", "source_format")
_PEOPLE = ("modality", "site", "sex", "age_band", "group_quality")
_PLACE = (
    "path",
    *(f"affine_{r}{c}" for r in range(3) for c in range(4)),
    *(f"foreground_{a}_{end}" for a in range(3) for end in ("start", "stop")),
)
_IDS = ("volume_uid", "patient_key", "series_key", "pixel_sha256", "perceptual_hash")
_SAMPLE = 1000
_ROWS_AT_ONCE = 4096
_PRUNE_AT = 200_000

Codes = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

IN_PLANE_MM = (0.0, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, np.inf)
SLICE_MM = (0.0, 0.75, 1.25, 2.0, 3.5, 5.5, np.inf)


@dataclass(frozen=True)
class Facts:
    """Counts over all volumes, and the sample.

    Attributes:
        words: volumes by every combination of words that a volume is described with.
        people: volumes by modality, site, sex, age band, and how well the patient is known.
        scanners: volumes and patients by modality, units, manufacturer and model.
        kinds: volumes of each kind, the most frequent first; `kind` of `sample` counts its rows.
        spacing: volumes by modality, in-plane and slice bin (indices into the bin edges).
        sample: up to a thousand volumes of each kind, in the order of volume_uid.
        patient, pixels: 64 bits of each volume's keys, in the order of the part files.
        looks: perceptual hashes in that order, (volumes, 4); of volumes too thin for it zero.
    """

    num_volumes: int
    num_patients: int
    words: pd.DataFrame
    people: pd.DataFrame
    scanners: pd.DataFrame
    kinds: pd.DataFrame
    spacing: pd.DataFrame
    sample: pd.DataFrame
    patient: Keys
    pixels: Keys
    looks: Keys


def read_facts(root: Path, thin: int) -> Facts:
    """Read the manifest of the store at `root` once.

    Args:
        thin: perceptual hashes of volumes with fewer voxels along an axis are left out.

    Raises:
        StoreError: a part file is damaged.
    """
    words, people, spacing = _Counts(_WORDS), _Counts(_PEOPLE), _Counts(_SPACING)
    scanner_ids: dict[tuple[str, ...], int] = {}
    sample = _Sample()
    patient, pixels, looks, scanner = [], [], [], []
    columns = [*dict.fromkeys((*_WORDS, *_PEOPLE, *NUMBERS, *_PLACE, *_IDS))]
    for rows in batches(root, "manifest", columns):
        words.add(rows)
        people.add(rows)
        spacing.add(_spacing_bins(rows))
        sample.add(rows)
        patient.append(leading_bits(rows["patient_key"]))
        pixels.append(leading_bits(rows["pixel_sha256"]))
        is_thin = rows[[f"shape_{a}" for a in range(3)]].to_numpy().min(axis=1) < thin
        looks.append(np.where(is_thin[:, None], np.uint64(0), _bits_256(rows["perceptual_hash"])))
        scanner.append(_codes(rows, SCANNER, scanner_ids))
    people_of = _together(patient)
    return Facts(
        num_volumes=len(people_of),
        num_patients=len(np.unique(people_of)),
        words=words.frame(),
        people=people.frame(),
        scanners=_scanners(scanner_ids, _together(scanner).astype(np.int64), people_of),
        kinds=counted(words.frame(), KIND),
        spacing=spacing.frame(),
        sample=sample.frame(columns),
        patient=people_of,
        pixels=_together(pixels),
        looks=np.concatenate(looks) if looks else np.zeros((0, 4), np.uint64),
    )


def batches(root: Path, folder: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The rows of a store's part files in order, some columns of some rows at a time."""
    waiting: list[pa.RecordBatch] = []  # of many small parts
    for part in part_files(root, folder):
        try:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
                    waiting.append(batch)
                    if sum(len(b) for b in waiting) >= _ROWS_AT_ONCE:
                        yield pa.Table.from_batches(waiting).to_pandas()
                        waiting = []
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{root / folder}: a part file is damaged") from error
    if waiting:
        yield pa.Table.from_batches(waiting).to_pandas()


def planes_mm(rows: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """In-plane and slice spacing of each row: the slice axis is the one unlike the other two."""
    spacing = np.sort(rows[[f"spacing_{a}" for a in range(3)]].to_numpy(np.float64), axis=1)
    low, middle, high = spacing.T
    coarse = middle * middle <= low * high  # the two smaller ones are nearer, as ratios
    in_plane = np.where(coarse, np.sqrt(low * middle), np.sqrt(middle * high))
    return in_plane, np.where(coarse, high, low)


def counted(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Volumes by the values of some columns, the most frequent first."""
    sums = frame.groupby(list(columns)).agg(volumes=("volumes", "sum")).reset_index()
    order = [False, *(True for _ in columns)]
    return sums.sort_values(["volumes", *columns], ascending=order).reset_index(drop=True)


def count_of(number: int, what: str = "volume") -> str:
    """A number of things in words: "1 volume", "2,000 volumes"."""
    return f"{number:,} {what}" + ("" if number == 1 or what.endswith("s") else "s")


def number_of(value: float) -> str:
    """A value in four digits, or all of them up to ten millions: "0.1235", "123,457", "1.5e+08"."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e8 else f"{value:.4g}"


def leading_bits(keys: pd.Series[str]) -> Keys:
    """The first 64 bits of hexadecimal keys: as good as the key for telling them apart."""
    return _hex(keys, 16)[:, 0]


def _bits_256(keys: pd.Series[str]) -> Keys:
    return _hex(keys, 64)


def _hex(keys: pd.Series[str], digits: int) -> Keys:
    text = np.asarray(keys.fillna("").to_numpy(), dtype=f"S{digits}")
    letters = text.view(np.uint8).reshape(len(text), digits).astype(np.uint64)
    nibbles = (letters & 15) + 9 * (letters >> 6)
    shifts = np.arange(60, -1, -4, dtype=np.uint64)
    return np.asarray(
        (nibbles.reshape(len(text), digits // 16, 16) << shifts).sum(axis=2, dtype=np.uint64)
    )


_SPACING = ("modality", "in_plane", "slice")


def _spacing_bins(rows: pd.DataFrame) -> pd.DataFrame:
    in_plane, between = planes_mm(rows)
    return pd.DataFrame(
        {
            "modality": rows["modality"],
            "in_plane": np.digitize(in_plane, IN_PLANE_MM[1:-1]),
            "slice": np.digitize(between, SLICE_MM[1:-1]),
        }
    )


class _Counts:
    """Volumes by combination of values."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._seen: Counter[tuple[object, ...]] = Counter()

    def add(self, rows: pd.DataFrame) -> None:
        for values, number in rows.groupby(self._columns, dropna=False).size().items():
            self._seen[values] += number  # type: ignore[index]

    def frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(list(self._seen), columns=self._columns)
        frame["volumes"] = np.array(list(self._seen.values()), dtype=np.int64)
        return frame


def _codes(rows: pd.DataFrame, columns: Sequence[str], known: dict[tuple[str, ...], int]) -> Codes:
    """The number of each row's combination of words in `known`, which grows."""
    grouped = rows.groupby(list(columns), sort=False, dropna=False)
    names = grouped.size().index
    local = np.array([known.setdefault(tuple(name), len(known)) for name in names], dtype=np.int64)
    return local[grouped.ngroup().to_numpy()] if len(rows) else local


def kind_codes(rows: pd.DataFrame, kinds: pd.DataFrame) -> Codes:
    """The row of `kinds` that each row belongs to."""
    known = {tuple(kind): i for i, kind in enumerate(kinds[list(KIND)].itertuples(index=False))}
    return _codes(rows, KIND, known)


def _scanners(ids: dict[tuple[str, ...], int], codes: Codes, patient: Keys) -> pd.DataFrame:
    frame = pd.DataFrame(list(ids), columns=list(SCANNER))
    frame["volumes"] = np.bincount(codes, minlength=len(ids))
    order = np.lexsort((patient, codes))
    codes, patient = codes[order], patient[order]
    first = np.ones(len(codes), dtype=bool)
    first[1:] = (codes[1:] != codes[:-1]) | (patient[1:] != patient[:-1])
    frame["patients"] = np.bincount(codes[first], minlength=len(ids))
    return frame.sort_values(["modality", "volumes"], ascending=[True, False])


class _Sample:
    """Of each kind the volumes with the smallest uid, of a stream."""

    def __init__(self) -> None:
        self._kept: list[pd.DataFrame] = []
        self._known: dict[tuple[str, ...], int] = {}
        self._limits = np.zeros(0, dtype=np.uint64)
        self._waiting = 0

    def add(self, rows: pd.DataFrame) -> None:
        codes = _codes(rows, KIND, self._known)
        new = len(self._known) - len(self._limits)
        self._limits = np.append(self._limits, np.full(new, np.iinfo(np.uint64).max, np.uint64))
        near = leading_bits(rows["volume_uid"]) <= self._limits[codes]
        self._kept.append(rows[near].assign(_kind=codes[near]))
        self._waiting += int(near.sum())
        if self._waiting > _PRUNE_AT:
            self._prune()

    def frame(self, columns: Sequence[str]) -> pd.DataFrame:
        if not self._kept:
            return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
        self._prune()
        return self._kept[0].drop(columns="_kind").reset_index(drop=True)

    def _prune(self) -> None:
        rows = pd.concat(self._kept).sort_values("volume_uid")
        rows = rows.groupby("_kind").head(_SAMPLE)
        full = rows.groupby("_kind")["volume_uid"].agg(["size", "last"])
        full = full[full["size"] >= _SAMPLE]
        self._limits[full.index.to_numpy()] = leading_bits(full["last"])
        self._kept, self._waiting = [rows], 0


def _together(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.uint64)
