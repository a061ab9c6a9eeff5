"""I1: nothing was changed after it was written down."""

from __future__ import annotations

from collections.abc import Iterable

from medssl.audit.anchor import mlflow_root
from medssl.audit.result import Check, Evidence, Finding, Status
from medssl.audit.study_files import (
    CASES,
    INSTANCES,
    LEDGER,
    PLAN,
    PRETRAIN,
    PRETRAIN_INSTANCES,
    PRETRAINING,
    SPLITS,
    DamagedFile,
    StudyFiles,
)
from medssl.audit.wording import counted, key, listed
from medssl.efficiency.ledger import Entry, inside, root, verify_chain

_BEFORE_TRAINING = (PLAN, CASES, INSTANCES, SPLITS, PRETRAIN, PRETRAIN_INSTANCES, PRETRAINING)
_ONCE = ("predictions/", "cells/")


def run(study: StudyFiles) -> Finding:
    entries = study.ledger
    if not entries:
        raise DamagedFile(LEDGER, "holds no event")
    chain = verify_chain(entries)
    wrong = dict(_wrong_files(study, entries))
    problems = [
        *(f"ledger: {problem}" for problem in chain),
        *(f"{path} {problem}" for path, problem in wrong.items()),
    ]
    anchor, anchored = _anchor(study, entries)
    if anchored is False:
        problems.insert(0, anchor)
    told = {entry.path for entry in entries if entry.path}
    evidence = [study.evidence(LEDGER), *_evidence(study, sorted(wrong)[:20])]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    sound = f"{counted(entries, 'event')} chained, {counted(told, 'file')} hashed again"
    status = Status.NOTE if anchored is None else Status.PASS
    return Finding(status, f"{sound}; {anchor}", evidence)


def _wrong_files(study: StudyFiles, entries: list[Entry]) -> Iterable[tuple[str, str]]:
    """(path, what is wrong with it) for each file that is not what the ledger says."""
    last = {entry.path: entry for entry in entries if entry.path and entry.sha256}
    yield from _told_again(entries).items()
    for path, entry in last.items():
        if not inside(path):
            yield path, "lies outside the study"
        elif not study.has(path):
            yield path, "is missing"
        elif study.sha256(path) != entry.sha256:
            yield path, "is not the file that was written: its hash differs"
    there = [path for path in _BEFORE_TRAINING if study.has(path)]
    for pattern in ("predictions/*.parquet", "cells/*/cell.json"):
        there += [path.relative_to(study.root).as_posix() for path in study.root.glob(pattern)]
    for path in sorted(there):
        if path not in last:
            yield path, f"is not in {LEDGER}"


def _told_again(entries: list[Entry]) -> dict[str, str]:
    """Files that are written once, and yet were told twice with different content."""
    found = {}
    first: dict[str, str | None] = {}
    training = False
    for entry in entries:
        training = training or entry.event == "training_started"
        if not entry.path:
            continue
        once = entry.path.startswith(_ONCE) or (training and entry.path in _BEFORE_TRAINING)
        if once and first.get(entry.path, entry.sha256) != entry.sha256:
            found[entry.path] = f"was written again with other content (line {entry.seq})"
        first[entry.path] = entry.sha256
    return found


def _anchor(study: StudyFiles, entries: list[Entry]) -> tuple[str, bool | None]:
    """What the outside says of the root: in words, and whether it agrees (None: nothing said)."""
    found = root(entries)
    where, expected = "--expect-root", study.brought.expect_root
    if expected is None:
        where, expected = "the tag in MLflow", mlflow_root(study)
    if expected is None:
        return f"no anchor outside the study to hold the root {found} against", None
    if expected == found:
        return f"the root is that of {where}", True
    lines = [entry.seq for entry in entries if entry.this == expected]
    if lines:
        added = len(entries) - lines[0]
        return f"{counted(added, 'event')} came after the root of {where}", False
    return f"the root {key(found)}… is not {key(expected)}… of {where}", False


def _evidence(study: StudyFiles, paths: list[str]) -> Iterable[Evidence]:
    return (study.evidence(path) if inside(path) else Evidence(path, None) for path in paths)


CHECK = Check(
    "I1",
    "the ledger's chain and every file hash recompute, and its root is the anchored one",
    "FAIL; no anchor: NOTE",
    run,
)
