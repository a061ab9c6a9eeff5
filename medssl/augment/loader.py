"""Batches, prepared ahead by threads.

Samples are pure functions of (step, index), so neither the number of threads nor their order
changes a batch. Threads serve because interpolation releases the interpreter's lock; they need no
copies between processes and cannot die unnoticed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import torch

from medssl.augment.batch import Batch, SampleSource


class Loader:
    """This rank's part of every global batch.

    Args:
        num_workers: threads; 0 prepares each sample when it is asked for.
        prefetch: batches that are prepared ahead.
    """

    def __init__(
        self,
        source: SampleSource,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        if source.global_batch % world:
            raise ValueError(f"batch {source.global_batch} does not divide over {world} ranks")
        share = source.global_batch // world
        self._source = source
        self._indices = range(rank * share, (rank + 1) * share)
        self._prefetch = prefetch
        self._pool = ThreadPoolExecutor(num_workers, "patches") if num_workers else None

    def batches(self, first_step: int, stop_step: int) -> Iterator[tuple[int, Batch]]:
        """Each step's number and batch, on the CPU and not yet finished by `source.finish`.

        An error in a thread is raised here, at the step that it belongs to.
        """
        if self._pool is None:
            for step in range(first_step, stop_step):
                yield step, collate([self._source.sample(step, i) for i in self._indices])
            return
        waiting: deque[tuple[int, list[Future[Batch]]]] = deque()
        upcoming = iter(range(first_step, stop_step))
        while True:
            for ahead in islice(upcoming, self._prefetch - len(waiting)):
                jobs = [self._pool.submit(self._source.sample, ahead, i) for i in self._indices]
                waiting.append((ahead, jobs))
            if not waiting:
                return
            step, jobs = waiting.popleft()
            yield step, collate([job.result() for job in jobs])

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def collate(samples: list[Batch]) -> Batch:
    """Stack samples along a new first axis."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
