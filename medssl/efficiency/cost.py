"""What a piece of work cost: seconds, memory, and energy where it can be measured."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Meter:
    """Measures what is done while it is entered.

    Attributes:
        seconds: of wall-clock time.
        peak_memory_bytes: the most that this process had at once, of the GPU's memory where there
            is one. Where the system cannot be asked for less, since the process began.
        kwh: drawn by the whole machine's processors and GPUs meanwhile, as codecarbon (the extra
            `energy`) measures or estimates it; None without it.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_memory_bytes = 0
        self.kwh: float | None = None

    def __enter__(self) -> Meter:
        self._began = time.monotonic()
        _forget_peak()
        self._energy = _energy_tracker()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.monotonic() - self._began
        self.peak_memory_bytes = _peak()
        if self._energy is not None:
            self._energy.stop()
            measured = self._energy.final_emissions_data
            self.kwh = None if measured is None else float(measured.energy_consumed)


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # see proc_pid_clear_refs(5)


def _peak() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _energy_tracker() -> Any:
    """codecarbon's tracker, started; it writes no file and asks nobody. None where it is absent."""
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        return None
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA",  # decides the carbon, which is not reported
        save_to_file=False,
        log_level="critical",
        allow_multiple_runs=True,
    )
    tracker.start()
    return tracker
