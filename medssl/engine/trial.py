"""What a training costs, found by running its first steps in a process of their own.

That process may fail for want of memory without harm: on the CPU it may allocate no more than the
machine has free, so that nothing else is pushed out.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import torch
from torch import nn

from medssl.augment.batch import SampleSource
from medssl.augment.loader import Loader
from medssl.engine.config import OptimConfig, RuntimeConfig
from medssl.engine.loop import default_device, train
from medssl.engine.memory import shortage_told
from medssl.engine.run_folder import RunFolder
from medssl.errors import MedsslError, OutOfMemory
from medssl.progress import SILENT

Built = tuple[nn.Module, SampleSource, OptimConfig, RuntimeConfig]

_STEPS = 8
_WARM_UP = 3  # of these: the first batch, what is compiled, buffers of the optimiser
_BATCHES = 3
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Trial:
    """What the first steps took.

    Attributes:
        problem: why there is no more than this; None where all went well.
        out_of_memory: whether that was for want of memory.
        step_s: seconds of a step, the median of those after the first few.
        batch_s: seconds to draw a batch where nothing else is done, in the same number of threads.
        memory_bytes: the most that the process had at once, on the device that trains.
        checkpoint_bytes: of one checkpoint on disk.
        weights: numbers that are trained.
        threads: torch's, on the CPU.
    """

    problem: str | None = None
    out_of_memory: bool = False
    step_s: float = 0.0
    batch_s: float = 0.0
    memory_bytes: int = 0
    checkpoint_bytes: int = 0
    weights: int = 0
    threads: int = 0


def try_out(build: Callable[[], Built]) -> Trial:
    """Run a few steps of what `build` makes; it is called in a new process, so it must pickle."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(build, theirs, free_memory()))
    process.start()
    theirs.close()
    try:
        trial: Trial = ours.recv()
    except EOFError:  # killed before it could say a word, as the kernel does to the largest process
        process.join()
        trial = Trial(f"the trial was ended from outside ({process.exitcode})", out_of_memory=True)
    process.join()
    return trial


def free_memory() -> int:
    """Bytes that training may take: of the GPU where there is one, else of this machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    free = psutil.virtual_memory().available
    try:  # a container's own limit
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, limit - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return int(free)


def _run(build: Callable[[], Built], answer: Connection, memory: int) -> None:
    # What a training says on its way is nothing that a check should print.
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if not torch.cuda.is_available():
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        with shortage_told():
            answer.send(_measure(*build()))
    except MedsslError as error:
        answer.send(Trial(str(error), out_of_memory=isinstance(error, OutOfMemory)))


def _measure(
    module: nn.Module, source: SampleSource, optim: OptimConfig, runtime: RuntimeConfig
) -> Trial:
    # One checkpoint, at the end.
    runtime = runtime.model_copy(update={"checkpoint_every": _STEPS, "log_every": _STEPS})
    clock = _Clock()
    with tempfile.TemporaryDirectory(prefix="medssl-check-") as folder:
        run = RunFolder.open(Path(folder) / "run", optim, "check")
        try:
            train(
                module,
                source,
                optim=optim,
                runtime=runtime,
                steps=_STEPS,
                seed=0,
                run=run,
                progress=clock,
            )
        finally:
            run.close()
        written = [p for p in run.checkpoints.glob("step-*/*") if p.is_file()]
        checkpoint = sum(p.stat().st_size for p in written)
    return Trial(
        step_s=statistics.median(clock.seconds[_WARM_UP:]),
        batch_s=_seconds_a_batch(source, runtime),
        memory_bytes=_most_memory(),
        checkpoint_bytes=checkpoint,
        weights=sum(p.numel() for p in module.parameters() if p.requires_grad),
        threads=torch.get_num_threads(),
    )


def _seconds_a_batch(source: SampleSource, runtime: RuntimeConfig) -> float:
    on_gpu = default_device().type == "cuda"
    loader = Loader(source, num_workers=runtime.num_workers, finish=not on_gpu)
    began = time.monotonic()
    try:
        for _ in loader.batches(_STEPS, _STEPS + _BATCHES):
            pass
    finally:
        loader.close()
    return (time.monotonic() - began) / _BATCHES


def _most_memory() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


class _Clock:
    """A `Progress` that notes when each step ended."""

    start = SILENT.start
    say = SILENT.say
    finish = SILENT.finish

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = time.monotonic()

    def advance(self, units: int = 1, **figures: float | str) -> None:
        """See `Progress.advance`."""
        if units:
            now = time.monotonic()
            self.seconds.append(now - self._last)
            self._last = now
