"""The sections of the quality report that are tables and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medssl.archive.reasons import Reason
from medssl.report.page import (
    Part,
    Section,
    details,
    shaded,
    subheading,
    table,
    terms,
    text,
)
from medssl.report.quality_facts import IN_PLANE_MM, SLICE_MM, Facts, count_of, counted
from medssl.report.quality_galleries import PATIENT_IS
from medssl.report.quality_pictures import Picture
from medssl.report.quality_refused import Refused

_LONG = 25  # rows of a table beyond which the rest is folded away
_GROUPS = {
    "failed": "the reading broke down; the next run tries again",
    "quarantined": "could not be read beyond doubt",
    "unpaired": "a label or an image whose partner is missing",
    "not an image": "readable, but no scan",
    "corrected": "taken with a correction",
}


def contents_section(facts: Facts) -> Section:
    """Counts by scanner, by what is shown, and of what is known of the patients."""
    scanners = [
        (r["modality"], _or_unstated(r["manufacturer"]), _or_unstated(r["model"]), r["units"],
         int(r["volumes"]), int(r["patients"]))
        for r in _rows(facts.scanners)
    ]  # fmt: skip
    names = ["modality", "vendor", "model", "units", "volumes", "patients"]
    words = facts.words
    shown = _counts(words, ["modality", "contrast", "body_part"])
    formats = _counts(words, ["source_format", "modality", "outcome"])
    parts = [
        *_folded(names, scanners, "further scanners"),
        details(
            "By contrast and body part",
            [table(["modality", "contrast", "body part", "volumes"], shown)],
        ),
        details(
            "By format and outcome", [table(["format", "modality", "outcome", "volumes"], formats)]
        ),
        *_people(facts.people),
    ]
    return Section("What is there", parts)


def spacing_section(facts: Facts) -> Section:
    """Volumes by in-plane and slice spacing, a table for each modality."""
    parts: list[Part] = [
        text(
            "Millimetres in plane, across; between slices, down. The slice axis is the one whose "
            "spacing is unlike the other two."
        )
    ]
    for modality, rows in facts.spacing.groupby("modality"):
        counts = rows.set_index(["slice", "in_plane"])["volumes"]
        most = counts.max()
        across = sorted(rows["in_plane"].unique())
        lines = [
            [
                _range(SLICE_MM, down),
                *(shaded(int(n), n / most) if (n := counts.get((down, c), 0)) else shaded("", 0)
                  for c in across),
            ]
            for down in sorted(rows["slice"].unique())
        ]  # fmt: skip
        columns = ["slices \\ in plane", *(_range(IN_PLANE_MM, c) for c in across)]
        parts += [
            subheading(f"{modality}: {count_of(int(rows['volumes'].sum()))}"),
            table(columns, lines),
        ]
    return Section("Spacing", parts)


def changes_section(facts: Facts) -> Section:
    """Corrections and notes with their counts and meaning."""
    parts: list[Part] = []
    for column, none, some in (
        ("corrections", "No volume was corrected.", "Taken, with a correction"),
        ("notes", "Nothing is noted of any volume.", "Taken as it is, with a fact to know"),
    ):
        counts = _codes(facts.words, column)
        lines = [(code, count_of(counts[code]), Reason[code].text) for code in counts]
        if lines:
            parts += [subheading(some), terms(lines)]
        else:
            parts.append(text(none))
    return Section("Corrected and noted", parts)


def refused_section(refused: Refused) -> Section:
    """What was not taken, why, and what to do about it."""
    if refused.reasons.empty:
        return Section("Not taken", [text("Everything that is a scan or a label was taken.")])
    parts: list[Part] = []
    for group, rows in refused.reasons.groupby("group", sort=False):
        meaning = _GROUPS.get(str(group), "")
        parts.append(subheading(f"{str(group).capitalize()}: {meaning}".rstrip(": ")))
        parts.append(
            terms((r["reason"], _number(r), Reason[r["reason"]].text) for r in _rows(rows))
        )
    told = refused.examples
    which = [
        (r["reason"], r["kind"], r["source_key"][:12], r["detail"])
        for r in _rows(told.sort_values("reason", kind="stable"))
    ]
    parts.append(
        details(
            "Which: the first of each reason (a linkage file leads from source key to file)",
            [table(["code", "of a", "source key", "detail"], which)],
        )
    )
    return Section("Not taken", parts)


def run_section(files: Mapping[str, int] | None) -> Section:
    """What the run that wrote the page saw of the archive."""
    if files is None:
        return Section("Files of the last run", [text("Not known: no run wrote this page.")])
    return Section(
        "Files of the last run",
        [
            text(
                "Side files (tables, JSON, bval and the like) and links are passed over; links are "
                "never followed, and a place reached twice is read once."
            ),
            table(["what", "files"], [(name, number) for name, number in files.items() if number]),
        ],
    )


def reading_section(drawn: Mapping[str, Picture]) -> Section:
    """How the page was made."""
    lost = sum(not picture.jpeg for picture in drawn.values())
    lines = [
        "Counts are over all volumes of the store. Medians, bands and the comparison with a kind "
        "are over up to 1,000 volumes of each kind, drawn by their keys.",
        f"{len(drawn)} volumes were looked into for pictures and histograms, at three planes each"
        + (f"; {lost} of them could not be read: ingest them again." if lost else "."),
        "A volume is far from its kind where a logarithm of its spacing, or a percentile of its "
        "tissue, lies more than six spreads from the median; the spread is 1.4826 times the median "
        "absolute deviation, with a floor.",
        "A kind is modality, contrast, body part, vendor and units together.",
    ]
    return Section("How this page was made", [text(line) for line in lines])


# --- parts ----------------------------------------------------------------------------------------


def _people(people: pd.DataFrame) -> list[Part]:
    total = int(people["volumes"].sum())
    if not total:
        return []
    rows = []
    for modality, group in people.groupby("modality"):
        number = int(group["volumes"].sum())
        no_sex = int(group.loc[group["sex"] == "", "volumes"].sum())
        no_age = int(group.loc[group["age_band"] == "", "volumes"].sum())
        rows.append((modality, number, f"{no_sex / number:.0%}", f"{no_age / number:.0%}"))
    quality = [
        (name, PATIENT_IS.get(str(name), ""), int(number))
        for name, number in people.groupby("group_quality")["volumes"].sum().items()
    ]
    ages = people[people["age_band"] != ""].groupby(["age_band", "sex"])["volumes"].sum()
    sexes = [s for s in ("F", "M", "O", "") if s in set(people["sex"])]
    bands = sorted({band for band, _ in ages.index})
    most = max(ages.max(), 1) if len(ages) else 1
    by_age = [
        [band, *(shaded(int(n), n / most) if (n := ages.get((band, s), 0)) else shaded("", 0)
                 for s in sexes)]
        for band in bands
    ]  # fmt: skip
    sites = _counts(people, ["site", "modality"])
    parts = [
        table(["patient is", "which means", "volumes"], quality),
        details("By site", [table(["site", "modality", "volumes"], sites)]),
    ]
    missing = table(["modality", "volumes", "sex not stated", "age not stated"], rows)
    ages_table = [table(["age", *(s or "not stated" for s in sexes)], by_age)] if by_age else []
    return [*parts, details("Age and sex", [missing, *ages_table])]


def _number(row: dict[Any, Any]) -> str:
    """ "3 series, 120 files", "25 files"."""
    number, files, kind = int(row["rows"]), int(row["files"]), str(row["kind"])
    said = count_of(number, kind)
    return said if files == number else f"{said}, {count_of(files, 'file')}"


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


def _folded(columns: Sequence[str], rows: Sequence[Sequence[Any]], rest: str) -> list[Part]:
    parts = [table(columns, rows[:_LONG])]
    if len(rows) > _LONG:
        parts.append(details(f"{len(rows) - _LONG} {rest}", [table(columns, rows[_LONG:])]))
    return parts


def _counts(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return [
        (*(_or_unstated(value) for value in row[:-1]), int(row[-1]))
        for row in counted(frame, columns).itertuples(index=False, name=None)
    ]


def _codes(words: pd.DataFrame, column: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for codes, volumes in zip(words[column], words["volumes"], strict=True):
        for code in str(codes).split("+"):
            if code:
                counts[code] += int(volumes)
    return dict(counts.most_common())


def _range(edges: Sequence[float], at: int) -> str:
    low, high = edges[at], edges[at + 1]
    if low == 0:
        return f"under {high:g}"
    return f"{low:g} to {high:g}" if high != float("inf") else f"{low:g} and more"


def _or_unstated(value: str) -> str:
    return value or "–"
