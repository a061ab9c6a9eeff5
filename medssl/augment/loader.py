"""Samples drawn ahead by threads, handed over as batches in the order of steps.

Threads and no processes: what samples spend their time on, decompressing and interpolating,
releases the interpreter's lock. Each writes its sample where it belongs in the batch: nothing is
copied, pickled, or passed through shared memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from medssl.augment.batch import Batch, SampleSource, rows_of
from medssl.errors import ConfigError

_SAMPLES_AHEAD_OF_EACH_WORKER = 2


class Loader:
    """One rank's part of every global batch of a source.

    The global batch is cut contiguously: rank r of `world` gets samples r*b ... (r+1)*b - 1 with
    b = global_batch / world. What a batch holds does not depend on `num_workers`.

    Args:
        num_workers: threads that draw samples ahead; with 0 the caller draws them itself.
        finish: also augment intensities, sample by sample in the threads; for training on the CPU.
            For a GPU the consumer calls `source.finish` once it has moved the batch there.
        pin_memory: batches lie where a GPU fetches them without a copy in between.

    Raises:
        ConfigError: the global batch cannot be cut into equal parts.
    """

    def __init__(
        self,
        source: SampleSource,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        finish: bool = False,
        pin_memory: bool = False,
    ) -> None:
        if source.global_batch % world:
            raise ConfigError(
                f"a batch of {source.global_batch} cannot be cut into {world} equal parts; "
                f"set batch_size to a multiple of {world}"
            )
        share = source.global_batch // world
        self.source = source
        self.indices = range(rank * share, (rank + 1) * share)
        self._finish, self._pin_memory = finish, pin_memory
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
                batch = self._blank()
                for row in range(len(self.indices)):
                    self._draw(batch, row, step)
                yield step, batch
            return
        ahead: deque[tuple[int, Batch, list[Future[None]]]] = deque()
        try:
            for step in range(first_step, stop_step):
                ahead.append(self._submit(self._pool, step))
                if len(ahead) > self._steps_ahead:
                    yield self._take(ahead)
            while ahead:
                yield self._take(ahead)
        finally:
            for _, _, futures in ahead:
                for future in futures:
                    future.cancel()

    def close(self) -> None:
        """End the threads; samples not yet begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _blank(self) -> Batch:
        batch = self.source.blank(len(self.indices))
        if not self._pin_memory:
            return batch
        return {key: torch.empty_like(value, pin_memory=True) for key, value in batch.items()}

    def _draw(self, batch: Batch, row: int, step: int) -> None:
        self.source.fill(batch, row, step, self.indices[row])
        if self._finish:
            self.source.finish(rows_of(batch, slice(row, row + 1)), step)

    def _submit(self, pool: ThreadPoolExecutor, step: int) -> tuple[int, Batch, list[Future[None]]]:
        batch = self._blank()
        rows = range(len(self.indices))
        return step, batch, [pool.submit(self._draw, batch, row, step) for row in rows]

    @staticmethod
    def _take(ahead: deque[tuple[int, Batch, list[Future[None]]]]) -> tuple[int, Batch]:
        step, batch, futures = ahead[0]
        for future in futures:
            future.result()
        ahead.popleft()
        return step, batch
