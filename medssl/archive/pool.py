"""Processes that read untrusted files: one that crashes, swells or hangs costs one item.

Items go to a process in batches, and their results come back in one message. A batch in which the
process died, or that took too long, is tried again item by item, so that what is at fault is known.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from medssl.archive.reasons import Reason
from medssl.errors import CodecError, MedsslError

Item = TypeVar("Item")
Result = TypeVar("Result")
_START_LIMIT_S = 300.0
_STOP_WAIT_S = 2.0
_PRELOAD = ["medssl.archive.worker", "medssl.archive.dicom", "blosc2", "scipy.fft", "scipy.ndimage"]

_FORKSERVER = multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Begin to load what the processes need, while the caller still loads what it needs itself."""
    _FORKSERVER.set_forkserver_preload(_PRELOAD)
    forkserver.ensure_running()


@dataclass(frozen=True)
class Failure:
    """Why an item has no result; `detail` is the kind of the error, never its text."""

    reason: Reason
    detail: str = ""


@dataclass
class _Process(Generic[Item]):
    process: Any
    pipe: Connection
    pending: deque[Item] = field(default_factory=deque)
    ready: bool = False
    since: float = field(default_factory=time.monotonic)


class Pool(Generic[Item, Result]):
    """Processes that apply one function to items; a context manager."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        workers: int,
        max_memory_bytes: int,
        time_limit_s: float,
    ) -> None:
        """`function` is picklable; memory is counted from what a process has when it begins."""
        warm_up()
        self._function = function
        self._workers = workers
        self._max_memory_bytes = max_memory_bytes
        self._time_limit_s = time_limit_s
        self._running: list[_Process[Item]] = []

    def __enter__(self) -> Pool[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._running:
            with contextlib.suppress(OSError):
                worker.pipe.close()
        for worker in self._running:
            worker.process.join(_STOP_WAIT_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._running = []

    def map(self, batches: Iterator[Sequence[Item]]) -> Iterator[tuple[Item, Result | Failure]]:
        """Each item with its result or why there is none, in the order in which they end.

        Raises:
            CodecError: a decoder is not installed.
            MedsslError: no process could be started.
            OSError: the disk is full, or cannot be written.
        """
        waiting: deque[deque[Item]] = deque()
        while True:
            self._feed(batches, waiting)
            busy = [worker for worker in self._running if worker.pending]
            if not busy:
                return
            for worker in self._ready(busy):
                yield from self._receive(worker, waiting)

    def _feed(self, batches: Iterator[Sequence[Item]], waiting: deque[deque[Item]]) -> None:
        idle = [worker for worker in self._running if not worker.pending]
        while idle or len(self._running) < self._workers:
            batch = waiting.popleft() if waiting else deque(next(batches, ()))
            if not batch:
                return
            worker = idle.pop() if idle else self._start()
            worker.pending = batch
            worker.since = time.monotonic()
            with contextlib.suppress(OSError):  # of a process that died, reading tells
                worker.pipe.send(list(batch))

    def _start(self) -> _Process[Item]:
        ours, theirs = _FORKSERVER.Pipe()
        process = _FORKSERVER.Process(
            target=_serve, args=(theirs, self._function, self._max_memory_bytes), daemon=True
        )
        process.start()
        theirs.close()
        worker: _Process[Item] = _Process(process, ours)
        self._running.append(worker)
        return worker

    def _ready(self, busy: list[_Process[Item]]) -> list[_Process[Item]]:
        """Workers with something to read, or that are past their time."""
        now = time.monotonic()
        left = min(worker.since + self._limit(worker) - now for worker in busy)
        readable = wait([worker.pipe for worker in busy], timeout=max(0.0, left))
        now = time.monotonic()
        return [
            worker
            for worker in busy
            if worker.pipe in readable or now - worker.since > self._limit(worker)
        ]

    def _limit(self, worker: _Process[Item]) -> float:
        return self._time_limit_s if worker.ready else _START_LIMIT_S

    def _receive(
        self, worker: _Process[Item], waiting: deque[deque[Item]]
    ) -> Iterator[tuple[Item, Result | Failure]]:
        if not worker.pipe.poll():
            yield from self._give_up(worker, Reason.WORKER_TIMED_OUT, waiting)
            return
        try:
            kind, payload = worker.pipe.recv()
        except (EOFError, OSError):
            if not worker.ready:
                self._end(worker, waiting)
                raise MedsslError(
                    "a reading process could not start; a script that calls ingest() must do so "
                    'below `if __name__ == "__main__":`'
                ) from None
            yield from self._give_up(worker, Reason.WORKER_DIED, waiting)
            return
        worker.since = time.monotonic()
        if kind == "ready":
            worker.ready = True
        elif kind == "raise":
            raise payload
        else:
            done, worker.pending = worker.pending, deque()
            yield from zip(done, payload, strict=True)

    def _give_up(
        self, worker: _Process[Item], reason: Reason, waiting: deque[deque[Item]]
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """End a process; a batch of several items waits to be tried again, one by one."""
        if len(worker.pending) == 1:
            yield worker.pending.popleft(), Failure(reason)
        self._end(worker, waiting)

    def _end(self, worker: _Process[Item], waiting: deque[deque[Item]]) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self._running.remove(worker)
        waiting.extend(deque([item]) for item in worker.pending)


def _serve(pipe: Connection, function: Callable[[Any], Any], max_memory_bytes: int) -> None:
    """The life of a process: batches in, one answer an item out, until the pipe closes."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _be_quiet()
    threadpool_limits(1)  # the processes are the parallelism; idle BLAS threads would only spin
    _limit_memory(max_memory_bytes)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(("ready", None))
        while True:
            try:
                pipe.send(("results", [_apply(function, item) for item in pipe.recv()]))
            except (CodecError, _DiskError) as error:
                pipe.send(("raise", error))


class _DiskError(OSError):
    """The disk is full or cannot be written: no further item could be kept."""


def _apply(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except MemoryError:
        return Failure(Reason.WORKER_OUT_OF_MEMORY)
    except CodecError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise _DiskError(error.errno, os.strerror(error.errno)) from None
        return Failure(Reason.UNREADABLE_FILE, errno.errorcode.get(error.errno or 0, ""))
    except Exception as error:
        return Failure(Reason.INTERNAL_ERROR, type(error).__name__)


def _be_quiet() -> None:
    """Libraries print what they trip over, paths and names included: none of it leaves here."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)


def _limit_memory(max_memory_bytes: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + max_memory_bytes
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
