"""Who trains cells: this process alone, or processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from medssl.efficiency.cell import CellCandidate, CellTrainer, StudyWork
from medssl.efficiency.cells import Cell, StudyPaths
from medssl.efficiency.events import FILE_NAME, Event, EventWriter
from medssl.errors import NO_ROOM, Interrupted, MedsslError
from medssl.transfer.tuning import TrainFunction

_STOP_WAIT_S = 60.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        error: kind of the error; None where the cell is done.
        reason: in words that hold no path.
        trace: for the study's run.log.
        died: the process that trained it is gone.
        fatal: no other cell would fare better: the disk is full, or the study was told to stop.
    """

    error: str | None = None
    reason: str = ""
    trace: str = ""
    died: bool = False
    fatal: bool = False


DIED = Outcome("WorkerDied", "its process was killed, twice", died=True)


class Crew(Protocol):
    """Takes cells as long as it has room for one, and says how they ended."""

    def room(self) -> bool:
        """Whether another cell can be given."""

    def give(self, cell: Cell) -> None:
        """Begin a cell."""

    def wait(self, seconds: float) -> list[tuple[Cell, Outcome]]:
        """Cells that ended, after at most so long."""

    def close(self) -> None:
        """Stop what still runs, with a checkpoint where there is time for it."""


class Alone:
    """Trains in this process; `tell` is given every event at once."""

    def __init__(
        self,
        work: StudyWork,
        train: TrainFunction[CellCandidate] | None,
        tell: Callable[[Cell, Event], None],
    ) -> None:
        self._trainer = CellTrainer(work, train)
        self._tell = tell
        self._ended: list[tuple[Cell, Outcome]] = []

    def room(self) -> bool:
        return not self._ended

    def give(self, cell: Cell) -> None:
        outcome = train_cell(self._trainer, cell, lambda event: self._tell(cell, event))
        self._ended.append((cell, outcome))

    def wait(self, seconds: float) -> list[tuple[Cell, Outcome]]:
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        pass


class CellProcess:
    """A process that trains one cell after the other, and ends with the one that made it."""

    def __init__(self, work: StudyWork, train: TrainFunction[CellCandidate] | None = None) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, work, train))
        self._process.start()
        theirs.close()
        self.cell: Cell | None = None

    def give(self, cell: Cell) -> None:
        self.cell = cell
        with contextlib.suppress(OSError):  # of a process that died, reading tells
            self.pipe.send(cell)

    def answer(self) -> Outcome:
        """How the cell ended; waits for it."""
        self.cell = None
        try:
            outcome: Outcome = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return DIED
        return outcome

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def stop(self) -> None:
        """Ask it to end; a training writes a checkpoint first."""
        self.pipe.close()
        if self.cell is not None:
            self._process.terminate()

    def join(self, seconds: float) -> None:
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class Workers:
    """Processes of this machine. One that is killed costs the cell that it was at."""

    def __init__(
        self, work: StudyWork, number: int, train: TrainFunction[CellCandidate] | None = None
    ) -> None:
        self._work, self._number, self._train = work, number, train
        self._processes: list[CellProcess] = []

    def room(self) -> bool:
        return sum(p.cell is not None for p in self._processes) < self._number

    def give(self, cell: Cell) -> None:
        idle = [p for p in self._processes if p.cell is None]
        if not idle:
            idle = [CellProcess(self._work, self._train)]
            self._processes += idle
        idle[0].give(cell)

    def wait(self, seconds: float) -> list[tuple[Cell, Outcome]]:
        busy = {p.pipe: p for p in self._processes if p.cell is not None}
        ended = []
        for pipe in wait(list(busy), timeout=seconds):
            assert isinstance(pipe, Connection)
            process = busy[pipe]
            cell = process.cell
            assert cell is not None
            outcome = process.answer()
            if outcome.died:
                pipe.close()
                self._processes.remove(process)
            ended.append((cell, outcome))
        return ended

    def close(self) -> None:
        for process in self._processes:
            process.stop()
        deadline = time.monotonic() + _STOP_WAIT_S
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        self._processes = []


def train_cell(trainer: CellTrainer, cell: Cell, tell: Callable[[Event], None]) -> Outcome:
    """Train one cell; its fault is the outcome.

    Raises:
        Interrupted: the process was told to stop.
        OSError: the disk is full.
    """
    try:
        trainer.run(cell, tell)
    except Interrupted:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        return Outcome(type(error).__name__, reason_of(error), traceback.format_exc())
    return Outcome()


def reason_of(error: BaseException) -> str:
    """Why a cell failed, in words that hold no path: other errors are told by their kind."""
    return str(error) if isinstance(error, MedsslError) else type(error).__name__


def _serve(pipe: Any, work: StudyWork, train: TrainFunction[CellCandidate] | None) -> None:
    """A process's work: cells from the pipe, until it is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    trainer: CellTrainer | None = None
    while True:
        try:
            cell: Cell = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            trainer = trainer or CellTrainer(work, train)
            folder = StudyPaths(work.root).run_of(cell)
            outcome = train_cell(trainer, cell, EventWriter(folder / FILE_NAME))
        except KeyboardInterrupt:
            return
        except Interrupted:  # with a checkpoint, from which the cell is taken up again
            outcome = DIED
        except Exception as error:
            told = traceback.format_exc()
            outcome = Outcome(type(error).__name__, reason_of(error), told, fatal=True)
        with contextlib.suppress(OSError):
            pipe.send(outcome)


def _end_with_parent() -> None:
    """A parent that is killed takes its processes along: they would hold the cells' folders."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
