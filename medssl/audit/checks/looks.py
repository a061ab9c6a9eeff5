"""B3: each cell looked at the test set once, after everything about it was chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import LEDGER, StudyFiles, predictions_path
from medssl.audit.wording import counted, listed
from medssl.efficiency.cells import Cell
from medssl.efficiency.ledger import Entry

_CHOOSING = ("training_started", "training_finished", "trial_chosen")


def run(study: StudyFiles) -> Finding:
    events: dict[str, list[Entry]] = defaultdict(list)
    written: dict[str, int] = {}
    for entry in study.ledger:
        if entry.event in (*_CHOOSING, "test_look"):
            events[str(entry.facts.get("cell"))].append(entry)
        elif entry.path is not None:
            written.setdefault(entry.path, entry.seq)
    problems = [*_unplanned(study, events)]
    for cell in study.cells:
        there = study.has(predictions_path(cell))
        problems += _of_cell(cell, events[cell.name], written.get(predictions_path(cell)), there)
    evidence = [study.evidence(LEDGER)]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    return Finding(
        Status.PASS,
        f"{counted(study.cells_there, 'cell')}, one look each, after selection",
        evidence,
    )


def _unplanned(study: StudyFiles, events: dict[str, list[Entry]]) -> Iterable[str]:
    planned = {cell.name for cell in study.cells}
    for name, entries in events.items():
        looks = [entry for entry in entries if entry.event == "test_look"]
        if looks and name not in planned:
            yield f"line {looks[0].seq} looks at the test set for {name}, which is no planned cell"


def _of_cell(cell: Cell, events: list[Entry], written: int | None, there: bool) -> Iterable[str]:
    looks = [entry for entry in events if entry.event == "test_look"]
    if not looks:
        if there:
            yield f"cell {cell.name} has test predictions, but no look at the test set is told"
        return
    if len(looks) > 1:
        lines = listed((str(look.seq) for look in looks), ", ")
        yield f"cell {cell.name} looked at the test set {len(looks)} times (lines {lines})"
    look = looks[0]
    late = [entry for entry in events if entry.event in _CHOOSING and entry.seq > look.seq]
    if late:
        yield (
            f"cell {cell.name} looked at the test set (line {look.seq}) before "
            f"{late[0].event.replace('_', ' ')} (line {late[0].seq})"
        )
    if written is not None and written < look.seq:
        yield f"cell {cell.name}'s predictions (line {written}) came before its look ({look.seq})"
    if not late and look.facts.get("weights_sha256") != _chosen_weights(events):
        yield f"cell {cell.name} was tested with other weights than were chosen (line {look.seq})"


def _chosen_weights(events: list[Entry]) -> object:
    """The weights of the trial that was chosen, as the ledger tells them last."""
    chosen = [e.facts.get("trial", 0) for e in events if e.event == "trial_chosen"]
    trial = chosen[-1] if chosen else 0
    weights = [
        entry.facts.get("weights_sha256")
        for entry in events
        if entry.event == "training_finished" and entry.facts.get("trial", 0) == trial
    ]
    return weights[-1] if weights else None


CHECK = Check("B3", "one look at the test set a cell, after selection", "FAIL", run)
