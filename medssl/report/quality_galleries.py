"""The sections of the quality report that show pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medssl.report.page import Part, Section, details, gallery, subheading, table, text
from medssl.report.quality_facts import KIND, Facts, count_of, number_of
from medssl.report.quality_outliers import COMMON_SHARE, FEWEST, THIN, WHAT_TO_DO, Outliers
from medssl.report.quality_pictures import Picture, kind_name, kind_of, window_of
from medssl.report.quality_twins import NEAR_BITS, Twins

_OUTLIERS = 6  # pictures of a rule
PATIENT_IS = {
    "patient": "stated by the source or the cases file",
    "inferred": "inferred, as the cases file says",
    "scan": "not known: each scan counts as a patient of its own",
    "none": "not known",
}


def kinds_section(facts: Facts, examples: pd.DataFrame, drawn: Mapping[str, Picture]) -> Section:
    """A gallery for each kind, the most frequent first."""
    parts: list[Part] = [
        text(
            "Axial, coronal and sagittal plane through the middle of the tissue, true to scale. As "
            "radiologists look at it, the patient's right (R) is on the left; the head is at the "
            "top, the front at the top of the axial and on the left (A) of the sagittal plane. CT "
            "in HU: width 400, level 40 (soft tissue). PET in SUV: 0 white to 7 black. All else: "
            "from the 0.5th to the 99.5th percentile of the tissue. At most one volume of a series."
        )
    ]
    for number, rows in examples.groupby("kind", sort=True):
        kind = facts.kinds.iloc[int(str(number))]
        heading = kind_name(str(kind[name]) for name in KIND)
        pictures = [_picture(row, drawn) for _, row in rows.iterrows()]
        parts.append(subheading(f"{heading}: {count_of(int(kind['volumes']))}"))
        parts.append(gallery(pictures))
    left = facts.kinds.iloc[examples["kind"].nunique() :]
    if len(left):
        rest = [
            (kind_name(row[:5]), int(row[5])) for row in left.itertuples(index=False, name=None)
        ]
        parts.append(
            details(
                f"{len(left)} rarer kinds without a picture", [table(["kind", "volumes"], rest)]
            )
        )
    return Section("Every kind of volume", parts)


def outliers_section(outliers: Outliers, drawn: Mapping[str, Picture]) -> Section:
    """What each rule found, with the farthest in pictures."""
    parts: list[Part] = []
    if len(outliers.common):
        parts += [
            text(
                f"A rule that finds more than {COMMON_SHARE:.0%} of a kind has found no outliers: "
                "the kind is so, or is several kinds in one (say contrast and body part in the "
                "cases file). These are listed here and nowhere else."
            ),
            table(
                ["rule", "kind", "volumes", "of"],
                [
                    (
                        r["rule"],
                        kind_name(r[name] for name in KIND),
                        int(r["found"]),
                        int(r["volumes"]),
                    )
                    for r in outliers.common.to_dict("records")
                ],
            ),
        ]
    if not outliers.total:
        parts.append(text("No volume stands out from its kind or from what a scan can be."))
    for rule, number in outliers.rules.items():
        rows = outliers.rows[outliers.rows["rule"] == rule]
        parts += [subheading(f"{rule.capitalize()}: {count_of(number)}"), text(WHAT_TO_DO[rule])]
        pictured = rows[rows["volume_uid"].isin(drawn.keys())].head(_OUTLIERS)
        parts.append(
            gallery(
                _picture(row, drawn, f"{row['why']}.", kind_of(row))
                for _, row in pictured.iterrows()
            )
        )
        lines = [(row["volume_uid"][:12], kind_of(row), row["why"]) for _, row in rows.iterrows()]
        some = "all" if number == len(lines) else f"the farthest {len(lines)} of"
        parts.append(
            details(f"List of {some} {number:,}", [table(["volume", "kind", "why"], lines)])
        )
    parts.append(
        text(
            f"Kinds of fewer than {FEWEST} volumes are compared with nothing. The first twelve "
            "digits of volume_uid name a volume in the manifest."
        )
    )
    return Section("Outliers", parts)


def twins_section(twins: Twins, drawn: Mapping[str, Picture]) -> Section:
    """Scans that stand under more than one patient."""
    parts: list[Part] = []
    if not twins.equal and not twins.near:
        parts.append(text("None: no two patients share a scan."))
    if twins.equal:
        parts.append(
            text(
                f"Equal voxels under several patients: {count_of(twins.equal_volumes)} of "
                f"{count_of(twins.equal, 'scan')}. Give them one patient in the cases file (column "
                "patient), or take one away: a split by patient puts them on both sides."
            )
        )
    if twins.near:
        parts.append(
            text(
                f"Alike: {count_of(twins.near, 'pair')} that differ in voxels, but in at most "
                f"{NEAR_BITS} of the 256 bits of their perceptual hash. Often the same scan "
                "converted, rescaled or resampled: look at both. Volumes of fewer than "
                f"{THIN} voxels along an axis are not compared."
            )
        )
    if twins.repeated:
        parts.append(
            text(
                f"Repeated, voxel for voxel, under the same patient: {count_of(twins.repeated)}; "
                "no leak, but the scan counts twice in training."
            )
        )
    if len(twins.rows):
        for group, rows in twins.rows.loc[twins.pictured].groupby("group", sort=False):
            parts.append(
                gallery(
                    _picture(
                        row, drawn, f"{group}: patient {row['patient_key'][:12]}", kind_of(row)
                    )
                    for _, row in rows.iterrows()
                )
            )
        lines = [
            (
                r["group"],
                r["volume_uid"][:12],
                r["patient_key"][:12],
                r["modality"],
                r["units"],
                r["site"] or "–",
                PATIENT_IS.get(r["group_quality"], r["group_quality"]),
            )
            for r in twins.rows.to_dict("records")
        ]
        columns = ["group", "volume", "patient", "modality", "units", "site", "patient is"]
        parts.append(details("The first groups", [table(columns, lines)]))
    return Section("Same scan, several patients", parts)


def _picture(
    row: pd.Series[Any], drawn: Mapping[str, Picture], *before: str
) -> tuple[str, str, list[str]]:
    picture = drawn[row["volume_uid"]]
    shape = " × ".join(str(int(row[f"shape_{a}"])) for a in range(3))
    spacing = " × ".join(f"{row[f'spacing_{a}']:.3g}" for a in range(3))
    low, high = window_of(row)
    shown = f"shown {number_of(low)} to {number_of(high)}; bar {picture.bar_mm} mm"
    lines = [*before, f"{shape}, {spacing} mm", shown, row["volume_uid"][:12]]
    alt = f"Axial, coronal and sagittal plane of volume {row['volume_uid'][:12]}, {kind_of(row)}"
    return picture.jpeg, alt, lines
