"""B1: no arm got more trials, more steps or other settings than the plan gives every arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import BASELINE, LEDGER, PLAN, StudyFiles, cell_path
from medssl.audit.wording import counted, listed
from medssl.efficiency.canonical import sha256_json
from medssl.efficiency.cells import Cell
from medssl.efficiency.ledger import Entry

_TWICE = "scratch_2x"


def run(study: StudyFiles) -> Finding:
    events = _by_cell(study)
    problems = [*_planned(study), *_seeds(study)]
    for cell in study.cells_there:
        problems += _told(study, cell, events[cell.name])
        problems += _recorded(study, cell, events[cell.name])
    evidence = [study.evidence(PLAN), study.evidence(LEDGER), *study.evidence_of_cells()]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    plan = study.plan
    return Finding(
        Status.PASS,
        f"{counted(plan.search.trials, 'trial')} of {plan.arms[BASELINE].steps} steps from one "
        f"list of settings for every arm that trains whole networks; "
        f"{counted(study.cells_there, 'cell')} did as planned",
        evidence,
    )


def _by_cell(study: StudyFiles) -> dict[str, list[Entry]]:
    events = defaultdict(list)
    for entry in study.ledger:
        events[str(entry.facts.get("cell"))].append(entry)
    return events


def _planned(study: StudyFiles) -> Iterable[str]:
    """The plan itself gives every arm the same."""
    plan = study.plan
    for name, arm in plan.arms.items():
        trials = plan.search.trials if arm.regime == "full" else 1
        if arm.trials != trials:
            yield f"the plan gives arm {name} {counted(arm.trials, 'trial')}, not {trials}"
        steps = study.plan.arms[BASELINE].steps * (2 if name == _TWICE else 1)
        if arm.regime == "full" and study.plan.arms[name].steps != steps:
            yield f"the plan gives arm {name} {study.plan.arms[name].steps} steps, not {steps}"
    if len(plan.search.settings) != plan.search.trials:
        yield (
            f"the plan lists {counted(plan.search.settings, 'setting')} for "
            f"{counted(plan.search.trials, 'trial')}"
        )
    for number, setting in enumerate(plan.search.settings):
        for name, value in setting.items():
            if number and value not in plan.search.space.get(name, []):
                yield f"setting {number} of the plan has {name} {value}, not in its search space"


def _seeds(study: StudyFiles) -> Iterable[str]:
    """A draw has one seed, whatever the arm."""
    seeds = defaultdict(set)
    for entry in study.ledger:
        if entry.event == "training_started":
            seeds[entry.facts.get("draw")].add(entry.facts.get("seed"))
    for draw, found in seeds.items():
        if len(found) > 1:
            yield f"draw {draw} was trained with {len(found)} seeds; arms must share one"


def _trials_of(study: StudyFiles, cell: Cell) -> int:
    """Trials that a cell has: one where it has no validation part to choose by."""
    has_val = (study.subset(cell.fraction, cell.draw)["split"] == "val").any()
    return study.plan.arms[cell.arm].trials if has_val else 1


def _told(study: StudyFiles, cell: Cell, events: list[Entry]) -> Iterable[str]:
    """What the ledger says of a cell's trainings."""
    planned = _trials_of(study, cell)
    for event in ("training_started", "training_finished"):
        trials = {entry.facts.get("trial", 0) for entry in events if entry.event == event}
        if trials != set(range(planned)):
            what = event.removeprefix("training_")
            yield f"cell {cell.name}: {counted(trials, 'trial')} {what}, {planned} planned"
    most = study.plan.arms[cell.arm].steps
    early = study.plan.fit.get("patience") is not None
    for entry in events:
        if entry.event != "training_finished":
            continue
        steps = entry.facts.get("steps")
        if not isinstance(steps, int) or steps > most or (steps < most and not early):
            yield f"cell {cell.name} trained for {steps} steps, the plan gives {most}"


def _recorded(study: StudyFiles, cell: Cell, events: list[Entry]) -> Iterable[str]:
    """What the cell says of its trials is what the plan lists and what the ledger has."""
    file, path = study.cell_file(cell), cell_path(cell)
    planned = _trials_of(study, cell)
    if len(file.trials) != planned:
        yield f"{path}: {counted(file.trials, 'trial')}, {planned} planned"
    if study.plan.arms[cell.arm].regime == "full":
        for number, trial in enumerate(file.trials):
            listed_there = study.plan.search.settings[number : number + 1]
            if not _same(trial.setting, *listed_there):
                yield f"{path}: trial {number} has other settings than the plan lists"
        if not _same(file.setting, file.trials[file.chosen].setting):
            yield f"{path}: the settings used are not those of the trial chosen"
    finished = {e.facts.get("trial", 0): e.facts for e in events if e.event == "training_finished"}
    for number, trial in enumerate(file.trials):
        facts = finished.get(number, {})
        if facts and (facts.get("steps"), facts.get("val")) != (trial.steps, trial.val):
            yield f"{path}: steps or validation of trial {number} are not those of the ledger"
    chosen = [entry.facts for entry in events if entry.event == "trial_chosen"]
    if len(chosen) != 1:
        yield f"cell {cell.name}: {counted(chosen, 'choice')} among trials in the ledger, not one"
        return
    values = [trial.val for trial in file.trials]
    if chosen[0].get("trial") != file.chosen or chosen[0].get("values") != values:
        yield f"{path}: the choice among trials is not that of the ledger"
    best = max((value for value in values if value is not None), default=None)
    if best is not None and values[file.chosen] != best:
        yield (
            f"{path}: trial {file.chosen} was chosen, with {values[file.chosen]} in validation, "
            f"not the best of {best}"
        )
    elif best is None and file.chosen != 0:
        yield f"{path}: trial {file.chosen} was chosen though nothing validated"


def _same(*settings: dict[str, Any]) -> bool:
    """Whether settings are equal, 1 and 1.0 alike; False for one alone."""
    return len(settings) > 1 and len({sha256_json(setting) for setting in settings}) == 1


CHECK = Check(
    "B1",
    "equal trials and steps; arms differ only in what the plan allows",
    "FAIL",
    run,
)
