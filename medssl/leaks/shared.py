"""What two corpora have in common for certain: patients, series, source objects, files, voxels."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from medssl.leaks.corpus import Corpus

KEYED = ("patient", "series", "instance")
EXACT = (*KEYED, "file", "pixels")
_OF_VOLUMES = {"patient": "patient_key", "series": "series_key", "pixels": "pixel_sha256"}
_OF_FILES = {"instance": "instance_key", "file": "file_sha256"}


@dataclass(frozen=True)
class Shared:
    """Pairs of volumes that share something of one kind.

    Attributes:
        kind: one of EXACT.
        pairs: volume_uid_a, volume_uid_b; each pair once, at most as many as asked for.
        values: how many patients, series, source objects, files or sets of voxels are shared.
        found: how many pairs of volumes share them; at least this many where `pairs` is cut.
    """

    kind: str
    pairs: pd.DataFrame
    values: int
    found: int


def undecided(kind: str, a: Corpus, b: Corpus) -> str | None:
    """Why pairs of a kind cannot be told; None where they can."""
    if kind in KEYED and (len(a.key_ids | b.key_ids) > 1 or "" in a.key_ids | b.key_ids):
        names = " and ".join(sorted({key or "(not named)" for key in a.key_ids | b.key_ids}))
        return f"the corpora were coded under different keys: {names}"
    if kind in _OF_FILES and (a.instances is None or b.instances is None):
        return "one of the corpora has no record of its source files"
    return None


def find_shared(kind: str, a: Corpus, b: Corpus, most: int) -> Shared:
    """Every pair of volumes that shares a value of `kind`; at most `most` of them are listed."""
    if kind in _OF_VOLUMES:
        column = _OF_VOLUMES[kind]
        sides = [corpus.volumes[["volume_uid", column]] for corpus in (a, b)]
        common = set(sides[0][column]) & set(sides[1][column]) - {""}
        left, right = (side[side[column].isin(common)] for side in sides)
    else:
        column = _OF_FILES[kind]
        assert a.instances is not None, "see `undecided`"
        assert b.instances is not None, "see `undecided`"
        left, right = _common_rows(a.instances, b.instances, column)
    return _joined(kind, column, left, right, most)


def _common_rows(a: pa.Table, b: pa.Table, column: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of each side whose value the other has; the rest never becomes Python text."""
    rows = []
    for mine, theirs in ((a, b), (b, a)):
        known = pc.is_in(mine[column], value_set=pc.unique(theirs[column]))
        there = pc.and_(known, pc.not_equal(mine[column], ""))
        rows.append(mine.filter(there).select(["volume_uid", column]).to_pandas())
    return rows[0], rows[1]


def _joined(kind: str, column: str, left: pd.DataFrame, right: pd.DataFrame, most: int) -> Shared:
    left, right = left.drop_duplicates(), right.drop_duplicates()
    each = left[column].value_counts().sort_index() * right[column].value_counts().sort_index()
    fits = each.index[each.cumsum() <= most] if each.sum() > most else each.index
    if not len(fits):
        fits = each.index[:1]
    both = left[left[column].isin(fits)].merge(
        right[right[column].isin(fits)], on=column, suffixes=("_a", "_b")
    )
    pairs = both[["volume_uid_a", "volume_uid_b"]].drop_duplicates()
    pairs = pairs.sort_values(["volume_uid_a", "volume_uid_b"], ignore_index=True)
    found = len(pairs) if len(fits) == len(each) else int(each.sum())
    return Shared(kind, pairs.head(most), len(each), found)
