"""One pass over the manifest: the same counts from any parts, and a sample of smallest uids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.report import quality_facts
from medssl.report.quality_facts import (
    leading_bits,
    number_of,
    planes_mm,
    read_facts,
)
from medssl.report.quality_outliers import find_outliers
from medssl.report.quality_twins import find_twins

MakeRow = Callable[..., dict[str, Any]]
UidOf = Callable[[int], str]


def test_keys_become_their_leading_bits() -> None:
    keys = pd.Series(["0123456789abcdef" + "0" * 16, "f" * 32])
    assert leading_bits(keys).tolist() == [0x0123456789ABCDEF, 2**64 - 1]


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((0.8, 0.8, 5.0), (0.8, 5.0)),
        ((5.0, 0.8, 0.8), (0.8, 5.0)),
        ((0.98, 0.625, 0.98), (0.98, 0.625)),  # slices finer than pixels
        ((1.0, 1.0, 1.0), (1.0, 1.0)),
    ],
)
def test_the_slice_axis_is_the_odd_one(
    spacing: tuple[float, ...], expected: tuple[float, float]
) -> None:
    rows = pd.DataFrame([dict(zip(("spacing_0", "spacing_1", "spacing_2"), spacing, strict=True))])
    in_plane, between = planes_mm(rows)
    np.testing.assert_allclose((in_plane[0], between[0]), expected)


def test_batches_and_pruning_change_nothing(
    store_root: Path,
    make_row: MakeRow,
    write_rows: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [make_row(n, modality="CT" if n % 3 else "MR") for n in range(40)]
    rows[7] |= {"pixel_sha256": rows[22]["pixel_sha256"]}
    rows[9] |= {"spacing_0": 50.0}
    write_rows(rows, each=6)
    whole = read_facts(store_root, 8)
    odd, twins = find_outliers(store_root, whole, ()), find_twins(store_root, whole)
    monkeypatch.setattr(quality_facts, "_ROWS_AT_ONCE", 4)
    monkeypatch.setattr(quality_facts, "_PRUNE_AT", 5)
    pieces = read_facts(store_root, 8)
    for name in ("words", "people", "scanners", "kinds", "spacing"):
        columns = list(getattr(whole, name).columns)
        a, b = (getattr(f, name).sort_values(columns, ignore_index=True) for f in (whole, pieces))
        pd.testing.assert_frame_equal(a, b)
    assert list(whole.sample["volume_uid"]) == sorted(row["volume_uid"] for row in rows)
    assert list(pieces.sample["volume_uid"]) == list(whole.sample["volume_uid"])
    assert find_outliers(store_root, pieces, ()).rules == odd.rules != {}
    again = find_twins(store_root, pieces)
    assert set(again.rows["volume_uid"]) == set(twins.rows["volume_uid"])
    assert set(twins.rows["volume_uid"]) == {rows[7]["volume_uid"], rows[22]["volume_uid"]}
    monkeypatch.setattr(quality_facts, "_SAMPLE", 5)
    few = read_facts(store_root, 8).sample
    for modality in ("CT", "MR"):
        mine = sorted(row["volume_uid"] for row in rows if row["modality"] == modality)
        assert list(few.loc[few["modality"] == modality, "volume_uid"]) == mine[:5]


def test_near_pairs_are_found_wherever_the_bits_differ(
    uid_of: UidOf, store_root: Path, make_row: MakeRow, write_rows: Callable[..., None]
) -> None:
    rng = np.random.Generator(np.random.Philox(5))
    rows = [make_row(0)]
    base = int.from_bytes(rng.bytes(32), "big")
    rows[0] |= {"perceptual_hash": f"{base:064x}"}
    for n in range(1, 40):
        bits = rng.choice(256, size=7 if n % 2 else 8, replace=False)
        other = base
        for bit in bits:
            other ^= 1 << int(bit)
        rows.append(
            {
                **rows[0],
                "volume_uid": uid_of(n),
                "patient_key": uid_of(100 + n),
                "pixel_sha256": uid_of(n) * 2,
                "perceptual_hash": f"{other:064x}",
            }
        )
    write_rows(rows)
    facts = read_facts(store_root, 8)
    hashes = [int(row["perceptual_hash"], 16) for row in rows]
    expected = sum((a ^ b).bit_count() <= 7 for i, a in enumerate(hashes) for b in hashes[i + 1 :])
    assert find_twins(store_root, facts).near == expected >= 20


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.123456, "0.1235"), (1234.0, "1234"), (123456.7, "123,457"), (1.5e9, "1.5e+09"), (0, "0")],
)
def test_numbers_are_short(value: float, expected: str) -> None:
    assert number_of(value) == expected
