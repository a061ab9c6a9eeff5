"""batchgeneratorsv2 on Blosc2 files, as nnU-Net v2 uses both.

float32 z-scores under zstd 8, opened memory-mapped by one thread; a box as large as any turn may
need is read, padded with zeros where it leaves the volume, and turned into the patch. Workers are
processes of batchgenerators' NonDetMultiThreadedAugmenter.
"""

# ruff: noqa: NPY002 - batchgenerators seeds numpy's own state in each worker

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt
import torch
from batchgenerators.dataloading.data_loader import DataLoader
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import (
    BrightnessAdditiveTransform,
    MultiplicativeBrightnessTransform,
)
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.local.brightness_gradient import (
    BrightnessGradientAdditiveTransform,
)
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from torch import Tensor

from sides.job import (
    BATCH,
    BIAS,
    BLUR,
    FACTOR,
    GAMMA,
    NOISE,
    PATCH,
    REGION,
    ROTATE_DEG,
    SCALE,
    SHIFT,
    VIEW,
    ZOOM,
    Batch,
    Chances,
    Job,
    Single,
)

_SMALLEST_SCALE = 0.85
"""nnU-Net reads as if anatomy were never shrunk further, though it draws from 0.7 up."""


def box_side(size: int) -> int:
    """Side of the box that nnU-Net reads for a patch of `size` that is turned about any axis."""
    turn = radians(ROTATE_DEG)
    return int(size * (cos(turn) + sin(turn)) / _SMALLEST_SCALE)


class Patches(DataLoader):
    """Batches of augmented patches, or pairs of overlapping ones."""

    def __init__(self, job: Job) -> None:
        files = job.files("b2nd")
        super().__init__(files, BATCH, infinite=True)
        self.indices = list(range(len(files)))
        self.job = job
        self.transform = ComposeTransforms(list(transforms(job.chances, job.size).values()))

    def generate_train_batch(self) -> dict[str, list[Tensor]]:
        """One batch; several processes call it."""
        taken = [self._sample(self._data[at]) for at in self.get_indices()]
        return {"views": [torch.stack(views) for views in zip(*taken, strict=True)]}

    def _sample(self, path: Path) -> list[Tensor]:
        if not self.job.two_views:
            box = torch.from_numpy(read_box(path, [box_side(PATCH)] * 3))
            return [self.transform(image=box)["image"]]
        box = torch.from_numpy(read_box(path, [REGION] * 3))
        return [self.transform(image=crop(box, VIEW))["image"] for _ in range(2)]


def batches(job: Job) -> Iterator[Batch]:
    """See `Side.batches`."""
    loader = Patches(job)
    if not job.workers:
        while True:
            with torch.no_grad():
                yield loader.generate_train_batch()["views"]
    many = NonDetMultiThreadedAugmenter(
        loader, None, job.workers, num_cached=max(6, job.workers // 2), wait_time=0.002
    )
    while True:
        yield next(many)["views"]


def singles(job: Job) -> dict[str, Single]:
    """See `Side.singles`."""
    alone = transforms(Chances(), job.size)
    box = torch.from_numpy(read_box(job.files("b2nd")[0], [box_side(PATCH)] * 3))
    turn = alone.pop("affine")

    def affine(_: Tensor) -> Tensor:
        result: Tensor = turn(image=box)["image"]
        return result

    return {"affine": affine, **{name: _call(one) for name, one in alone.items()}}


def _call(transform: BasicTransform) -> Single:
    def call(patch: Tensor) -> Tensor:
        result: Tensor = transform(image=patch)["image"]
        return result

    return call


def read_box(path: Path, size: Sequence[int]) -> npt.NDArray[np.float32]:
    """(1, *size) at random, zero where it leaves the volume, by at most as much as nnU-Net lets."""
    array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1}, mmap_mode="r")
    shape = array.shape[1:]
    result = np.zeros((1, *size), dtype=np.float32)
    of, to = [], []
    for n, side in zip(shape, size, strict=True):
        spare = max(side - PATCH, side - n, 0) // 2
        low, high = -spare, max(n + spare - side, -spare)
        start = int(np.random.randint(low, high + 1))
        first, stop = max(start, 0), min(start + side, n)
        of.append(slice(first, stop))
        to.append(slice(first - start, stop - start))
    result[:, *to] = array[(slice(None), *of)]
    return result


def crop(box: Tensor, size: int) -> Tensor:
    """A copy of a random part of (1, D, H, W)."""
    starts = [int(np.random.randint(0, n - size + 1)) for n in box.shape[1:]]
    return box[:, *(slice(s, s + size) for s in starts)].clone()


def transforms(chances: Chances, size: int) -> dict[str, Any]:
    """The transforms that have a chance, by name."""
    made: dict[str, tuple[float, BasicTransform]] = {
        "three flips": (1.0 if chances.flip else 0.0, MirrorTransform((0, 1, 2))),
        "factor": (chances.factor, MultiplicativeBrightnessTransform(FACTOR, False)),
        "shift": (chances.shift, BrightnessAdditiveTransform(0, SHIFT, False)),
        "gamma": (chances.gamma, GammaTransform(GAMMA, 0, False, 1, 1)),
        "bias field": (
            chances.bias,
            BrightnessGradientAdditiveTransform(_bias_spread, (-0.5, 1.5), BIAS),
        ),
        "blur": (chances.blur, GaussianBlurTransform(BLUR, False, False, 1)),
        "low resolution": (
            chances.low_resolution,
            SimulateLowResolutionTransform(ZOOM, False, True, None),
        ),
        "noise": (chances.noise, GaussianNoiseTransform((0, NOISE), 1, True)),
    }
    chosen: dict[str, Any] = {
        name: one if chance == 1 else RandomTransform(one, chance)
        for name, (chance, one) in made.items()
        if chance
    }
    if not chances.affine:
        return chosen
    turn = radians(ROTATE_DEG)
    affine = SpatialTransform(
        (size,) * 3,
        0,
        random_crop=False,
        p_rotation=chances.rotate,
        rotation=(-turn, turn),
        p_scaling=chances.scale,
        scaling=SCALE,
        p_synchronize_scaling_across_axes=1,
    )
    return {"affine": affine, **chosen}


def _bias_spread(shape: tuple[int, ...], dimension: int) -> float:
    return float(np.exp(np.random.uniform(np.log(shape[dimension] / 6), np.log(shape[dimension]))))
