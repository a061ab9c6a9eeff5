"""A scheduler's wish that the run make room, noted until the step at hand is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """While it is entered, SIGTERM and SIGUSR1 end nothing: they set `requested`.

    SIGTERM is what torchrun, SLURM and Kubernetes send before they kill; SIGUSR1 is what SLURM's
    --signal is often set to. Only a process's main thread receives signals; elsewhere this does
    nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
