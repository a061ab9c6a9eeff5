"""All that the page of a study is written from, read from the study's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.efficiency.cells import Cell, StudyPaths, cells_of_plan
from medssl.efficiency.ledger import Entry
from medssl.errors import MedsslError, StudyError
from medssl.report.study_words import in_order
from medssl.store import Store, open_store

Json = Mapping[str, Any]


@dataclass(frozen=True)
class StudyRecord:
    """A study as its page sees it.

    Attributes:
        plan, analysis: the contents of plan.json and analysis.json.
        cases: the table cases.parquet.
        instances: keyed hash and file hash of each source file of the cases.
        pretrain, pretrain_instances: of the volumes that the encoder saw; None: not known.
        pretraining: the content of pretraining.json; None without an encoder.
        cells: the contents of the cell.json that are there.
        failed: cells that failed at some time, with the kind of error.
        evidence: (path, SHA-256) of every file that the result rests on.
        ledger_root: the root of the ledger, which vouches for all of these.
        audit: the content of audit.json, where it judged the study as it now is.
        store: for pictures; None: `no_store` says why not.
    """

    paths: StudyPaths
    plan: Json
    analysis: Json
    cases: pd.DataFrame
    instances: pd.DataFrame | None
    pretrain: pd.DataFrame | None
    pretrain_instances: pd.DataFrame | None
    pretraining: Json | None
    cells: Sequence[Json]
    failed: Mapping[str, str]
    evidence: Sequence[tuple[str, str]]
    ledger_root: str
    audit: Json | None
    store: Store | None
    no_store: str = ""

    def predictions(self, arm: str, fraction: float) -> list[pd.DataFrame]:
        """The test predictions of one point of the curve, a frame for each draw that is there."""
        frames = []
        for draw in range(int(self.plan["draws"])):
            path = self.paths.predictions(Cell(arm, fraction, draw))
            if path.is_file():
                frame = pd.read_parquet(path)
                frame = frame[frame["split"] == "test"]
                frames.append(frame.sort_values("volume_uid", ignore_index=True))
        return frames

    def cells_of(self, arm: str) -> list[Json]:
        """The records of an arm's cells."""
        return [cell for cell in self.cells if cell["arm"] == arm]


def read_record(
    paths: StudyPaths, plan: Json, analysis: Json, entries: Sequence[Entry], root: str, store: Path
) -> StudyRecord:
    """Read what the page needs beside the plan and the analysis.

    Args:
        entries, root: of the ledger.
        store: folder of the store; the page does without it where it is not there.

    Raises:
        StudyError: cases.parquet or a record is missing or damaged.
    """
    last = {e.path: e.sha256 for e in entries if e.path is not None and e.sha256 is not None}
    failed = {
        str(e.facts.get("cell")): str(e.facts.get("error"))
        for e in entries
        if e.event == "cell_failed"
    }
    found, why = _store(store, str(plan["data"]["key_id"]))
    cases = _table(paths, paths.cases)
    if cases is None:
        raise StudyError("cases.parquet is missing; restore it from a copy of the study")
    records = [_json(paths, paths.cell_record(cell)) for cell in cells_of_plan(dict(plan))]
    return StudyRecord(
        paths,
        {**plan, "arms": {arm: plan["arms"][arm] for arm in in_order(plan["arms"])}},
        _with_arms_in_order(analysis),
        cases,
        _table(paths, paths.instances),
        _table(paths, paths.pretrain),
        _table(paths, paths.pretrain_instances),
        _json(paths, paths.pretraining),
        [record for record in records if record is not None],
        failed,
        sorted((str(path), str(digest)) for path, digest in last.items()),
        root,
        _audit(paths, root),
        found,
        why,
    )


def _with_arms_in_order(analysis: Json) -> Json:
    """The analysis, its rows arm by arm as the page tells of them."""
    arms = in_order(analysis["aulc"])
    ordered = {**analysis, "aulc": {arm: analysis["aulc"][arm] for arm in arms}}
    for name in ("curve", "effects", "paired_tests", "calibration"):
        ordered[name] = sorted(analysis[name], key=lambda row: arms.index(row["arm"]))
    return ordered


def _audit(paths: StudyPaths, root: str) -> Json | None:
    """An audit of an earlier state says nothing of this one; a damaged one says nothing."""
    try:
        audit = _json(paths, paths.root / "audit.json")
    except StudyError:
        return None
    return audit if audit is not None and audit.get("ledger_root") == root else None


def _store(folder: Path, key_id: str) -> tuple[Store | None, str]:
    try:
        store = open_store(folder)
    except (MedsslError, OSError):
        return None, "the store is not where it was when the study was planned"
    if store.key_id != key_id:
        return None, "the store there has another key, so that its volumes cannot be told"
    return store, ""


def _table(paths: StudyPaths, path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{paths.relative(path)} is damaged; restore it from a copy") from error


def _json(paths: StudyPaths, path: Path) -> Json | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StudyError(f"{paths.relative(path)} is damaged; restore it from a copy") from error
    return content if isinstance(content, dict) else None
