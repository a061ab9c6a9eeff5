"""Reading on a Dask cluster: the `Pool` of one machine, spread over any number of them.

Every Dask worker reads in guarded processes of its own, so that a file that crashes, swells or
hangs costs one item, as it does here. A Dask worker that is lost costs nothing: what it held goes
to another. Nothing that a task holds is shown by Dask's logs and pages: it travels sealed, and
errors come back as results.
"""

from __future__ import annotations

import os
import pickle
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic

from medssl.archive.pool import Failure, Item, Pool, Result
from medssl.archive.reasons import Reason
from medssl.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client, Future

_CONNECT_S = 20
_WAIT_FOR_WORKERS_S = 60
_TASKS_A_THREAD = 2
_COUNT_EVERY_S = 5.0


class ClusterPool(Generic[Item, Result]):
    """As `Pool`, on the workers of a Dask scheduler; a context manager."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        scheduler: str,
        shared: Sequence[Path],
        max_memory_bytes: int,
        time_limit_s: float,
    ) -> None:
        """`shared` are folders that every worker must see as this machine does."""
        self._sealed = Sealed(pickle.dumps((function, max_memory_bytes, time_limit_s)))
        self._scheduler = scheduler
        self._shared = shared
        self._token = secrets.token_hex(8)
        self._client: Client | None = None
        self._counted = (0, 0.0)
        self._sent = 0

    def __enter__(self) -> ClusterPool[Item, Result]:
        """Connect, and look at every worker.

        Raises:
            ConfigError: Dask is not installed, the scheduler does not answer or has no worker, or a
                worker lacks this medssl or does not see a shared folder.
        """
        self._client = connect(self._scheduler)
        try:
            check_workers(self._client, self._shared)
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                client.run(_forget, self._token, on_error="ignore")
            finally:
                client.close()

    def map(self, batches: Iterator[Sequence[Item]]) -> Iterator[tuple[Item, Result | Failure]]:
        """Each item with its result or why there is none; raises as `Pool.map` does.

        A batch whose workers died time and again (Dask's `allowed-failures`, three) is tried item
        by item, so that one item alone can end as WORKER_DIED.
        """
        from distributed import as_completed

        waiting: deque[list[Item]] = deque()
        running: dict[str, list[Item]] = {}
        assert self._client is not None
        done = as_completed(loop=self._client.loop)
        try:
            while True:
                while len(running) < self._room():
                    batch = waiting.popleft() if waiting else list(next(batches, ()))
                    if not batch:
                        break
                    future = self._submit(batch)
                    running[future.key] = batch
                    done.add(future)
                if not running:
                    return
                future = next(done)
                batch = running.pop(future.key)
                yield from self._answers(future, batch, waiting)
        finally:
            done.clear()

    def _submit(self, batch: list[Item]) -> Future:
        assert self._client is not None
        self._sent += 1
        return self._client.submit(
            _read,
            self._token,
            self._sealed,
            Sealed(pickle.dumps(batch)),
            key=f"medssl-{self._token}-{self._sent}",
            pure=False,
        )

    def _answers(
        self, future: Future, batch: list[Item], waiting: deque[list[Item]]
    ) -> Iterator[tuple[Item, Result | Failure]]:
        from distributed import CancelledError, KilledWorker

        try:
            raised, answers = pickle.loads(future.result().content)
        except (KilledWorker, CancelledError):
            if len(batch) == 1:
                yield batch[0], Failure(Reason.WORKER_DIED)
            else:
                waiting.extend([item] for item in batch)
            return
        finally:
            future.release()
        # Items come back as copies; the caller's own go out again.
        yield from ((batch[at], answer) for at, answer in answers)
        if raised is not None:
            raise raised

    def _room(self) -> int:
        """How many tasks may be under way: a few for each thread there is now."""
        assert self._client is not None
        threads, counted = self._counted
        if not threads or time.monotonic() - counted > _COUNT_EVERY_S:
            threads = sum(self._client.nthreads().values())
            self._counted = (threads, time.monotonic())
        return max(1, _TASKS_A_THREAD * threads)


class Sealed:
    """Bytes that no log shows."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __repr__(self) -> str:
        return f"<{len(self.content)} bytes>"


def connect(scheduler: str) -> Client:
    """A client of the scheduler, once it has a worker.

    Raises:
        ConfigError: Dask is not installed, the scheduler does not answer or has no worker.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            "--scheduler needs Dask; install it with: pip install 'medssl[cluster]'"
        ) from None
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler} ({type(error).__name__}); start one with "
            "`dask scheduler`, or leave --scheduler out"
        ) from None
    try:
        client.wait_for_workers(1, timeout=_WAIT_FOR_WORKERS_S)
    except TimeoutError:
        client.close()
        raise ConfigError(
            f"the Dask scheduler at {scheduler} has no worker; start some with `dask worker "
            f"{scheduler}`"
        ) from None
    return client


def check_workers(client: Client, shared: Sequence[Path]) -> None:
    """Every worker has this medssl and sees the shared folders as this machine does.

    Raises:
        ConfigError: one does not.
    """
    from medssl import __version__

    here = _look([str(path) for path in shared])
    there: dict[str, Any] = client.run(_look, [str(path) for path in shared], on_error="return")
    lacking = [seen for seen in there.values() if isinstance(seen, BaseException)]
    if lacking:
        raise ConfigError(
            f"{len(lacking)} of {len(there)} Dask workers cannot run medssl "
            f"({type(lacking[0]).__name__}); install medssl {__version__} on all of them"
        )
    others = {seen[0] for seen in there.values()} - {__version__}
    if others:
        raise ConfigError(
            f"Dask workers run medssl {', '.join(sorted(others))}, this is {__version__}; install "
            "the same on all of them"
        )
    for at, path in enumerate(shared):
        blind = sum(seen[1][at] != here[1][at] for seen in there.values())
        if blind:
            raise ConfigError(
                f"{blind} of {len(there)} Dask workers do not see {path} as this machine does; "
                "it must lie on a file system that all of them share, under the same path, and be "
                "writable where it is here"
            )


# --- on the workers -------------------------------------------------------------------------------

_LOCK = Lock()
_IDLE: dict[str, list[Pool[Any, Any]]] = {}


def _look(paths: list[str]) -> tuple[str, list[tuple[int, bool]]]:
    """The version of medssl, and of each folder what tells it from another at the same place."""
    from medssl import __version__

    seen = []
    for path in paths:
        try:
            seen.append((os.stat(path).st_ino, os.access(path, os.W_OK)))
        except OSError:
            seen.append((-1, False))
    return __version__, seen


def _read(token: str, about: Sealed, batch: Sealed) -> Sealed:
    """The places of a batch's items with their results, and the error that ended it if one did."""
    items: list[Any] = pickle.loads(batch.content)
    answers: list[tuple[int, Any]] = []
    raised: Exception | None = None
    pool = _take_pool(token, about)
    try:
        # One process answers in the order of the items.
        for at, (_, answer) in enumerate(pool.map(iter([items]))):
            answers.append((at, answer))
    except Exception as error:
        raised = error
        pool.__exit__()
    else:
        with _LOCK:
            _IDLE.setdefault(token, []).append(pool)
    return Sealed(pickle.dumps((raised, answers)))


def _take_pool(token: str, about: Sealed) -> Pool[Any, Any]:
    """A guarded process that waits for work of this run; another run's are ended."""
    import multiprocessing

    # Dask's nanny starts its workers as daemons, which may not have children; these children end
    # with the pipe to their worker, however it ends.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    with _LOCK:
        for other in [t for t in _IDLE if t != token]:
            _close(_IDLE.pop(other))
        if _IDLE.get(token):
            return _IDLE[token].pop()
    function, max_memory_bytes, time_limit_s = pickle.loads(about.content)
    return Pool(function, 1, max_memory_bytes, time_limit_s)


def _forget(token: str) -> None:
    with _LOCK:
        _close(_IDLE.pop(token, []))


def _close(pools: list[Pool[Any, Any]]) -> None:
    for pool in pools:
        pool.__exit__()
