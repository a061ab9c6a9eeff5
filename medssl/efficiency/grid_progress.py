"""One bar for the whole grid, so that the time left is that of the study."""

from __future__ import annotations

from medssl.progress import Progress


class GridProgress:
    """Counts the training steps of all cells on one bar; made for one run of a study."""

    def __init__(self, outer: Progress, cells: int, done: int, steps: int) -> None:
        self._outer = outer
        self._steps = steps
        self._cells, self._cell = cells, done
        outer.start(f"study of {cells} cells, training steps", cells * steps, done=done * steps)

    def cell(self, name: str) -> CellProgress:
        """What the next cell's training is given."""
        self._cell += 1
        return CellProgress(self._outer, f"{self._cell}/{self._cells} {name}", self._steps)

    def say(self, line: str) -> None:
        self._outer.say(line)

    def finish(self) -> None:
        self._outer.finish()


class CellProgress:
    """Passes on the steps of one training; what else the cell does shows in the time alone."""

    def __init__(self, outer: Progress, shown: str, steps: int) -> None:
        self._outer, self._shown = outer, shown
        self._left = steps
        self._counts = False

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        # The first piece of work of a cell is its training; predicting comes after it.
        self._counts = self._left > 0
        self.advance(done)

    def advance(self, units: int = 1, **figures: float | str) -> None:
        if self._counts:
            counted = min(units, self._left)
            self._left -= counted
            self._outer.advance(counted, cell=self._shown, **figures)

    def say(self, line: str) -> None:
        """A cell's own lines are in its run.log."""

    def finish(self) -> None:
        self._counts = False

    def close(self) -> None:
        """The cell is over, however it ended."""
        self._outer.advance(self._left)
        self._left = 0
