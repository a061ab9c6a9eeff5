"""The section of the worst cases."""

from __future__ import annotations

from medssl.report.page import Part, Section, details, gallery, table, text
from medssl.report.study_record import StudyRecord
from medssl.report.study_words import arm_name, number, percent
from medssl.report.worst_cases import WorstCase, pictures_of, shown_points, worst_cases


def worst_section(record: StudyRecord) -> Section:
    """The twenty worst test cases in pictures, or as a table where there is no store."""
    points = shown_points(record)
    arm, fraction = points[0]
    cases = worst_cases(record)
    if not cases:
        where = f"{arm_name(arm)} at {percent(fraction)} has no predictions yet."
        return Section("Worst cases", [text(where)])
    what = (
        "the lowest mean Dice over classes"
        if record.plan["task"]["kind"] == "segmentation"
        else "the lowest probability of their class"
    )
    parts: list[Part] = [
        text(
            f"The {len(cases)} test cases with {what}: {arm_name(arm)}, {percent(fraction)} of the "
            "labels, mean over draws. Errors of the reference show here too."
        )
    ]
    if record.store is None:
        parts.append(text(f"No pictures: {record.no_store}."))
        parts.append(_table(cases, points))
    else:
        parts.append(gallery(pictures_of(record, cases)))
        parts.append(details("As a table", [_table(cases, points)]))
    return Section("Worst cases", parts)


def _table(cases: list[WorstCase], points: list[tuple[str, float]]) -> Part:
    head = ["volume", *(["class", "answered"] if cases[0].truth else [])]
    head += [f"{arm_name(arm)}, {percent(fraction)}" for arm, fraction in points]
    rows = [
        (
            case.volume_uid,
            *((case.truth, case.answer) if case.truth else ()),
            number(case.score),
            *((number(case.versus),) if len(points) > 1 else ()),
        )
        for case in cases
    ]
    return table(head, rows)
