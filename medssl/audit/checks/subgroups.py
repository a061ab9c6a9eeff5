"""F1: pretraining serves no group of patients less than training from scratch did."""

from __future__ import annotations

from typing import Any

from medssl.audit.result import Check, Finding, Status
from medssl.audit.secondary import subgroups_again
from medssl.audit.study_files import CASES, PLAN, StudyFiles, predictions_path
from medssl.audit.wording import counted, listed

MOST = 0.05


def run(study: StudyFiles) -> Finding:
    """At the two points that the claim compares; see `medssl.efficiency.subgroups`."""
    report = subgroups_again(study, planned=False)
    evidence = [study.evidence(PLAN), study.evidence(CASES)]
    if report is None:
        return Finding(Status.NOTE, "one arm: there is nothing to compare", evidence)
    points = [
        (report["arm"], report["fraction"]),
        (report["versus"], report["versus_fraction"]),
    ]
    cells = [cell for cell in study.cells_there if (cell.arm, cell.fraction) in points]
    evidence += [study.evidence(predictions_path(cell)) for cell in cells]
    gaps = report["gaps"]
    if not gaps:
        small = counted(report["left_out"], "group") + " too small or alone"
        return Finding(Status.NOTE, f"no groups to compare; {small}", evidence)
    grown = [gap for gap in gaps if not gap["hi"] <= MOST]
    told = listed(map(_told, grown or gaps))
    if grown:
        return Finding(Status.WARN, f"the gap may have grown by over {MOST:g}: {told}", evidence)
    return Finding(Status.PASS, told, evidence)


def _told(gap: dict[str, Any]) -> str:
    return (
        f"gap by {gap['column']} ({counted(gap['groups'], 'group')}) {gap['versus_gap']:.3f} to "
        f"{gap['gap']:.3f}, change {gap['change']:+.3f} ({gap['lo']:+.3f} to {gap['hi']:+.3f})"
    )


CHECK = Check(
    "F1",
    "subgroups reported; the gap did not grow (upper bound ≤ 0.05)",
    "WARN; no metadata: NOTE",
    run,
)
