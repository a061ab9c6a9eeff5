"""Running one side of a benchmark in a process of its own: its answer and its peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS", "NUMBA_NUM_THREADS"), "1"
)
_EVERY_SECONDS = 0.1


class SideFailed(RuntimeError):
    """A side ended with an error; its last line is in the message."""


def run_side(script: str, arguments: Sequence[str], cores: int) -> dict[str, Any]:
    """What `python script arguments` prints as JSON in its last line, and "peak_mb".

    It gets one thread for each library and process, and the first `cores` cores. Peak memory is
    that of the whole family of processes; pages that they share count once (PSS). The time of its
    start stands in the environment as BENCH_STARTED.

    Raises:
        SideFailed: it ended with an error.
    """
    allowed = set(sorted(os.sched_getaffinity(0))[:cores])
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(script)), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_ONE_THREAD, "BENCH_STARTED": str(time.time())},
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    peak = 0.0
    while True:
        try:
            out, err = process.communicate(timeout=_EVERY_SECONDS)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, _family_mb(process.pid))
    if process.returncode:
        last = (err.strip().splitlines() or [f"exit {process.returncode}"])[-1]
        raise SideFailed(f"{' '.join(arguments)}: {last[:200]}")
    answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return {**answer, "peak_mb": peak}


def show(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that reads well as it is, and as Markdown."""
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    for row in (heads, ["-" * width for width in widths], *rows):
        first = row[0].ljust(widths[0])
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("| " + " | ".join([first, *cells]) + " |")
    print()


def seconds_since_start() -> float:
    """Of this process, its imports and all."""
    return time.time() - float(os.environ["BENCH_STARTED"])


def cpu_seconds() -> float:
    """Spent so far by this process and its children, on all cores."""
    process = psutil.Process()
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _family_mb(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    return sum(_own_mb(member) for member in family)


def _own_mb(process: psutil.Process) -> float:
    try:
        memory = process.memory_full_info()
    except psutil.Error:
        return 0.0
    return float(getattr(memory, "pss", memory.rss)) / 1e6
