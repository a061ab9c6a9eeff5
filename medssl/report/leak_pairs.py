"""The page of a search for leaks: what is shared for certain, and look-alikes to rule on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medssl.errors import StoreError
from medssl.report.page import (
    Part,
    Section,
    code,
    details,
    side_by_side,
    subheading,
    table,
    text,
    tiles,
    verdict,
    write_page,
)
from medssl.report.quality_pictures import draw, kind_of, largest_mm
from medssl.store import open_store

if TYPE_CHECKING:
    from medssl.leaks.near import NearPairs
    from medssl.leaks.rulings import Ruling
    from medssl.leaks.search import LeaksResult

MOST_PICTURED = 24
_LISTED = 200
_SHORT = 12  # digits of a key that a reader sees

_WORDS = {
    "patient": ("patient", "the key of the patient"),
    "series": ("series", "the key of the series"),
    "instance": ("source object", "the key of a SOP instance or file"),
    "file": ("file", "the hash of a source file's bytes"),
    "pixels": ("set of voxels", "the hash of all values with shape and spacing"),
    "perceptual": ("as they are", "bits of 256 of the perceptual hash that differ"),
    "mirrored": ("one of them mirrored", "the same, nearest of seven mirror images"),
    "embedding": ("embedding", "cosine distance of the encoder's embeddings"),
}


def write_leaks(
    path: Path,
    result: LeaksResult,
    pairs: pd.DataFrame,
    stores: Mapping[str, Path],
    rulings: Mapping[str, Ruling],
) -> Path:
    """Write the page; one file that opens offline. It shows patients.

    Args:
        pairs: as in pairs.parquet.
        stores: volume_uid to the store that holds its voxels; volumes without one have no picture.
        rulings: by pair.
    """
    near = _near(pairs)
    unruled, ruled = near[near["ruling"] == ""], near[near["ruling"] != ""]
    sections = [
        Section("", [_headline(result), tiles(_numbers(result))]),
        Section("Shared for certain", _exact(result, pairs)),
        Section("Look alike", [*_how(result), *_pictured(unruled, pairs, stores)]),
    ]
    if len(ruled):
        sections.append(Section("Ruled on", _ruled(ruled, rulings)))
    sections.append(Section("What this cannot tell", _limits()))
    lead = f"A: {result.a}. B: {result.b}."
    return write_page(path, "Search for leaks", lead, sections)


def _near(pairs: pd.DataFrame) -> pd.DataFrame:
    """Each near pair once, the nearest first: by the kind in which it is farthest below natural."""
    near = pairs[pairs["distance"].notna()]
    near = near.assign(relative=near["distance"] / near["threshold"])
    near = near.sort_values(["relative", "pair", "kind"], kind="stable")
    return near.drop_duplicates("pair").reset_index(drop=True)


def _headline(result: LeaksResult) -> Part:
    sure = [f for f in result.shared if f.found]
    if sure or result.confirmed:
        words = [f"{f.values:,} {_many(_WORDS[f.kind][0], f.values)}" for f in sure]
        if result.confirmed:
            words.append(f"{result.confirmed:,} near {_many('pair', result.confirmed)} ruled same")
        return verdict(f"LEAK: A and B share {', '.join(words)}.", "bad")
    if result.undecided:
        kinds = ", ".join(result.undecided)
        return verdict(
            f"INCONCLUSIVE: nothing shared was found, but {kinds} cannot be compared.", "open"
        )
    if result.unreviewed:
        return verdict(
            f"Nothing is shared by key or hash. {result.unreviewed:,} near "
            f"{_many('pair', result.unreviewed)} wait for a ruling.",
            "open",
        )
    return verdict("Nothing shared was found, and no near pair waits for a ruling.", "good")


def _numbers(result: LeaksResult) -> list[tuple[str, str]]:
    sure = [(f"{f.values:,}", _many(_WORDS[f.kind][0], f.values)) for f in result.shared]
    return [*sure, (f"{result.unreviewed:,}", "near pairs not ruled on")]


def _exact(result: LeaksResult, pairs: pd.DataFrame) -> list[Part]:
    rows = [(f.kind, _WORDS[f.kind][1], f.values, f.found) for f in result.shared]
    parts = [table(["kind", "compared by", "shared", "pairs of volumes"], rows)]
    parts += [text(f"{kind}: INCONCLUSIVE, {why}.") for kind, why in result.undecided.items()]
    for found in result.shared:
        if found.found:
            some = pairs[pairs["kind"] == found.kind].head(_LISTED)
            lines = [
                (x[:_SHORT], y[:_SHORT])
                for x, y in zip(some["volume_uid_a"], some["volume_uid_b"], strict=True)
            ]
            heading = f"{found.kind}: {len(lines):,} of {found.found:,} pairs of volumes"
            parts.append(details(heading, [table(["volume of A", "volume of B"], lines)]))
    return parts


def _how(result: LeaksResult) -> list[Part]:
    rows = [
        (
            near.kind,
            _WORDS[near.kind][1],
            near.compared,
            _threshold(near),
            near.found,
            near.by_chance,
        )
        for near in result.near
    ]
    columns = ["kind", "distance", "pairs compared", "near is below", "found", "by chance"]
    lines = [
        text(
            "Pairs of volumes of different patients, or of patients that cannot be compared, whose "
            "voxels differ. Near is what is nearer than all but a thousandth of the pairs of "
            "different patients within A and within B; so about a thousandth of the pairs compared "
            "is near by chance, and the column says how many that is. A copy comes first."
        ),
        table(columns, rows),
    ]
    for near in result.near:
        if near.left_out:
            lines.append(
                text(
                    f"{near.kind}: {near.left_out:,} volumes have no hash or embedding, or too few "
                    "voxels along an axis, and were not compared."
                )
            )
        if near.natural_pairs < 1000:
            lines.append(
                text(
                    f"{near.kind}: only {near.natural_pairs:,} pairs of different patients, under "
                    "a thousand, to tell what is natural; "
                    + (
                        "nothing was compared."
                        if near.kind == "embedding"
                        else "a fixed number of bits stands in."
                    )
                )
            )
    return lines


def _pictured(near: pd.DataFrame, pairs: pd.DataFrame, stores: Mapping[str, Path]) -> list[Part]:
    if near.empty:
        return [text("No pair waits for a ruling.")]
    both = near["volume_uid_a"].isin(stores.keys()) & near["volume_uid_b"].isin(stores.keys())
    shown = near[both].head(MOST_PICTURED)
    parts: list[Part] = []
    if len(shown):
        parts.append(
            text(
                "Axial, coronal and sagittal plane through the middle of the tissue; both volumes "
                "of a pair in one scale. Rule on a pair, DIR being the folder of this page:"
            )
        )
        parts.append(
            code(
                "medssl leaks rule DIR PAIR same --by NAME       one scan, or one patient\n"
                "medssl leaks rule DIR PAIR different --by NAME  two patients"
            )
        )
    for row in shown.itertuples():
        parts += _pair(str(row.pair), str(row.volume_uid_a), str(row.volume_uid_b), pairs, stores)
    if not both.all():
        parts.append(
            text(
                f"{int((~both).sum()):,} of {len(near):,} pairs have no picture: their voxels are "
                "in no store that was named. Search again with --store."
            )
        )
    rest = near.drop(shown.index)
    if len(rest):
        some = rest.head(_LISTED)
        lines = list(
            zip(
                some["pair"],
                some["volume_uid_a"].str[:_SHORT],
                some["volume_uid_b"].str[:_SHORT],
                some["kind"],
                some["distance"].tolist(),
                strict=True,
            )
        )
        heading = f"The next {len(lines):,} of {len(rest):,} further pairs"
        columns = ["pair", "volume of A", "volume of B", "kind", "distance"]
        parts.append(details(heading, [table(columns, lines)]))
    return parts


def _pair(
    pair: str, uid_a: str, uid_b: str, pairs: pd.DataFrame, stores: Mapping[str, Path]
) -> list[Part]:
    rows = pairs[
        (pairs["volume_uid_a"] == uid_a)
        & (pairs["volume_uid_b"] == uid_b)
        & pairs["distance"].notna()
    ]
    told = "; ".join(
        f"{row.kind} {row.distance:.4g}"
        + (f", {row.mirror!s}" if row.mirror else "")
        + f" (near is below {row.threshold:.4g})"
        for row in rows.itertuples()
    )
    found = [_row(stores[uid], uid) for uid in (uid_a, uid_b)]
    widest = max((largest_mm(row) for row in found if row is not None), default=1.0)
    pictures = []
    for side, uid, row in zip("AB", (uid_a, uid_b), found, strict=True):
        drawn = draw(stores[uid], row, widest) if row is not None else None
        lines = [f"{side}: volume {uid[:_SHORT]}"]
        if row is not None and drawn is not None:
            lines += [
                f"patient {str(row['patient_key'])[:_SHORT]} ({row['group_quality']})",
                kind_of(row),
                f"{_geometry(row)}; bar {drawn.bar_mm} mm",
            ]
        alt = f"Axial, coronal and sagittal plane of volume {uid[:_SHORT]}"
        pictures.append((drawn.jpeg if drawn is not None else "", alt, lines))
    return [subheading(f"Pair {pair}"), text(told), side_by_side(pictures)]


def _row(store: Path, uid: str) -> pd.Series[Any] | None:
    try:
        return open_store(store).row(uid)
    except StoreError:
        return None


def _geometry(row: pd.Series[Any]) -> str:
    shape = " × ".join(str(row[f"shape_{a}"]) for a in range(3))
    spacing = " × ".join(f"{row[f'spacing_{a}']:.3g}" for a in range(3))
    return f"{shape} voxels of {spacing} mm"


def _ruled(ruled: pd.DataFrame, rulings: Mapping[str, Ruling]) -> list[Part]:
    lines = []
    for row in ruled.head(_LISTED).itertuples():
        ruling = rulings[str(row.pair)]
        lines.append(
            (
                row.pair,
                str(row.volume_uid_a)[:_SHORT],
                str(row.volume_uid_b)[:_SHORT],
                ruling.ruling,
                ruling.by,
                ruling.utc[:16].replace("T", " "),
            )
        )
    columns = ["pair", "volume of A", "volume of B", "ruling", "by", "when (UTC)"]
    return [
        text(f"{len(ruled):,} near {_many('pair', len(ruled))}; a later ruling replaces one."),
        table(columns, lines),
    ]


def _limits() -> list[Part]:
    lines = [
        "A scan that was cut by a twentieth, or a small crop that was moved by a voxel, looks like "
        "another scan to a perceptual hash. Two scans of one patient need not look alike: without "
        "a common key of patients they are not found.",
        "This page shows scans: pseudonymised, not anonymous. Keep it where the stores are kept.",
    ]
    return [text(line) for line in lines]


def _threshold(near: NearPairs) -> float | str:
    return near.threshold if near.threshold == near.threshold else "not known"


def _many(word: str, number: int) -> str:
    if number == 1 or word == "series":
        return word
    return {"set of voxels": "sets of voxels"}.get(word, word + "s")
