"""The quality report of a store: what came in, what did not and why, with pictures.

Its cost does not grow with the archive but for two passes over the manifest: at most MOST_PICTURES
volumes are looked into, at three planes each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medssl.progress import SILENT, Progress
from medssl.report import quality_pictures as pictures
from medssl.report.page import Part, Section, points, text, tiles, verdict, write_page
from medssl.report.quality_facts import KIND, Facts, count_of, read_facts
from medssl.report.quality_galleries import kinds_section, outliers_section, twins_section
from medssl.report.quality_outliers import THIN, Outliers, find_outliers
from medssl.report.quality_pictures import Picture
from medssl.report.quality_refused import Refused, read_refused
from medssl.report.quality_sections import (
    changes_section,
    contents_section,
    reading_section,
    refused_section,
    run_section,
    spacing_section,
)
from medssl.report.quality_state import state_of_store
from medssl.report.quality_twins import Twins, find_twins
from medssl.report.quality_values import values_section
from medssl.store.store import open_store

PAGE = "quality.html"
MOST_PICTURES = 120
_MOST_OUTLIERS = 24
_MOST_TWINS = 12


def write_quality(
    root: Path, files: Mapping[str, int] | None = None, progress: Progress = SILENT
) -> Path:
    """Write `quality.html` into the store at `root`, unless the one there says the same.

    Args:
        files: what the last run saw, by what it is; not known if None.

    Returns:
        The path of the page.

    Raises:
        StoreError: nothing is there, or a part file is damaged.
        OSError: the page cannot be written.
    """
    store = open_store(root)
    page = root / PAGE
    state = state_of_store(root, page)
    if state is None:
        return page
    facts = read_facts(root, THIN)
    examples = pictures.pick_examples(facts, MOST_PICTURES - _MOST_OUTLIERS - _MOST_TWINS)
    outliers = find_outliers(root, facts, pictures.COLUMNS)
    odd = outliers.rows.groupby("rule", sort=False).head(
        max(6, _MOST_OUTLIERS // max(len(outliers.rules), 1))
    )
    odd = odd.head(_MOST_OUTLIERS)
    twins = find_twins(root, facts, (*KIND, *pictures.COLUMNS))
    alike = twins.rows.loc[twins.pictured].head(_MOST_TWINS)
    drawn = _draw(root, pd.concat([examples, odd, alike]), progress)
    refused = read_refused(root)
    sections = [
        Section("", _headline(facts, outliers, twins, refused)),
        contents_section(facts),
        spacing_section(facts),
        values_section(facts, examples, drawn),
        kinds_section(facts, examples, drawn),
        outliers_section(outliers, drawn),
        twins_section(twins, drawn),
        changes_section(facts),
        refused_section(refused),
        run_section(files),
        reading_section(drawn),
    ]
    patients = count_of(facts.num_patients, "patient")
    lead = f"{count_of(facts.num_volumes)} of {patients}, key {store.key_id}."
    return write_page(page, "Quality of a store", lead, sections, state)


def _draw(root: Path, rows: pd.DataFrame, progress: Progress) -> dict[str, Picture]:
    rows = rows.drop_duplicates("volume_uid")
    progress.start(f"writing {PAGE}", len(rows))
    drawn = {}
    for _, row in rows.iterrows():
        drawn[row["volume_uid"]] = pictures.draw(root, row)
        progress.advance()
    progress.finish()
    return drawn


def _headline(facts: Facts, outliers: Outliers, twins: Twins, refused: Refused) -> list[Part]:
    by_outcome = facts.words.groupby("outcome")["volumes"].sum()
    words, people = facts.words, facts.people
    no_patient = people["group_quality"].isin(("scan", "none"))
    no_suv = (words["modality"] == "PT") & (words["units"] != "SUV")
    no_hu = (words["modality"] == "CT") & (words["units"] != "HU")
    found = (
        (
            twins.equal,
            f"Equal voxels under several patients: {count_of(twins.equal, 'scan')}. Split by "
            "patient, a model would be tested on scans that it learned from.",
            "Same scan, several patients",
        ),
        (
            twins.near,
            f"Alike under two patients: {count_of(twins.near, 'pair')} of volumes.",
            "Same scan, several patients",
        ),
        (
            unknown := int(people.loc[no_patient, "volumes"].sum()),
            f"Patient not known: {count_of(unknown)}; each scan counts as a patient of its own.",
            "What is there",
        ),
        (
            pet := int(words.loc[no_suv, "volumes"].sum()),
            f"PET without SUV: {count_of(pet)}.",
            "Intensities by vendor",
        ),
        (
            ct := int(words.loc[no_hu, "volumes"].sum()),
            f"CT not in HU: {count_of(ct)}.",
            "Intensities by vendor",
        ),
        (
            outliers.total,
            f"Unlike the others of their kind: {count_of(outliers.total)}.",
            "Outliers",
        ),
        (len(refused.most_urgent), refused.most_urgent, "Not taken"),
    )
    looks = [(line, heading) for number, line, heading in found if number]
    bad = bool(twins.equal or twins.near)
    parts = [
        verdict(
            "The pictures show patients. The store is pseudonymised, not anonymous: keep this page "
            "with it, under the rules of the archive.",
        ),
        tiles(
            [
                (f"{facts.num_volumes:,}", "volumes"),
                (f"{facts.num_patients:,}", "patients"),
                (f"{int(by_outcome.get('EXACT', 0)):,}", "exact"),
                (f"{int(by_outcome.get('CORRECTED', 0)):,}", "corrected"),
                (f"{refused.num_images:,}", "files and series not taken"),
                (f"{outliers.total:,}", "outliers"),
            ]
        ),
    ]
    if looks:
        parts += [
            verdict("To be looked at before training:", "bad" if bad else "open"),
            points(looks),
        ]
    elif facts.num_volumes:
        parts.append(verdict("Nothing stands out.", "good"))
    else:
        parts.append(text("The store holds no volume."))
    return parts
