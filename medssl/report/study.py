"""The page of a label-efficiency study: verdict first, evidence last."""

from __future__ import annotations

from pathlib import Path

from medssl.report.page import Section, text, write_page
from medssl.report.study_again import evidence_section, rerun_section
from medssl.report.study_checklists import checklist_section
from medssl.report.study_cost import cost_section
from medssl.report.study_flow import flow_section, leakage_section
from medssl.report.study_health import health_section
from medssl.report.study_limits import limits
from medssl.report.study_patients import calibration_section, subgroups_section
from medssl.report.study_plan import plan_section
from medssl.report.study_record import StudyRecord
from medssl.report.study_results import curve_section, effects_section, savings_section
from medssl.report.study_verdict import verdict_sections
from medssl.report.study_worst import worst_section


def write_study_report(path: Path, record: StudyRecord, curve_png: bytes) -> Path:
    """Write report.html, one file that opens offline and prints whole.

    Args:
        record: what the study's files hold.
        curve_png: the learning curve, drawn.
    """
    plan, analysis = record.plan, record.analysis
    sections = [
        *verdict_sections(analysis),
        curve_section(record, curve_png),
        effects_section(record),
        savings_section(record),
        cost_section(record),
        plan_section(record),
        flow_section(record),
        leakage_section(record),
        subgroups_section(record),
        calibration_section(record),
        worst_section(record),
        health_section(record),
        rerun_section(record),
        checklist_section(record),
        Section("Limits", [text(line) for line in limits(plan, analysis, record.cases)]),
        evidence_section(record),
    ]
    return write_page(path, "Label efficiency", _lead(record), sections)


def _lead(record: StudyRecord) -> str:
    plan = record.plan
    counts = (
        (len(plan["arms"]), "arm"),
        (len(plan["fractions"]), "fraction"),
        (plan["draws"], "draw"),
        (plan["data"]["test_patients"], "sealed test patient"),
    )
    told = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts)
    return f"{plan['task']['kind'].capitalize()} of {plan['task']['label']}: {told}."
