"""Reading a study's folder, file by file, with distrust.

Every file is checked against its documented layout (docs/reference/study-schema.md) before a check
sees it. One that is missing or damaged raises `DamagedFile`, and the check that needed it FAILs
with the file's name.
"""

from __future__ import annotations

import json
import math
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from medssl.audit.brought import NOTHING, Brought
from medssl.audit.records import AnalysisRecord, CellFile, PlanRecord, PretrainingFile, Record
from medssl.audit.result import Evidence
from medssl.efficiency.canonical import canonical_json, sha256_file
from medssl.efficiency.cells import Cell, grid
from medssl.efficiency.ledger import Entry, read_ledger
from medssl.errors import StudyError

PLAN = "plan.json"
CASES = "cases.parquet"
INSTANCES = "instances.parquet"
SPLITS = "splits.parquet"
PRETRAIN = "pretrain.parquet"
PRETRAIN_INSTANCES = "pretrain_instances.parquet"
PRETRAINING = "pretraining.json"
LEDGER = "ledger.jsonl"
ANALYSIS = "analysis.json"
BASELINE = "scratch"

_CASES = (
    *("volume_uid", "patient_key", "series_key", "group_quality", "pixel_sha256", "file_sha256"),
    *("label", "y_true", "role"),
)
_SPLITS = ("patient_key", "role", "draw", "rank", "patient_class", "class_rank", "val_flag")
_PRETRAIN = ("volume_uid", "patient_key", "series_key", "group_quality", "pixel_sha256")
_INSTANCES = ("volume_uid", "instance_key", "file_sha256")
_WHOLE_NUMBERS = ("y_true", "draw", "rank", "class_rank")

R = TypeVar("R", bound=Record)


