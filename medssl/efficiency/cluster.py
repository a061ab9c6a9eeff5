"""Training a study's cells on a Dask cluster; every worker sees the study's folder and the store.

A cell is trained in a process of its own beside the Dask worker, as on one machine: torch's
generators belong to a whole process. The study's parent follows the cells' files.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import secrets
import time
from threading import Lock
from typing import TYPE_CHECKING

from medssl.archive.cluster import Sealed, check_workers, connect
from medssl.efficiency.cell import StudyWork
from medssl.efficiency.cells import Cell
from medssl.efficiency.crew import DIED, CellProcess, Outcome

if TYPE_CHECKING:
    from distributed import Client, Future

_JOIN_S = 60.0


class ClusterCrew:
    """A `Crew` of the workers of a Dask scheduler.

    Raises:
        ConfigError: Dask is not installed, the scheduler does not answer or has no worker, or a
            worker lacks this medssl or does not see the study or the store.
    """

    def __init__(self, work: StudyWork, scheduler: str) -> None:
        self._token = secrets.token_hex(8)
        self._client: Client = connect(scheduler)
        try:
            check_workers(self._client, [work.root, work.store])
        except BaseException:
            self._client.close()
            raise
        self._work = work
        self._running: dict[str, tuple[Cell, Future]] = {}
        self._sent = 0

    def room(self) -> bool:
        threads: dict[str, int] = self._client.nthreads()
        return len(self._running) < sum(threads.values())

    def give(self, cell: Cell) -> None:
        self._sent += 1
        future = self._client.submit(
            _train,
            self._token,
            Sealed(pickle.dumps((self._work, cell, self._slots()))),
            key=f"medssl-cell-{self._token}-{self._sent}",
            pure=False,
        )
        self._running[future.key] = (cell, future)

    def wait(self, seconds: float) -> list[tuple[Cell, Outcome]]:
        deadline = time.monotonic() + seconds
        while True:
            ended = [key for key, (_, future) in self._running.items() if future.done()]
            if ended or time.monotonic() > deadline:
                return [self._outcome(key) for key in ended]
            time.sleep(0.05)

    def close(self) -> None:
        for _, future in self._running.values():
            future.cancel()
        try:
            self._client.run(_forget, self._token, on_error="ignore")
        finally:
            self._client.close()

    def _outcome(self, key: str) -> tuple[Cell, Outcome]:
        from distributed import CancelledError, KilledWorker

        cell, future = self._running.pop(key)
        try:
            outcome: Outcome = pickle.loads(future.result().content)
        except (KilledWorker, CancelledError):
            outcome = DIED
        finally:
            future.release()
        return cell, outcome

    def _slots(self) -> dict[str, int]:
        """How many cells each machine trains at once."""
        slots: dict[str, int] = {}
        for worker in self._client.scheduler_info(n_workers=-1)["workers"].values():
            slots[worker["host"]] = slots.get(worker["host"], 0) + int(worker["nthreads"])
        return slots


# --- on the workers -------------------------------------------------------------------------------

_LOCK = Lock()
_IDLE: dict[str, list[CellProcess]] = {}
_BUSY: dict[str, list[CellProcess]] = {}


def _train(token: str, sealed: Sealed) -> Sealed:
    """How a cell ended, that was trained in a process of this run."""
    work, cell, slots = pickle.loads(sealed.content)
    process = _take_process(token, work, slots)
    process.give(cell)
    outcome = process.answer()
    with _LOCK:
        _BUSY[token].remove(process)
        if outcome.died:
            process.pipe.close()
        else:
            _IDLE.setdefault(token, []).append(process)
    return Sealed(pickle.dumps(outcome))


def _take_process(token: str, work: StudyWork, slots: dict[str, int]) -> CellProcess:
    from dataclasses import replace

    from distributed import get_worker

    # Dask's nanny starts its workers as daemons, which may not have children; these children end
    # with their worker, however it ends.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    with _LOCK:
        idle = _IDLE.get(token, [])
        process = idle.pop() if idle else None
    if process is None:
        host = get_worker().address.split("://")[-1].rsplit(":", 1)[0]
        cores = len(os.sched_getaffinity(0))
        process = CellProcess(replace(work, threads=max(1, cores // slots.get(host, 1))))
    with _LOCK:
        _BUSY.setdefault(token, []).append(process)
    return process


def _forget(token: str) -> None:
    """End this run's processes; one that trains writes a checkpoint first."""
    with _LOCK:
        processes = _IDLE.pop(token, []) + list(_BUSY.get(token, []))
    for process in processes:
        process.stop()
    for process in processes:
        process.join(_JOIN_S)
