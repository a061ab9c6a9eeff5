"""One bar for the whole grid, so that the time left is that of the study."""

from __future__ import annotations

import time

from medssl.efficiency.events import Tell
from medssl.progress import Progress

_TELL_EVERY_S = 0.5


class GridProgress:
    """Counts the training steps of all cells on one bar; made for one run of a study.

    Args:
        steps: of each cell of the grid, by its name.
        done: names of the cells that are.
    """

    def __init__(self, outer: Progress, steps: dict[str, int], done: set[str]) -> None:
        self._outer = outer
        self._cells, self._over = len(steps), len(done)
        self._left = {name: count for name, count in steps.items() if name not in done}
        total = sum(steps.values())
        outer.start(
            f"study of {len(steps)} cells, training steps",
            total,
            done=total - sum(self._left.values()),
        )

    def advance(self, name: str, steps: int, figures: dict[str, float | str]) -> None:
        """A cell took steps; those that it takes again after a fault do not count twice."""
        counted = min(steps, self._left.get(name, 0))
        if counted:
            self._left[name] -= counted
            shown = f"{self._over + 1}/{self._cells} {name}"
            self._outer.advance(counted, cell=shown, **figures)

    def over(self, name: str) -> None:
        """The cell is over, however it ended."""
        self._outer.advance(self._left.pop(name, 0))
        self._over += 1

    def say(self, line: str) -> None:
        self._outer.say(line)

    def finish(self) -> None:
        self._outer.finish()


class StepCounter:
    """A `Progress` for the trainings of one cell, which tells their steps as events.

    What else the cell does (predicting, embedding) shows in the time alone.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._left = 0
        self._counts = False
        self._waiting = 0
        self._figures: dict[str, float | str] = {}
        self._told = time.monotonic()

    def begin(self, steps: int) -> None:
        """A trial of this many steps begins; the first piece of its work is its training."""
        self._left = steps

    def end(self) -> None:
        """The trial is over; steps that it did not take are counted, for nobody waits for them."""
        self._take(self._left, {})
        self._flush()

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        self._counts = self._left > 0
        self.advance(done)

    def advance(self, units: int = 1, **figures: float | str) -> None:
        if self._counts:
            self._take(min(units, self._left), figures)

    def say(self, line: str) -> None:
        """A cell's own lines are in its run.log."""

    def finish(self) -> None:
        self._counts = False

    def _take(self, steps: int, figures: dict[str, float | str]) -> None:
        self._left -= steps
        self._waiting += steps
        self._figures |= figures
        if time.monotonic() - self._told > _TELL_EVERY_S:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._tell({"kind": "steps", "steps": self._waiting, "figures": self._figures})
        self._waiting, self._figures = 0, {}
        self._told = time.monotonic()
