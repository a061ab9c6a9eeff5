"""Volumes unlike the others of their kind, or unlike any scan.

A volume is compared with the median of its kind in units of the spread: the median absolute
deviation times 1.4826, which is the standard deviation where the values are normal (Iglewicz and
Hoaglin 1993, "How to detect and handle outliers"), and which outliers do not move. The spread has a
floor, or a kind that is all alike would call the smallest difference far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.report.quality_facts import (
    KIND,
    NUMBERS,
    Facts,
    batches,
    kind_codes,
    number_of,
    planes_mm,
)

FEWEST = 8  # volumes of a kind below which nothing is said to be far from it
THIN = 8  # voxels along an axis
_FAR = 6.0
COMMON_SHARE = 0.2  # of a kind: what so many are is not unlike the kind
_SHOWN = 60  # of each rule at most, the farthest first
_LEVELS = ("p05", "p25", "p50", "p75", "p95")

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outliers:
    """What was found, the farthest first.

    Attributes:
        rules: of each rule that found something: what it says, and how many volumes it found.
        rows: the volumes shown, with `rule`, `why` and `score`; a volume stands under one rule.
        common: rules that a whole kind breaks, with the kind, `found` and `volumes`; these are not
            in `rules` and `rows`.
    """

    rules: dict[str, int]
    rows: pd.DataFrame
    common: pd.DataFrame

    @property
    def total(self) -> int:
        return sum(self.rules.values())


@dataclass(frozen=True)
class _Reference:
    """Medians and spreads of each kind, by kind number; NaN where a kind is too small."""

    middle: Reals
    spread: Reals
    enough: npt.NDArray[np.bool_]


def find_outliers(root: Path, facts: Facts, columns: tuple[str, ...]) -> Outliers:
    """Look at every row of the manifest, by what the sample says of its kind.

    Args:
        columns: further columns that the rows shown should have.
    """
    reference = _reference(facts)
    wanted = [*dict.fromkeys((*KIND, *NUMBERS, "volume_uid", *columns))]
    counts = {name: np.zeros(len(facts.kinds), dtype=np.int64) for name in RULES}
    kept: list[pd.DataFrame] = []
    for rows in batches(root, "manifest", wanted):
        codes = kind_codes(rows, facts.kinds)
        scores = {name: rule(rows, codes, reference) for name, rule in RULES.items()}
        taken = np.zeros(len(rows), dtype=bool)
        for name, score in scores.items():
            found = (score > 1) & ~taken
            taken |= found
            if found.any():
                counts[name] += np.bincount(codes[found], minlength=len(facts.kinds))
                best = rows[found].assign(rule=name, score=score[found], _kind=codes[found])
                kept.append(_farthest(best, ["_kind"]))
        if len(kept) > 200:
            kept = [_farthest(pd.concat(kept), ["rule", "_kind"])]
    common = _common(counts, facts)
    usual = pd.MultiIndex.from_arrays([common["rule"], common.index])
    shown = pd.concat(kept) if kept else pd.DataFrame(columns=[*wanted, "rule", "score", "_kind"])
    shown = shown[~pd.MultiIndex.from_arrays([shown["rule"], shown["_kind"]]).isin(usual)]
    shown = _farthest(shown, ["rule"]).reset_index(drop=True)
    codes = shown.pop("_kind").to_numpy(np.int64)
    features = _features(shown)
    middle = reference.middle[codes]
    rows_shown = zip(shown.iterrows(), features, middle, strict=True)
    shown["why"] = [_why(row, own, kind) for (_, row), own, kind in rows_shown]
    for name, kind in usual:
        counts[name][kind] = 0
    rules = {name: int(number.sum()) for name, number in counts.items() if number.any()}
    return Outliers(rules, shown, common)


def _farthest(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    ordered = rows.sort_values(["score", "volume_uid"], ascending=[False, True])
    return ordered.groupby(by, sort=False).head(_SHOWN)


def _common(counts: dict[str, npt.NDArray[np.int64]], facts: Facts) -> pd.DataFrame:
    """Rules that more than a fifth of a kind breaks, indexed by the kind's number."""
    volumes = facts.kinds["volumes"].to_numpy(np.int64)
    found = []
    for name, number in counts.items():
        kinds = np.flatnonzero((number > COMMON_SHARE * volumes) & (volumes >= FEWEST))
        found.append(facts.kinds.iloc[kinds].assign(rule=name, found=number[kinds]))
    return pd.concat(found)


