"""Which items of the reporting guidelines the page of a study answers, and which it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medssl.report.page import Section, details, table, text
from medssl.report.reporting_items import GUIDELINES, Item
from medssl.report.study_record import StudyRecord

# What an item may need of a study, and what is said where it lacks it.
HAVE: dict[str, tuple[Callable[[StudyRecord], bool], str]] = {
    "claim": (lambda r: r.analysis["claim"] is not None, "no claim was stated"),
    "power": (lambda r: bool(r.plan.get("power")), "the plan foresaw no power"),
    "cells": (lambda r: bool(r.cells), "no cell left a record of where it ran"),
    "groups": (
        lambda r: bool((r.analysis["subgroups"] or {"groups": []})["groups"]),
        "no two groups of test patients are large enough",
    ),
    "pictures": (lambda r: r.store is not None, "a table alone, for want of the store"),
}


def checklist_section(record: StudyRecord) -> Section:
    """How far each guideline is answered and what its items were checked against; the items."""
    answers = {g.name: [answered(item, record) for item in g.items] for g in GUIDELINES}
    counts = [
        (f"{g.name}, {g.reference}", *_counted(answers[g.name]), g.checked) for g in GUIDELINES
    ]
    return Section(
        "Reporting guidelines",
        [
            text(
                "What this page answers, item by item, in our words; the guidelines' own texts "
                "decide. Partly: the files say some of it. What only the authors know is theirs "
                "to say."
            ),
            table(["guideline", "yes", "partly", "no", "items checked against"], counts),
            *(
                details(f"{name}: {len(rows)} items", [table(["", "asks", "here", "where"], rows)])
                for name, rows in answers.items()
            ),
        ],
    )


def answered(item: Item, record: StudyRecord) -> tuple[str, str, str, str]:
    """Number, question, yes, partly or no, and where, or what the study lacks for it."""
    if item.needs:
        has, lacking = HAVE[item.needs]
        if not has(record):
            return item.number, item.asks, item.without, lacking
    return item.number, item.asks, item.answer, item.where


def _counted(rows: Sequence[tuple[str, str, str, str]]) -> tuple[int, ...]:
    return tuple(sum(row[2] == answer for row in rows) for answer in ("yes", "partly", "no"))
