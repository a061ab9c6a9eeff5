"""S1: the subsets are those that the plan's rule gives, for every arm."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import pandas as pd

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import CASES, LEDGER, PLAN, SPLITS, StudyFiles
from medssl.audit.wording import counted, key, listed
from medssl.efficiency.canonical import sha256_json
from medssl.efficiency.subsets import cases_sha256, draw_splits

_ORDER = ["role", "draw", "rank", "patient_key"]


def run(study: StudyFiles) -> Finding:
    problems = [
        *_cases(study),
        *_splits(study),
        *_order(study),
        *_planned(study),
        *_nested(study),
        *_used(study),
    ]
    evidence = [study.evidence(path) for path in (PLAN, CASES, SPLITS, LEDGER)]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    fractions = ", ".join(f"{100 * f:g} %" for f in study.plan.fractions)
    return Finding(
        Status.PASS,
        f"{counted(study.plan.subsets, 'subset')} ({fractions} in "
        f"{counted(study.plan.draws, 'draw')}) derived again, nested, and the same in "
        f"{counted(list(study.plan.arms), 'arm')}",
        evidence,
    )


def _cases(study: StudyFiles) -> Iterable[str]:
    """The cases are those that the plan was made for."""
    data = study.plan.data
    if cases_sha256(study.cases) != data.cases_sha256:
        yield f"{CASES} does not hold the cases of the plan: their hash differs"
    test = study.cases[study.cases["role"] == "test"]
    for what, found, planned in (
        ("cases", len(study.cases), data.cases),
        ("patients", study.cases["patient_key"].nunique(), data.patients),
        ("test cases", len(test), data.test_cases),
        ("test patients", test["patient_key"].nunique(), data.test_patients),
    ):
        if found != planned:
            yield f"{CASES} has {found} {what}, the plan {planned}"


def _splits(study: StudyFiles) -> Iterable[str]:
    """splits.parquet is what the rule gives for these cases."""
    expected = draw_splits(study.cases, study.plan.task.kind, study.plan.draws)
    found = study.splits[list(expected.columns)]
    expected, found = (f.sort_values(_ORDER, ignore_index=True) for f in (expected, found))
    if len(found) != len(expected):
        yield f"{SPLITS} has {len(found)} rows, the rule gives {len(expected)}"
        return
    differs = pd.Series(False, index=found.index)
    for column in expected.columns:
        differs |= found[column].astype(str) != expected[column].astype(str)
    if differs.any():
        draws = sorted({int(draw) for draw in expected.loc[differs, "draw"]})
        yield (
            f"{SPLITS} is not what the rule gives: {counted(int(differs.sum()), 'row')} differ, in "
            f"draw {listed(map(str, draws), ', ')}"
        )


def _order(study: StudyFiles) -> Iterable[str]:
    """By another road than `_splits`: hash order within class, and classes in proportion."""
    name = study.plan.data.cases_sha256
    dev = study.splits[study.splits["role"] == "dev"]
    for draw, rows in dev.groupby("draw"):
        rows = rows.sort_values("rank")
        if list(rows["rank"]) != list(range(len(rows))):
            yield f"{SPLITS}: the ranks of draw {draw} are not 0 to {len(rows) - 1}"
        for patient_class, members in rows.groupby("patient_class"):
            digests = [
                hashlib.sha256(f"{name}|{draw}|{patient}".encode()).hexdigest()
                for patient in members["patient_key"]
            ]
            if digests != sorted(digests):
                yield f"draw {draw}: class {patient_class} is not in the order of its hashes"
            share = len(members) / len(rows)
            taken = (rows["patient_class"] == patient_class).cumsum()
            expected = [share * size for size in range(1, len(rows) + 1)]
            if (taken - expected).abs().max() > 1 + 1e-9:
                yield f"draw {draw}: class {patient_class} is out of proportion in some prefix"


def _planned(study: StudyFiles) -> Iterable[str]:
    """The plan's table of subsets is that of splits.parquet."""
    table = {(subset.fraction, subset.draw): subset for subset in study.plan.subsets}
    for fraction in study.plan.fractions:
        for draw in range(study.plan.draws):
            planned = table.get((fraction, draw))
            if planned is None:
                yield f"the plan has no subset of fraction {fraction:g}, draw {draw}"
            elif planned.sha256 != _subset_sha256(study, fraction, draw):
                yield f"the plan's subset of fraction {fraction:g}, draw {draw} is another one"


def _nested(study: StudyFiles) -> Iterable[str]:
    """Each subset holds the next smaller one of its draw."""
    for draw in range(study.plan.draws):
        smaller: set[str] = set()
        for fraction in study.plan.fractions:
            cases = set(study.subset(fraction, draw)["volume_uid"])
            if lost := smaller - cases:
                yield (
                    f"draw {draw}: fraction {fraction:g} lacks {counted(lost, 'case')} of the "
                    f"smaller subset ({listed(map(key, sorted(lost)), ', ')})"
                )
            smaller = cases


def _used(study: StudyFiles) -> Iterable[str]:
    """What each training says that it used is the plan's subset, and so the same in every arm."""
    cells = {cell.name: cell for cell in study.cells}
    for entry in study.ledger:
        cell = cells.get(str(entry.facts.get("cell")))
        if entry.event != "training_started" or cell is None:
            continue
        if entry.facts.get("subset_sha256") != _subset_sha256(study, cell.fraction, cell.draw):
            yield f"cell {cell.name} was trained on another subset (ledger line {entry.seq})"


@lru_cache(maxsize=1000)
def _subset_sha256(study: StudyFiles, fraction: float, draw: int) -> str:
    subset = study.subset(fraction, draw)
    return sha256_json(sorted(subset[["volume_uid", "split"]].values.tolist()))


CHECK = Check(
    "S1",
    "subsets re-derived from the plan equal those used, nested, the same over arms",
    "FAIL",
    run,
)
