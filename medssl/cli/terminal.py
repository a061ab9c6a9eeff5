"""Progress on a terminal: a bar with the time left, or plain lines where there is none."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_PLAIN_EVERY_S = 10.0


class TerminalProgress:
    """Draws with rich where stderr is a terminal; else a line every ten seconds and at the end."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._interactive = sys.stderr.isatty()
        self._what = ""
        self._total: int | None = None
        self._done = self._first = 0
        self._began = self._told = 0.0
        self._figures: dict[str, float | str] = {}

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        self.finish()
        self._what, self._total, self._done, self._first = what, total, done, done
        self._began = self._told = time.monotonic()
        self._figures = {}
        if not self._interactive:
            print(f"{what}: {total if total is not None else '?'} to do, {done} done", flush=True)
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._rich = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self._rich.add_task(what, total=total, completed=done, figures="")
        self._rich.start()

    def advance(self, units: int = 1, **figures: float | str) -> None:
        self._done += units
        self._figures.update(figures)
        if self._rich is not None:
            self._rich.update(self._rich.task_ids[0], advance=units, figures=self._shown())
        elif not self._interactive and time.monotonic() - self._told >= _PLAIN_EVERY_S:
            self._tell()

    def say(self, line: str) -> None:
        if self._rich is not None:
            self._rich.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def finish(self) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None
        elif self._what and not self._interactive:
            self._tell()
        self._what = ""

    def _tell(self) -> None:
        now = time.monotonic()
        self._told = now
        line = f"{self._what}: {self._done}"
        if self._total:
            line += f"/{self._total}"
            fresh = self._done - self._first
            if fresh and self._done < self._total:
                left = (now - self._began) / fresh * (self._total - self._done)
                line += f", {_clock(left)} left"
        line += f", {_clock(now - self._began)} elapsed"
        print(f"{line}  {self._shown()}".rstrip(), flush=True)

    def _shown(self) -> str:
        return " ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self._figures.items()
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
