"""Tiny batches as a sample source hands them over."""

from __future__ import annotations

import math
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


@pytest.fixture
def naive_nt_xent() -> Callable[..., tuple[float, float]]:
    """naive_nt_xent(anchors, keys, anchor_patient, key_patient, tau): loss and accuracy.

    Pair by pair, over lists of vectors of any length. The keys begin with the anchors' own crops,
    and 2k and 2k + 1 are twins; patient -1 takes no part.
    """

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    def loss_and_accuracy(anchors, keys, anchor_patient, key_patient, tau):
        total, found, counted = 0.0, 0, 0
        for i, anchor in enumerate(anchors):
            if anchor_patient[i] == -1:
                continue
            twin = similarity(anchor, keys[i + 1 if i % 2 == 0 else i - 1])
            negatives = [
                similarity(anchor, key)
                for key, patient in zip(keys, key_patient, strict=True)
                if patient not in (-1, anchor_patient[i])
            ]
            below = sum(math.exp(s / tau) for s in [twin, *negatives])
            total -= math.log(math.exp(twin / tau) / below)
            found += all(twin > s for s in negatives)
            counted += 1
        return total / len(anchors), found / counted

    return loss_and_accuracy