# --- what is compared -----------------------------------------------------------------------------


def _features(rows: pd.DataFrame) -> Reals:
    """Per row: log in-plane mm, log slice mm, then the percentiles; (rows, 2 + 5)."""
    in_plane, between = planes_mm(rows)
    logs = np.log(np.maximum(np.stack([in_plane, between], axis=1), 1e-6))
    return np.concatenate([logs, rows[list(_LEVELS)].to_numpy(np.float64)], axis=1)


def _reference(facts: Facts) -> _Reference:
    num_kinds = len(facts.kinds)
    middle = np.full((num_kinds, 2 + len(_LEVELS)), np.nan)
    spread = np.ones_like(middle)
    enough = np.zeros(num_kinds, dtype=bool)
    if not num_kinds:
        return _Reference(middle, spread, enough)
    codes = kind_codes(facts.sample, facts.kinds)
    features = _features(facts.sample)
    for kind in range(num_kinds):
        mine = features[codes == kind]
        enough[kind] = len(mine) >= FEWEST
        middle[kind] = np.median(mine, axis=0)
        spread[kind] = 1.4826 * np.median(np.abs(mine - middle[kind]), axis=0)
        spread[kind, :2] = np.maximum(spread[kind, :2], np.log(1.5) / _FAR)
        width = middle[kind, -1] - middle[kind, 2]  # of the tissue's values, p05 to p95
        spread[kind, 2:] = np.maximum(spread[kind, 2:], max(0.1 * width, 1e-9))
    return _Reference(middle, spread, enough)


# --- rules: a score over 1 is an outlier ----------------------------------------------------------


def _impossible_values(rows: pd.DataFrame, codes: npt.NDArray[np.int64], _: _Reference) -> Reals:
    top = rows["p99_5"].to_numpy(np.float64)
    scores = np.zeros(len(rows))
    is_ct = ((rows["modality"] == "CT") & (rows["units"] == "HU")).to_numpy()
    scores[is_ct] = top[is_ct] / 3071.0
    is_suv = (rows["units"] == "SUV").to_numpy()
    scores[is_suv] = np.maximum(
        rows["p95"].to_numpy(np.float64) / 50.0, 0.1 / np.maximum(top, 1e-6)
    )[is_suv]
    return scores


def _tiny_tissue(rows: pd.DataFrame, codes: npt.NDArray[np.int64], _: _Reference) -> Reals:
    share = rows["foreground_voxels"].to_numpy(np.float64) / np.maximum(_voxels(rows), 1)
    return np.asarray(0.005 / np.maximum(share, 1e-9))


def _masked(rows: pd.DataFrame, codes: npt.NDArray[np.int64], _: _Reference) -> Reals:
    return np.asarray(rows["masked_voxels"].to_numpy(np.float64) / (0.01 * _voxels(rows)))


def _far_spacing(rows: pd.DataFrame, codes: npt.NDArray[np.int64], by: _Reference) -> Reals:
    return _distance(rows, codes, by, slice(0, 2))


def _far_values(rows: pd.DataFrame, codes: npt.NDArray[np.int64], by: _Reference) -> Reals:
    return _distance(rows, codes, by, slice(2, None))


