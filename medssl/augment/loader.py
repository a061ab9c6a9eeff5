"""Samples drawn ahead by threads, handed over as batches in the order of steps.

Threads and no processes: what samples spend their time on, decompressing and interpolating,
releases the interpreter's lock, and nothing has to be copied or pickled between workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from medssl.augment.batch import Batch, SampleSource, collate
from medssl.errors import ConfigError

_SAMPLES_AHEAD_OF_EACH_WORKER = 2


class Loader:
    """One rank's part of every global batch of a source.

    The global batch is cut contiguously: rank r of `world` gets samples r*b ... (r+1)*b - 1 with
    b = global_batch / world. What a batch holds does not depend on `num_workers`.

    Args:
        num_workers: threads that draw samples ahead; with 0 the caller draws them itself.

    Raises:
        ConfigError: the global batch cannot be cut into equal parts.
    """

    def __init__(
        self, source: SampleSource, rank: int = 0, world: int = 1, num_workers: int = 0
    ) -> None:
        if source.global_batch % world:
            raise ConfigError(
                f"a batch of {source.global_batch} cannot be cut into {world} equal parts; "
                f"set batch_size to a multiple of {world}"
            )
        share = source.global_batch // world
        self.source = source
        self.indices = range(rank * share, (rank + 1) * share)
        self._steps_ahead = 1 + _SAMPLES_AHEAD_OF_EACH_WORKER * num_workers // share
        self._pool = (
            ThreadPoolExecutor(num_workers, thread_name_prefix="medssl-loader")
            if num_workers
            else None
        )

    def batches(self, first_step: int, stop_step: int) -> Iterator[tuple[int, Batch]]:
        """Each step's number and batch. An error that a worker met is raised here."""
        if self._pool is None:
            for step in range(first_step, stop_step):
                yield step, collate([self.source.sample(step, index) for index in self.indices])
            return
        ahead: deque[tuple[int, list[Future[Batch]]]] = deque()
        try:
            for step in range(first_step, stop_step):
                ahead.append((step, self._submit(step)))
                if len(ahead) > self._steps_ahead:
                    yield self._take(ahead)
            while ahead:
                yield self._take(ahead)
        finally:
            for _, futures in ahead:
                for future in futures:
                    future.cancel()

    def close(self) -> None:
        """End the threads; samples not yet begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, step: int) -> list[Future[Batch]]:
        assert self._pool is not None
        return [self._pool.submit(self.source.sample, step, index) for index in self.indices]

    @staticmethod
    def _take(ahead: deque[tuple[int, list[Future[Batch]]]]) -> tuple[int, Batch]:
        step, futures = ahead[0]
        samples = [future.result() for future in futures]
        ahead.popleft()
        return step, collate(samples)
