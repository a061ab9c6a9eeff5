"""Batches arrive in order, are the same however they are drawn, and errors come through."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from medssl.augment.batch import Batch, SampleSource
from medssl.augment.loader import Loader
from medssl.errors import ConfigError


class NumberedSource(SampleSource):
    """A sample is its own number; odd ones take longer, and `broken` one fails."""

    def __init__(self, global_batch: int = 4, broken: tuple[int, int] | None = None) -> None:
        self.global_batch = global_batch
        self.broken = broken
        self.drawn: list[tuple[int, int]] = []

    def blank(self, count: int) -> Batch:
        return {"number": torch.empty((count, 2), dtype=torch.int64)}

    def fill(self, batch: Batch, row: int, step: int, index: int) -> None:
        self.drawn.append((step, index))
        if (step, index) == self.broken:
            raise ValueError("this one cannot be read")
        if index % 2:
            time.sleep(0.002)
        batch["number"][row] = torch.tensor([step, index])

    def finish(self, batch: Batch, step: int) -> None:
        assert (batch["number"][:, 0] == step).all()
        batch["number"] *= -1


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_steps_come_in_order_and_whole(num_workers: int) -> None:
    loader = Loader(NumberedSource(), num_workers=num_workers)
    seen = list(loader.batches(3, 11))
    loader.close()
    assert [step for step, _ in seen] == list(range(3, 11))
    for step, batch in seen:
        assert batch["number"].tolist() == [[step, index] for index in range(4)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_finish_each_sample_once_where_they_are_asked_to(num_workers: int) -> None:
    loader = Loader(NumberedSource(), num_workers=num_workers, finish=True)
    for step, batch in loader.batches(1, 6):
        assert batch["number"].tolist() == [[-step, -index] for index in range(4)]
    loader.close()


def test_ranks_cut_the_global_batch_contiguously() -> None:
    parts = [next(iter(Loader(NumberedSource(), rank, 2).batches(0, 1)))[1] for rank in (0, 1)]
    assert torch.cat([p["number"] for p in parts])[:, 1].tolist() == [0, 1, 2, 3]


def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 equal parts"):
        Loader(NumberedSource(), 0, 3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_reaches_the_consumer_at_its_step(num_workers: int) -> None:
    loader = Loader(NumberedSource(broken=(2, 1)), num_workers=num_workers)
    batches = loader.batches(0, 5)
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(ValueError, match="cannot be read"):
        next(batches)
    loader.close()


def test_drawing_ahead_is_bounded() -> None:
    source = NumberedSource()
    loader = Loader(source, num_workers=2)
    batches = loader.batches(0, 1000)
    next(batches)
    time.sleep(0.1)
    # 2 workers x 2 samples ahead, rounded up to whole batches of 4, and the one in hand.
    assert max(step for step, _ in source.drawn) <= 3
    batches.close()
    loader.close()


def test_close_ends_the_threads() -> None:
    before = threading.active_count()
    loader = Loader(NumberedSource(), num_workers=3)
    next(loader.batches(0, 100))
    assert threading.active_count() > before
    loader.close()
    assert threading.active_count() == before
