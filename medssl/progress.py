"""How a stage tells of its progress without knowing who listens.

A stage takes a `Progress` and calls it; the command line passes one that draws a bar, a test or a
script passes nothing and gets `SILENT`.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told in this order: start, any number of advance and say, finish; then again start."""

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        """A piece of work of `total` units begins, `done` of them already there."""

    def advance(self, units: int = 1, **figures: float | str) -> None:
        """`units` more are done; `figures` are shown beside the bar, such as loss=0.31."""

    def say(self, line: str) -> None:
        """A line for the reader, free of anything that identifies a patient."""

    def finish(self) -> None:
        """The piece of work is over."""


class _Silent:
    def start(self, what: str, total: int | None, done: int = 0) -> None: ...

    def advance(self, units: int = 1, **figures: float | str) -> None: ...

    def say(self, line: str) -> None: ...

    def finish(self) -> None: ...


SILENT: Progress = _Silent()
