"""What a piece of work cost in memory, and in energy where that can be measured.

Memory is that of this process alone: where several train together, of the leading one, which
measures. Energy is that of the machine on which it runs.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Meter:
    """Measures what is done while it is entered, and adds it to what earlier processes measured.

    A run that was interrupted goes on with `load_state_dict` of what was kept last: the peak is
    then the largest over its parts, the energy the sum over those parts that measured it. What a
    process drew after it last kept its state and was killed is in no sum, nor are the seconds of
    the steps that are taken again.

    Args:
        share: of the machine's energy, what is counted: 1 / n where n processes do such work
            on it beside each other.

    Attributes:
        peak_memory_bytes: the most that this process had at once, of its GPU's memory where there
            is one, else resident in main memory. Where the system cannot be asked for less, since
            the process began.
        kwh: drawn meanwhile by the machine's processors and memory, and by the GPUs that this
            process may use, whoever used them, as codecarbon (the extra `energy`) measures or
            estimates it. None where no part of the run could measure it.
    """

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self.peak_memory_bytes = 0
        self.kwh: float | None = None
        self._earlier_kwh: float | None = None
        self._energy: _Energy | None = None

    def __enter__(self) -> Meter:
        _forget_peak()
        self._energy = _Energy()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._energy is not None
        self._energy.stop()
        self._read()
        self._energy = None

    def state_dict(self) -> dict[str, Any]:
        """{peak_memory_bytes, kwh} until now, to be kept beside the state of what is measured."""
        if self._energy is not None:
            self._energy.flush()
            self._read()
        return {"peak_memory_bytes": self.peak_memory_bytes, "kwh": self.kwh}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Count what an earlier process of the same run measured."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, int(state["peak_memory_bytes"]))
        self._earlier_kwh = self.kwh = state["kwh"]

    def _read(self) -> None:
        self.peak_memory_bytes = max(self.peak_memory_bytes, _peak())
        now = self._energy.kwh if self._energy is not None else None
        if now is not None:
            self.kwh = (self._earlier_kwh or 0.0) + self._share * now


def cost_figures(cost: Mapping[str, Any]) -> dict[str, float]:
    """What MLflow shows of {seconds, peak_memory_bytes, kwh}; nothing of what is None."""
    named = {"seconds": "seconds", "peak_memory_bytes": "peak_mem", "kwh": "kwh"}
    return {f"cost/{short}": float(cost[n]) for n, short in named.items() if cost[n] is not None}


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


class _Energy:
    """codecarbon's tracker, running. It writes no file, asks nobody and says nothing.

    Whatever goes wrong in it costs the figure alone, never the work that is measured.

    Attributes:
        kwh: when it was last flushed or stopped; None before, and where it does not work.
    """

    def __init__(self) -> None:
        self.kwh: float | None = None
        self._tracker: Any = None
        with contextlib.suppress(Exception):
            import codecarbon

            # It speaks before it has read the level that it is given.
            logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
            tracker = codecarbon.OfflineEmissionsTracker(
                tracking_mode="machine",
                allow_multiple_runs=True,
                log_level="critical",
                # Whoever works with codecarbon may have told it elsewhere to send or to write.
                output_methods=[],
                emissions_endpoint=None,
                output_handlers=[self],
                api_call_interval=-1,
                # Carbon is not reported; a number given spares the look-up of the grid's.
                force_carbon_intensity_g_co2e_kwh=0,
            )
            tracker.start()
            self._tracker = tracker

    def flush(self) -> None:
        """Bring `kwh` up to now."""
        if self._tracker is not None:
            with contextlib.suppress(Exception):
                self._tracker.flush()

    def stop(self) -> None:
        """Bring `kwh` up to now, for the last time."""
        if self._tracker is not None:
            with contextlib.suppress(Exception):
                self._tracker.stop()

    def out(self, total: Any, delta: Any) -> None:
        """As codecarbon's output method: `total` is of all since the start."""
        self.kwh = float(total.energy_consumed)

    def exit(self) -> None:
        """As codecarbon's output method; there is nothing to close."""
