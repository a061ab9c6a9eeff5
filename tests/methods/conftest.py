"""Tiny batches as a sample source hands them over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

Batch = dict[str, torch.Tensor]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks this small are faster on one thread, and far faster on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """make_batch(samples, views, size, patients=None): smooth images, all of them inside."""

    def make(samples: int, views: int, size: int, patients: list[int] | None = None) -> Batch:
        generator = torch.Generator().manual_seed(7)
        coarse = torch.randn(samples, 1, 4, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(size,) * 3, mode="trilinear")
        noise = torch.randn(samples, views, 1, *(size,) * 3, generator=generator)
        maps = torch.eye(4).repeat(samples, views, 1, 1)
        maps[:, 1:, :3, 3] = size / 8  # the second view lies an eighth further along each axis
        return {
            "image": smooth[:, None] + 0.1 * noise,
            "clean": smooth[:, None].repeat(1, views, 1, 1, 1, 1),
            "map": maps,
            "valid": torch.ones(samples, views, 1, *(size,) * 3, dtype=torch.bool),
            "index": torch.arange(samples),
            "patient": torch.tensor(patients or list(range(samples))),
        }

    return make