class DamagedFile(Exception):
    """A file of the study is missing or is not what the layout says."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class StudyFiles:
    """The folder of a study, with what the auditor brought along.

    Args:
        root: the study's folder.
        brought: what the auditor brought along: a root, a claim, the store, the encoder.

    Raises:
        StudyError: the folder holds no study.
    """

    def __init__(self, root: Path, brought: Brought = NOTHING) -> None:
        if not root.is_dir():
            raise StudyError(f"no folder at {root}; medssl audit takes the folder of a study")
        if not any((root / name).is_file() for name in (PLAN, LEDGER, CASES)):
            raise StudyError(f"{root} is no study: it has no {PLAN}, {LEDGER} or {CASES}")
        self.root = root
        self.brought = brought
        self.sha256 = cache(self._sha256)
        self.predictions = cache(self._read_predictions)
        self.cell_file = cache(self._read_cell_file)
        self.subset = cache(self._subset)

    def has(self, path: str) -> bool:
        try:
            return (self.root / path).is_file()
        except OSError:
            return False

    def evidence(self, path: str) -> Evidence:
        """The file as a check's evidence; without a hash where it is not there."""
        if not self.has(path):
            return Evidence(path, None)
        rows = None
        if path.endswith(".parquet"):
            try:
                rows = pq.read_metadata(self.root / path).num_rows
            except (OSError, pa.ArrowException):
                rows = None
        return Evidence(path, self.sha256(path), rows)

    @cached_property
    def plan(self) -> PlanRecord:
        plan = self._json(PLAN, PlanRecord)
        if plan.fractions != sorted(set(plan.fractions)) or not (
            plan.fractions[0] > 0 and plan.fractions[-1] <= 1
        ):
            raise DamagedFile(PLAN, "key fractions: not ascending numbers above 0 and up to 1")
        if BASELINE not in plan.arms:
            raise DamagedFile(PLAN, f"key arms: no arm {BASELINE}")
        return plan

    @cached_property
    def analysis(self) -> AnalysisRecord:
        return self._json(ANALYSIS, AnalysisRecord)

    @cached_property
    def ledger(self) -> list[Entry]:
        try:
            return read_ledger(self.root / LEDGER)
        except StudyError as error:
            where = str(error).removeprefix(f"{self.root / LEDGER}").lstrip(":, ")
            raise DamagedFile(LEDGER, where if self.has(LEDGER) else "is missing") from error

    @cached_property
    def cases(self) -> pd.DataFrame:
        """cases.parquet, indexed by volume_uid."""
        frame = self._table(CASES, _CASES)
        if frame["volume_uid"].duplicated().any():
            raise DamagedFile(CASES, "a volume_uid is there twice")
        self._only(CASES, frame, "role", {"test", "dev"})
        for role in ("test", "dev"):
            if not (frame["role"] == role).any():
                raise DamagedFile(CASES, f"has no case of role {role}")
        return frame.set_index("volume_uid", drop=False)

    @cached_property
    def splits(self) -> pd.DataFrame:
        frame = self._table(SPLITS, _SPLITS)
        self._only(SPLITS, frame, "role", {"test", "dev"})
        if frame["val_flag"].dtype != bool:
            raise DamagedFile(SPLITS, "column val_flag is not true or false throughout")
        return frame

    @cached_property
    def instances(self) -> pd.DataFrame:
        return self._table(INSTANCES, _INSTANCES)

    @cached_property
    def pretrain(self) -> pd.DataFrame:
        return self._table(PRETRAIN, _PRETRAIN)

    @cached_property
    def pretrain_instances(self) -> pd.DataFrame:
        return self._table(PRETRAIN_INSTANCES, _INSTANCES)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell that the plan asks for."""
        return grid(self.plan.arms, self.plan.fractions, self.plan.draws)

    @cached_property
    def cells_there(self) -> list[Cell]:
        """The planned cells that have a file of predictions."""
        return [cell for cell in self.cells if self.has(predictions_path(cell))]

    @cached_property
    def pretraining(self) -> PretrainingFile:
        return self._json(PRETRAINING, PretrainingFile)

    def evidence_of_cells(self) -> list[Evidence]:
        """The files in which the cells say how they were made."""
        return [self.evidence(cell_path(cell)) for cell in self.cells_there]

    def _read_cell_file(self, cell: Cell) -> CellFile:
        """How a cell was made.

        Raises:
            DamagedFile: the file is missing or damaged, or is another cell's.
        """
        path = cell_path(cell)
        told = self._json(path, CellFile)
        if (told.cell, told.arm, float(told.fraction), told.draw) != (
            cell.name,
            cell.arm,
            float(cell.fraction),
            cell.draw,
        ):
            raise DamagedFile(path, f"is of cell {told.cell}")
        if told.chosen >= len(told.trials):
            raise DamagedFile(path, f"key chosen: {told.chosen} of {len(told.trials)} trials")
        return told

    def _subset(self, fraction: float, draw: int) -> pd.DataFrame:
        """The labelled cases of a cell by splits.parquet: volume_uid, patient_key, split.

        The patients ranked below floor(f * N + 1/2) of the draw's N; the flagged ones validate
        where every class among them has `validation.least` patients, else they train.
        """
        ranks = self.splits[(self.splits["role"] == "dev") & (self.splits["draw"] == draw)]
        taken = ranks[ranks["rank"] < math.floor(fraction * len(ranks) + 0.5)]
        enough = taken["patient_class"].value_counts().min() >= self.plan.validation.least
        validates = set(taken.loc[taken["val_flag"], "patient_key"]) if enough else set()
        cases = self.cases[self.cases["patient_key"].isin(taken["patient_key"])]
        split = ["val" if key in validates else "train" for key in cases["patient_key"]]
        columns = {
            "volume_uid": cases["volume_uid"].to_numpy(),
            "patient_key": cases["patient_key"].to_numpy(),
            "split": split,
        }
        return pd.DataFrame(columns)

    def _sha256(self, path: str) -> str:
        """Hash of a file's bytes.

        Raises:
            DamagedFile: it is not there or cannot be read.
        """
        if not self.has(path):
            raise DamagedFile(path, "is missing")
        try:
            return sha256_file(self.root / path)
        except OSError as error:
            raise DamagedFile(path, "cannot be read") from error

    def _json(self, path: str, cls: type[R]) -> R:
        if not self.has(path):
            raise DamagedFile(path, "is missing")
        try:
            values = json.loads((self.root / path).read_bytes())
            canonical_json(values)  # no NaN, no text that is none
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DamagedFile(path, f"key {where}: {first['msg']}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise DamagedFile(path, "is no JSON") from error

    def _table(self, path: str, columns: tuple[str, ...]) -> pd.DataFrame:
        """A Parquet file with at least `columns`: keys as text without gaps, counts as integers."""
        if not self.has(path):
            raise DamagedFile(path, "is missing")
        try:
            frame: pd.DataFrame = pq.read_table(self.root / path).to_pandas()
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DamagedFile(path, "is no readable Parquet file") from error
        for column in columns:
            if column not in frame:
                raise DamagedFile(path, f"has no column {column}")
            if column in _WHOLE_NUMBERS:
                if not pd.api.types.is_integer_dtype(frame[column]):
                    raise DamagedFile(path, f"column {column} has other than whole numbers")
            elif column != "val_flag":
                frame[column] = _as_text(path, frame[column])
        if (frame.get("patient_key", pd.Series(["key"])) == "").any():
            raise DamagedFile(path, "a row has no patient_key")
        return frame

    def _read_predictions(self, cell: Cell) -> pd.DataFrame:
        """The predictions of a cell, validation and test parts, by split and volume_uid."""
        path = predictions_path(cell)
        frame = self._table(path, ("volume_uid", "patient_key", "split"))
        self._only(path, frame, "split", {"val", "test"})
        if frame["volume_uid"].duplicated().any():
            raise DamagedFile(path, "a volume_uid is there twice")
        required = prediction_columns(self.plan)
        optional = [c for c in optional_columns(self.plan) if c in frame]
        for column in [*required, *optional]:
            if column not in frame:
                raise DamagedFile(path, f"has no column {column}")
            if not pd.api.types.is_numeric_dtype(frame[column]):
                raise DamagedFile(path, f"column {column} has other than numbers")
            values = frame[column].astype("float64")
            may_lack = column.startswith(("dice_", "nsd_", "hd95_mm_"))
            if not may_lack and not values.map(math.isfinite).all():
                raise DamagedFile(path, f"column {column} has a value that is not finite")
        if self.plan.task.kind == "classification":
            classes = range(len(self.plan.task.classes))
            if not frame["y_true"].isin(classes).all():
                raise DamagedFile(path, "column y_true has other than the numbers of the classes")
        return frame.sort_values(["split", "volume_uid"], ignore_index=True)

    @staticmethod
    def _only(path: str, frame: pd.DataFrame, column: str, allowed: set[str]) -> None:
        if not set(frame[column]) <= allowed:
            raise DamagedFile(path, f"column {column} has other than {', '.join(sorted(allowed))}")


def cell_path(cell: Cell) -> str:
    """Where a cell says how it was made, relative to the study."""
    return f"cells/{cell.name}/cell.json"


def predictions_path(cell: Cell) -> str:
    """Where a cell's predictions lie, relative to the study."""
    return f"predictions/{cell.name}.parquet"


def prediction_columns(plan: PlanRecord) -> list[str]:
    """The columns of numbers that a file of predictions has for the plan's task."""
    if plan.task.kind == "classification":
        return ["y_true", *(f"logit_{k}" for k in range(len(plan.task.classes)))]
    names = ("tp", "fp", "fn", "dice", "volume_true_mm3", "volume_pred_mm3")
    return [f"{name}_{c}" for c in plan.task.classes for name in names]


def optional_columns(plan: PlanRecord) -> list[str]:
    """The columns of numbers that it may have besides."""
    if plan.task.kind == "classification":
        return []
    names = ("nsd", "hd95_mm", "lesion_tp", "lesion_fp", "lesion_fn")
    return [f"{name}_{c}" for c in plan.task.classes for name in names]


def _as_text(path: str, column: pd.Series[Any]) -> pd.Series[Any]:
    """Text without gaps: a missing value is the empty text."""
    filled = column.astype(object).where(column.notna(), "")
    if not filled.map(lambda value: isinstance(value, str)).all():
        raise DamagedFile(path, f"column {column.name} has other than text")
    return filled
