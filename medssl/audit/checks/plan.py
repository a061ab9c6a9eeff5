"""I2: what was to be shown was decided before anything was trained."""

from __future__ import annotations

import json

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import ANALYSIS, LEDGER, PLAN, StudyFiles
from medssl.audit.wording import counted, key, listed
from medssl.efficiency.canonical import canonical_json
from medssl.efficiency.ledger import Entry


def run(study: StudyFiles) -> Finding:
    plan_sha256 = study.sha256(PLAN)
    _ = study.plan  # its layout
    trainings = [e for e in study.ledger if e.event in ("training_started", "training_finished")]
    started = [e for e in trainings if e.event == "training_started"]
    problems = _freezing(study.ledger, started, plan_sha256)
    for entry in trainings:
        if entry.facts.get("plan_sha256") != plan_sha256:
            problems.append(
                f"the {entry.event.removeprefix('training_')} training of cell "
                f"{entry.facts.get('cell')} (line {entry.seq}) names another plan"
            )
    known = {str(entry.facts.get("cell")) for entry in started}
    problems += [
        f"cell {cell.name} has predictions, but no training in the ledger"
        for cell in study.cells_there
        if cell.name not in known
    ]
    if study.has(ANALYSIS) and study.analysis.plan_sha256 != plan_sha256:
        problems.append(f"{ANALYSIS} names another plan")
    text = (study.root / PLAN).read_bytes()
    if canonical_json(json.loads(text)) != text:  # StudyFiles has seen that it has such a text
        problems.append(f"{PLAN} is not canonical JSON (RFC 8785)")
    evidence = [study.evidence(PLAN), study.evidence(LEDGER)]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    return Finding(
        Status.PASS,
        f"plan {key(plan_sha256)}… frozen before {counted(started, 'training')}, all of which "
        "name it",
        evidence,
    )


def _freezing(entries: list[Entry], started: list[Entry], plan_sha256: str) -> list[str]:
    frozen = [entry for entry in entries if entry.event == "plan_frozen"]
    if not frozen:
        return ["the ledger does not say when the plan was frozen"]
    problems = []
    if frozen[-1].sha256 != plan_sha256:
        problems.append(f"{PLAN} is not the plan that was frozen")
    if started and frozen[-1].seq > started[0].seq:
        problems.append(
            f"the plan was frozen (line {frozen[-1].seq}) after the first training "
            f"(line {started[0].seq})"
        )
    return problems


CHECK = Check(
    "I2",
    "the plan was frozen before the first training event; its hash is in every run",
    "FAIL",
    run,
)
