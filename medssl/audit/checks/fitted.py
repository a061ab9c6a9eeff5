"""L5: nothing was fitted on the test set."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import CASES, PLAN, SPLITS, StudyFiles, cell_path
from medssl.audit.wording import counted, listed
from medssl.efficiency.canonical import sha256_json
from medssl.efficiency.cells import Cell

_ALLOWED = {"weights": ("train",), "tuning": ("val", "train", "train + val")}
_BY_DEFAULT = ("train", "val", "train + val")


def run(study: StudyFiles) -> Finding:
    problems: list[str] = []
    named = 0
    for cell in study.cells_there:
        fitted_on = study.cell_file(cell).fitted_on
        named += sum(digest is not None for digest in fitted_on.values())
        problems += _problems(study, cell, fitted_on)
    evidence = [study.evidence(path) for path in (PLAN, CASES, SPLITS)]
    evidence += study.evidence_of_cells()
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    return Finding(
        Status.PASS,
        f"{counted(named, 'hash')} of what {counted(study.cells_there, 'cell')} were fitted on are "
        "those of their training and validation parts".replace("hashs", "hashes"),
        evidence,
    )


def _problems(study: StudyFiles, cell: Cell, fitted_on: dict[str, str | None]) -> Iterable[str]:
    parts = _parts(study, cell.fraction, cell.draw)
    names = {digest: name for name, digest in reversed(parts.items())}
    if fitted_on.get("weights") is None:
        yield f"{cell_path(cell)} does not say which cases the weights were fitted on"
    for what, digest in sorted(fitted_on.items()):
        if digest is None:
            continue
        allowed = _ALLOWED.get(what, _BY_DEFAULT)
        if digest not in {parts[name] for name in allowed}:
            seen = names.get(digest)
            on = f"on {seen}" if seen else f"on other cases than {' or '.join(allowed)}"
            yield f"{cell_path(cell)}: {what} was fitted {on}"


@lru_cache(maxsize=1000)
def _parts(study: StudyFiles, fraction: float, draw: int) -> dict[str, str]:
    """Hashes of the parts of a cell, and of what must not be used, by name."""
    subset = study.subset(fraction, draw)
    train, val = (set(subset.loc[subset["split"] == s, "volume_uid"]) for s in ("train", "val"))
    cases = study.cases
    test = set(cases.loc[cases["role"] == "test", "volume_uid"])
    every = set(cases["volume_uid"])
    parts = {
        "train": train,
        "val": val,
        "train + val": train | val,
        "the test set": test,
        "val and the test set": val | test,
        "train and the test set": train | test,
        "train, val and the test set": train | val | test,
        "all development cases": every - test,
        "all cases, the test set with them": every,
    }
    return {name: sha256_json(sorted(uids)) for name, uids in parts.items()}


CHECK = Check(
    "L5",
    "what normalisation, thresholds and tuning were fitted on hashes to train + validation",
    "FAIL",
    run,
)
