"""nnssl's way to two views, rebuilt: the package itself is not on the index.

After its published SimCLRTrainer: float32 z-scores under zstd 8 in Blosc2, a box of 192 x 192 x 64
read for each volume, two reference crops of 64^3 with one overlapping crop each, and transforms of
batchgenerators 0.25 on the crops. The transforms are those that every side of this benchmark runs
on two views; nnssl's own list is longer.
"""

# ruff: noqa: NPY002 - batchgenerators seeds numpy's own state in each worker

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from batchgenerators.dataloading.data_loader import DataLoader
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.transforms.abstract_transforms import Compose
from batchgenerators.transforms.color_transforms import (
    BrightnessMultiplicativeTransform,
    GammaTransform,
)
from batchgenerators.transforms.noise_transforms import GaussianNoiseTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform

from sides.job import BATCH, FACTOR, GAMMA, NOISE, REGION, VIEW, Batch, Job, Single
from sides.with_batchgenerators import read_box

_BOX = (192, 192, 64)
_PAIRS_OF_A_BOX = 2


class Pairs(DataLoader):
    """Batches of BATCH pairs of overlapping crops."""

    def __init__(self, job: Job) -> None:
        files = job.files("b2nd")
        super().__init__(files, BATCH // _PAIRS_OF_A_BOX, infinite=True)
        self.indices = list(range(len(files)))
        self.transform = Compose(
            [
                MirrorTransform((0, 1, 2)),
                BrightnessMultiplicativeTransform(FACTOR, per_channel=True),
                GammaTransform(GAMMA, retain_stats=True, p_per_sample=1),
                GaussianNoiseTransform((0, NOISE)),
            ]
        )

    def generate_train_batch(self) -> dict[str, list[torch.Tensor]]:
        """One batch; several processes call it."""
        pairs = [pair for at in self.get_indices() for pair in _pairs(self._data[at])]
        crops = np.stack([view for views in zip(*pairs, strict=True) for view in views])
        crops = self.transform(data=crops)["data"]
        halves = torch.from_numpy(crops).float().chunk(2)
        return {"views": list(halves)}


def batches(job: Job) -> Iterator[Batch]:
    """See `Side.batches`."""
    loader = Pairs(job)
    if not job.workers:
        while True:
            yield loader.generate_train_batch()["views"]
    many = NonDetMultiThreadedAugmenter(loader, None, job.workers, num_cached=6, wait_time=0.02)
    while True:
        yield next(many)["views"]


def singles(job: Job) -> dict[str, Single]:
    """See `Side.singles`."""
    return {}


def _pairs(path: Path) -> Iterator[list[npt.NDArray[np.float32]]]:
    box = read_box(path, _BOX)
    for _ in range(_PAIRS_OF_A_BOX):
        first = [int(np.random.randint(0, n - VIEW + 1)) for n in box.shape[1:]]
        most = REGION - VIEW
        second = [
            int(np.random.randint(max(0, s - most), min(n - VIEW, s + most) + 1))
            for s, n in zip(first, box.shape[1:], strict=True)
        ]
        yield [box[:, *(slice(s, s + VIEW) for s in starts)] for starts in (first, second)]
