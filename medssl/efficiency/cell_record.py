"""The parent's side of a cell: what it tells goes to the ledger, to MLflow and to the bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medssl import tracking
from medssl.efficiency.cells import Cell, StudyPaths
from medssl.efficiency.events import FILE_NAME, Event, EventReader
from medssl.efficiency.grid_progress import GridProgress
from medssl.efficiency.ledger import Ledger
from medssl.efficiency.provenance import provenance
from medssl.store.writer import write_atomically


class CellRecord:
    """Takes up the events of one cell, in order; what is told twice is written once."""

    def __init__(
        self,
        cell: Cell,
        paths: StudyPaths,
        plan: dict[str, Any],
        plan_sha256: str,
        ledger: Ledger,
        parent_id: str,
        bar: GridProgress,
    ) -> None:
        self.cell = cell
        self._folder = paths.run_of(cell)
        self._plan, self._plan_sha256 = plan, plan_sha256
        self._ledger, self._parent_id, self._bar = ledger, parent_id, bar
        self._reader = EventReader(self._folder / FILE_NAME)
        self._tracker: tracking.Tracker | None = None
        self._trials: dict[int, tracking.Tracker] = {}

    def take_new(self) -> None:
        """Take up what another process wrote since the last call."""
        for event in self._reader.new():
            self.take(event)

    def take(self, event: Event) -> None:
        """Take up one event."""
        match event["kind"]:
            case "ledger":
                self._ledger.append(
                    event["event"], event["path"], event["sha256"], **event["facts"]
                )
            case "cell":
                self._start(event["params"], event["datasets"])
            case "trial":
                self._start_trial(event["trial"], event["setting"])
            case "trial_end":
                tracker = self._trials.pop(event["trial"])
                tracker.log(int(event["figures"]["cost/steps"]), event["figures"])
                tracker.close()
            case "metrics":
                trial = event["trial"]
                found = self._tracker if trial is None else self._trials.get(trial)
                if found is not None:
                    found.log(event["step"], event["metrics"])
            case "steps":
                self._bar.advance(self.cell.name, event["steps"], event["figures"])

    def close(self, status: str) -> None:
        """The cell is over, or is left for another time: FINISHED, FAILED or KILLED."""
        for tracker in self._trials.values():
            tracker.close(status)
        if self._tracker is not None:
            self._tracker.close(status)
        self._trials, self._tracker = {}, None

    def _start(self, params: dict[str, Any], datasets: list[list[Any]]) -> None:
        tags = {
            "medssl.schema": self._plan["schema"],
            "plan_sha256": self._plan_sha256,
            "arm": self.cell.arm,
            "fraction": f"{self.cell.fraction:g}",
            "draw": str(self.cell.draw),
            **provenance(),
        }
        name = f"{self.cell.arm}|{self.cell.fraction:g}|{self.cell.draw}"
        remembered = self._folder / ".mlflow_run"
        resumed = _recalled(remembered)
        self._tracker = tracking.start(
            "cell", name, params, tags, run_id=resumed, parent_id=self._parent_id
        )
        if resumed != self._tracker.run_id:
            write_atomically(remembered, self._tracker.run_id)
            for part, digest, rows in datasets:
                context = "training" if part == "train" else part
                self._tracker.dataset(part, digest, rows, context)

    def _start_trial(self, trial: int, setting: dict[str, Any]) -> None:
        assert self._tracker is not None, "a cell tells of itself first"
        remembered = self._folder / f".mlflow_trial_{trial}"
        resumed = _recalled(remembered)
        tracker = tracking.start(
            "trial",
            f"trial/{trial}",
            setting,
            {"plan_sha256": self._plan_sha256, "arm": self.cell.arm},
            run_id=resumed,
            parent_id=self._tracker.run_id,
        )
        if resumed != tracker.run_id:
            write_atomically(remembered, tracker.run_id)
        self._trials[trial] = tracker


def _recalled(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