def _extreme_shape(rows: pd.DataFrame, codes: npt.NDArray[np.int64], _: _Reference) -> Reals:
    shape = rows[[f"shape_{a}" for a in range(3)]].to_numpy(np.float64)
    extent = shape * rows[[f"spacing_{a}" for a in range(3)]].to_numpy(np.float64)
    return np.asarray(
        np.max(
            [
                (THIN - 0.5) / shape.min(axis=1),
                extent.max(axis=1) / 2200.0,
                8.0 / np.maximum(extent.max(axis=1), 1e-6),
            ],
            axis=0,
        )
    )


RULES: dict[str, Callable[[pd.DataFrame, npt.NDArray[np.int64], _Reference], Reals]] = {
    "values that a patient cannot have": _impossible_values,
    "hardly any tissue": _tiny_tissue,
    "many voxels masked": _masked,
    "spacing far from its kind": _far_spacing,
    "values far from its kind": _far_values,
    "extreme shape": _extreme_shape,
}
WHAT_TO_DO = {
    "values that a patient cannot have": "CT above 3071 HU at the 99.5th percentile of the tissue, "
    "SUV above 50 at the 95th or below 0.1 at the 99.5th. Check rescale slope and units, and for "
    "PET weight, dose and times.",
    "hardly any tissue": "Less than 0.5 % of the volume is tissue. Look whether it is a scan.",
    "many voxels masked": "More than 1 % of the voxels were NaN or infinite. Export it again.",
    "spacing far from its kind": f"More than {_FAR:.0f} spreads, and half as large again, from the "
    "median of its kind. Often another protocol under the same name; check the voxel size.",
    "values far from its kind": f"A percentile of the tissue lies more than {_FAR:.0f} spreads "
    "from the median of its kind. Often another unit or scale, a mask taken for an image, or a "
    "subtracted series.",
    "extreme shape": f"Fewer than {THIN} voxels along an axis, more than 2.2 m, or less than 8 mm "
    "in all. Often a localizer, a slab, or a wrong voxel size.",
}


def _distance(
    rows: pd.DataFrame, codes: npt.NDArray[np.int64], by: _Reference, which: slice
) -> Reals:
    away = np.abs(_features(rows) - by.middle[codes]) / by.spread[codes]
    return np.where(by.enough[codes], away[:, which].max(axis=1) / _FAR, 0.0)


def _voxels(rows: pd.DataFrame) -> Reals:
    return np.asarray(rows[[f"shape_{a}" for a in range(3)]].to_numpy(np.float64).prod(axis=1))


def _why(row: pd.Series[Any], features: Reals, middle: Reals) -> str:
    units = row["units"] if row["units"] != "arbitrary" else ""
    voxels = row["shape_0"] * row["shape_1"] * row["shape_2"]
    match row["rule"]:
        case "hardly any tissue":
            return f"Tissue in {row['foreground_voxels'] / voxels:.2%} of the voxels"
        case "many voxels masked":
            return f"{row['masked_voxels'] / voxels:.1%} of the voxels masked"
        case "extreme shape":
            shape = " × ".join(str(int(row[f"shape_{a}"])) for a in range(3))
            extent = max(row[f"shape_{a}"] * row[f"spacing_{a}"] for a in range(3))
            return f"{shape} voxels, {extent:.0f} mm at the longest"
        case "spacing far from its kind":
            here, usual = np.exp(features[:2]), np.exp(middle[:2])
            return f"{_mm(here)}; median of its kind {_mm(usual)}"
        case "values far from its kind":
            own = f"{number_of(row['p05'])} to {number_of(row['p95'])} {units}".rstrip()
            kind = f"{number_of(middle[2])} to {number_of(middle[-1])}"
            return f"5th to 95th percentile {own}; its kind {kind}"
    top = f"{number_of(row['p95'])} and {number_of(row['p99_5'])}"
    return f"95th and 99.5th percentile {top} {units}".rstrip()


def _mm(spacing: Reals) -> str:
    return f"{spacing[0]:.2f} mm in plane, {spacing[1]:.2f} mm between slices"
