"""The grid of a study and the names of its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One arm at one fraction in one draw."""

    arm: str
    fraction: float
    draw: int

    @property
    def name(self) -> str:
        return f"{self.arm}_{self.fraction:g}_{self.draw}"

    @property
    def facts(self) -> dict[str, Any]:
        """What the ledger says of a cell."""
        return {
            "cell": self.name,
            "arm": self.arm,
            "fraction": self.fraction,
            "draw": self.draw,
        }


@dataclass(frozen=True)
class StudyPaths:
    """Where everything of a study lies; see docs/reference/study-schema.md."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def cases(self) -> Path:
        return self.root / "cases.parquet"

    @property
    def instances(self) -> Path:
        return self.root / "instances.parquet"

    @property
    def splits(self) -> Path:
        return self.root / "splits.parquet"

    @property
    def pretrain(self) -> Path:
        return self.root / "pretrain.parquet"

    @property
    def pretrain_instances(self) -> Path:
        return self.root / "pretrain_instances.parquet"

    @property
    def pretraining(self) -> Path:
        return self.root / "pretraining.json"

    @property
    def claim(self) -> Path:
        return self.root / "claim.yaml"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def analysis(self) -> Path:
        return self.root / "analysis.json"

    @property
    def curve(self) -> Path:
        return self.root / "curve.png"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def run_of(self, cell: Cell) -> Path:
        return self.root / "cells" / cell.name

    def cell_record(self, cell: Cell) -> Path:
        return self.run_of(cell) / "cell.json"

    def predictions(self, cell: Cell) -> Path:
        return self.root / "predictions" / f"{cell.name}.parquet"

    def masks(self, cell: Cell) -> Path:
        return self.root / "masks" / cell.name

    def relative(self, path: Path) -> str:
        """A path as the ledger and the reports write it."""
        return path.relative_to(self.root).as_posix()


def grid(arms: Iterable[str], fractions: Iterable[float], draws: int) -> list[Cell]:
    """All cells, draw by draw and from few labels to many, arms side by side.

    A study that is stopped half-way so has whole draws to look at, with no arm ahead of another.
    """
    arms = list(arms)
    return [
        Cell(arm, fraction, draw)
        for draw in range(draws)
        for fraction in sorted(fractions)
        for arm in arms
    ]


def cells_of_plan(plan: dict[str, Any]) -> list[Cell]:
    """The grid that plan.json describes."""
    return grid(plan["arms"], plan["fractions"], int(plan["draws"]))
