"""I4: it is known which code, packages, machine and seeds made each cell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from medssl.audit.records import CellFile, ProvenanceRecord
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import LEDGER, StudyFiles
from medssl.audit.wording import counted, listed
from medssl.efficiency.cells import Cell

_RECORDED = {
    "git_commit": "commit",
    "env_sha256": "installed packages",
    "device": "device",
    "torch": "torch",
    "threads": "threads",
    "deterministic": "deterministic",
}
_NOTHING = (None, "", "none", "unknown")


def run(study: StudyFiles) -> Finding:
    files = {cell: study.cell_file(cell) for cell in study.cells_there}
    evidence = [study.evidence(LEDGER), *study.evidence_of_cells()]
    if not files:
        return Finding(Status.NOT_RUN, "no cell has run", evidence)
    problems = [*_missing(files), *_dirty(files), *_uneven(files), *_seeds(study, files)]
    if problems:
        return Finding(Status.WARN, listed(problems), evidence)
    some = next(iter(files.values())).provenance
    return Finding(
        Status.PASS,
        f"{counted(files, 'cell')} by commit {str(some.git_commit)[:12]}, tree clean, one set of "
        f"packages, on {some.device}, torch {some.torch}; seeds as in the ledger",
        evidence,
    )


def _missing(files: dict[Cell, CellFile]) -> Iterable[str]:
    for name, told in _RECORDED.items():
        without = sum(getattr(file.provenance, name) in _NOTHING for file in files.values())
        if without:
            yield f"{told} not recorded in {counted(without, 'cell')}"


def _dirty(files: dict[Cell, CellFile]) -> Iterable[str]:
    states = Counter(_tree(file.provenance) for file in files.values())
    if states["changed"]:
        yield f"{counted(states['changed'], 'cell')} made by a tree with changes not committed"
    if states["unknown"]:
        yield f"whether the tree was clean is not known for {counted(states['unknown'], 'cell')}"


def _tree(told: ProvenanceRecord) -> str:
    state = str(told.git_dirty).lower()
    return {"false": "clean", "true": "changed"}.get(state, "unknown")


def _uneven(files: dict[Cell, CellFile]) -> Iterable[str]:
    """Cells of one study made by different code, packages or machines."""
    for name, told in _RECORDED.items():
        by_arm = defaultdict(set)
        for cell, file in files.items():
            value = getattr(file.provenance, name)
            if value not in _NOTHING:
                by_arm[cell.arm].add(str(value))
        values = set().union(*by_arm.values())
        if len(values) > 1:
            shown = listed(sorted(value[:20] for value in values), ", ")
            alike = len({frozenset(of_arm) for of_arm in by_arm.values()}) == 1
            where = "in every arm" if alike else "and not alike in every arm"
            yield f"{told} differs between cells ({shown}), {where}"


def _seeds(study: StudyFiles, files: dict[Cell, CellFile]) -> Iterable[str]:
    told = {
        str(entry.facts.get("cell")): entry.facts.get("seed")
        for entry in study.ledger
        if entry.event == "training_started"
    }
    other = [cell.name for cell, file in files.items() if told.get(cell.name) != file.seed]
    if other:
        yield f"the seed in the ledger is another one for {listed(other, ', ')}"


CHECK = Check("I4", "commit, lock, device, seeds recorded; tree clean", "WARN", run)
