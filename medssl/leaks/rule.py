"""A person's ruling on a pair that a search listed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medssl.errors import StudyError
from medssl.leaks.rulings import RULINGS, Ruling, Verdict, add_ruling
from medssl.leaks.search import PAIRS


def rule(folder: Path, pair: str, ruling: Verdict, by: str) -> Ruling:
    """Record a ruling in the folder of a search, and in its pairs.parquet.

    Args:
        folder: where `medssl.leaks.search` wrote.
        pair: the name of a near pair, or how it begins.

    Raises:
        StudyError: no search is there, it lists no such near pair, or several begin so.
    """
    path = folder / PAIRS
    try:
        pairs = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no readable {PAIRS} in {folder}; medssl leaks search A B --out DIR writes one"
        ) from error
    rows = pairs[pairs["pair"].str.startswith(pair)] if pair else pairs[:0]
    names = sorted(rows["pair"].unique())
    if not names:
        raise StudyError(f"{PAIRS} lists no pair {pair}; {folder / 'leaks.html'} names the pairs")
    if len(names) > 1:
        raise StudyError(f"{len(names)} pairs begin with {pair}: {', '.join(names[:5])}; say more")
    near = rows[rows["distance"].notna()].sort_values("distance")
    if near.empty:
        raise StudyError(
            f"pair {names[0]} is the same by key or hash ({rows['kind'].iloc[0]}): there is "
            "nothing to rule on"
        )
    row = near.iloc[0]
    pixels = str(row["pixel_sha256_a"]), str(row["pixel_sha256_b"])
    recorded = add_ruling(
        folder / RULINGS, pixels, ruling, by, str(row["kind"]), float(row["distance"])
    )
    mine = (pairs["pair"] == recorded.pair) & pairs["distance"].notna()
    partial = path.with_name(f".{path.name}.partial")
    pairs.assign(ruling=pairs["ruling"].mask(mine, recorded.ruling)).to_parquet(
        partial, index=False
    )
    partial.replace(path)
    return recorded
