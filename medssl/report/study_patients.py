"""Whom a model serves less well, and whether its probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medssl.report.page import Part, Section, details, figure, table, text
from medssl.report.patients_charts import calibration_chart, subgroup_chart
from medssl.report.study_record import StudyRecord
from medssl.report.study_words import METRICS, arm_name, interval, number, percent, signed


def subgroups_section(record: StudyRecord) -> Section:
    """Each group's metric with and without pretraining, and how the gap changed."""
    report = record.analysis["subgroups"]
    if report is None:
        return Section("Subgroups", [text("There is one arm only: no gap can change.")])
    ours = f"{arm_name(report['arm'])}, {percent(report['fraction'])}"
    theirs = f"{arm_name(report['versus'])}, {percent(report['versus_fraction'])}"
    parts: list[Part] = []
    groups = [g for g in report["groups"] if g["value"] is not None]
    if groups:
        drawn = subgroup_chart(groups, ours, theirs, report["arm"], report["versus"])
        caption = (
            f"{METRICS.get(record.analysis['metric'], record.analysis['metric'])} of each group of "
            f"test patients: {theirs} of the labels, and {ours}."
        )
        parts += [
            text(
                f"The gap of a column is the highest less the lowest of its groups; it is compared "
                f"between {theirs} and {ours} of the labels. A positive change: the gap grew."
            ),
            figure(drawn, caption, _alt(groups, ours, theirs)),
            table(
                ["by", "groups", f"gap, {theirs}", f"gap, {ours}", "change", "95 % interval"],
                [_gap(row) for row in report["gaps"]],
            ),
            details(
                "Every group",
                [
                    text(
                        "Change: that of the group's distance to the other groups of its column; p "
                        "by the bootstrap's standard error, adjusted over all groups (Benjamini "
                        "and Hochberg)."
                    ),
                    _groups(report),
                ],
            ),
        ]
    else:
        parts.append(text("No column has two groups of test patients that are large enough."))
    if report["left_out"]:
        rows = [(_by(g["column"]), g["group"], g["patients"], g["why"]) for g in report["left_out"]]
        parts.append(details("Groups left out", [table(["by", "group", "patients", "why"], rows)]))
    return Section("Subgroups", parts)


def calibration_section(record: StudyRecord) -> Section:
    """Brier score and adaptive ECE of each arm."""
    rows = record.analysis["calibration"]
    if not rows:
        why = "A segmenter gives masks: there are no probabilities of a case to be calibrated."
        return Section("Calibration", [text(why)])
    parts: list[Part] = [
        text(
            "Brier score: mean squared error of the probabilities. ECE: mean distance of "
            "probability and frequency, in bins of equal numbers. Smaller is better."
        )
    ]
    points = record.analysis["curve"]
    if any(row["value"] is not None for row in rows):
        drawn = calibration_chart(rows, points)
        alt = "; ".join(
            f"{arm_name(r['arm'])} at {percent(r['fraction'])}: {r['measure']} {number(r['value'])}"
            for r in rows
            if r["value"] is not None
        )
        parts.append(figure(drawn, "Mean over draws, with its interval.", f"Calibration. {alt}."))
    for measure in dict.fromkeys(row["measure"] for row in rows):
        of_measure = [
            (
                arm_name(row["arm"]),
                percent(row["fraction"]),
                number(row["value"]),
                interval(row),
                signed(row["delta"]),
                interval(row, signed, ("delta_lo", "delta_hi")),
            )
            for row in rows
            if row["measure"] == measure
        ]
        head = ["arm", "share", "value", "95 % interval", "minus scratch", "95 % interval"]
        name = METRICS[measure]
        parts.append(details(f"{name}: the numbers", [table(head, of_measure)]))
    return Section("Calibration", parts)


def _gap(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        _by(row["column"]),
        row["groups"],
        number(row["versus_gap"]),
        number(row["gap"]),
        signed(row["change"]),
        interval(row, signed),
    )


def _groups(report: Mapping[str, Any]) -> Part:
    rows = [
        (
            _by(g["column"]),
            g["group"],
            g["patients"],
            g["cases"],
            number(g["versus_value"]),
            number(g["value"]),
            signed(g["change"]),
            interval(g, signed),
            g["p_bh"],
        )
        for g in report["groups"]
    ]
    head = ["by", "group", "patients", "volumes", "without", "with", "change", "95 % interval"]
    return table([*head, "p (adjusted)"], rows)


def _alt(groups: list[Any], ours: str, theirs: str) -> str:
    told = "; ".join(
        f"{_by(g['column'])} {g['group']}: {number(g['versus_value'])} and {number(g['value'])}"
        for g in groups
    )
    return f"Each group with {theirs} and with {ours}. {told}."


def _by(column: str) -> str:
    return {"age_band": "age"}.get(column, column)
