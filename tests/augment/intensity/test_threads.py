"""Artefacts are the same bits whatever the number of threads, and alone or beside others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.augment.intensity.base import Transform, Views
from medssl.augment.intensity.cut_out import CutOut
from medssl.augment.intensity.ghosting import Ghosting
from medssl.augment.intensity.metal_streaks import MetalStreaks
from medssl.augment.intensity.motion import Motion
from medssl.augment.intensity.spike import Spike

ARTEFACTS = [
    Ghosting((2, 8), (0.02, 0.08)),
    Motion(3, 2.0, 3.0),
    Spike((0.05, 0.45), (0.1, 0.4)),
    MetalStreaks(),
    CutOut(3, (0.02, 0.15)),
]


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("transform", ARTEFACTS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("size", [(33, 41, 39), (1, 250, 201), (2, 7, 5)])
def test_bits_depend_on_no_thread_and_no_neighbour(
    transform: Transform, size: tuple[int, int, int]
) -> None:
    # the odd sizes end neither a thread's share nor a vector where a view ends
    count = 4
    image = torch.rand((count, 1, *size), generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = [transform.draw(np.random.default_rng(row), 1.0) for row in range(count)]

    def changed(rows: slice, threads: int) -> Tensor:
        torch.set_num_threads(threads)
        noise = [torch.Generator().manual_seed(row) for row in range(count)][rows]
        views = Views(image[rows].clone(), torch.full((count,), -1.0)[rows], noise)
        return transform.apply(views, drawn[rows])

    together = changed(slice(0, count), 2)
    assert not torch.equal(together, image)
    for row in range(count):
        assert torch.equal(changed(slice(row, row + 1), 1), together[row : row + 1])
