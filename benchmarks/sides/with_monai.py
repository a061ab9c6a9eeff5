"""MONAI: CacheDataset in memory, dictionary transforms on plain tensors, DataLoader.

No metadata is tracked, cached volumes are not copied before they are cropped, and the grid of the
affine is kept between calls: what its documentation recommends for speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import radians
from typing import Any

import monai.transforms as mt
import torch
from monai.data import CacheDataset, DataLoader, set_track_meta
from torch import Tensor
from torch.utils.data import RandomSampler

from sides.job import (
    BATCH,
    BIAS,
    BLUR,
    FACTOR,
    GAMMA,
    NOISE,
    REGION,
    ROTATE_DEG,
    SCALE,
    SHIFT,
    ZOOM,
    Batch,
    Chances,
    Job,
    Single,
)

ALL = Chances()


def batches(job: Job) -> Iterator[Batch]:
    """See `Side.batches`."""
    set_track_meta(False)
    views = ("image", "twin") if job.two_views else ("image",)
    chain: list[Any] = [
        mt.LoadImaged(keys="image", image_only=True),
        mt.EnsureChannelFirstd(keys="image", channel_dim="no_channel"),
        mt.EnsureTyped(keys="image", dtype=torch.float32, track_meta=False),
    ]
    if job.two_views:
        chain.append(mt.RandSpatialCropd(keys="image", roi_size=[REGION] * 3, random_size=False))
        chain.append(mt.CopyItemsd(keys="image", times=1, names="twin"))
    for view in views:
        chain.append(mt.RandSpatialCropd(keys=view, roi_size=[job.size] * 3, random_size=False))
        chain += transforms(job.chances, job.size, view).values()
    files = [{"image": str(path)} for path in job.files("nifti")]
    dataset = CacheDataset(
        files, mt.Compose(chain), num_workers=1, copy_cache=False, progress=False
    )
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=job.workers,
        sampler=RandomSampler(dataset, replacement=True, num_samples=1 << 30),
        persistent_workers=job.workers > 0,
    )
    for batch in loader:
        yield [batch[view] for view in views]


def singles(job: Job) -> dict[str, Single]:
    """See `Side.singles`."""
    set_track_meta(False)
    alone = transforms(ALL, job.size, "image")
    flips = [alone.pop(f"flip {axis}") for axis in range(3)]
    calls = {name: _call([transform]) for name, transform in alone.items()}
    return {**calls, "three flips": _call(flips)}


def _call(chain: Sequence[Any]) -> Single:
    def call(patch: Tensor) -> Tensor:
        data = {"image": patch}
        for transform in chain:
            data = transform(data)
        return data["image"]

    return call


def transforms(chances: Chances, size: int, key: str) -> dict[str, Any]:
    """The transforms that have a chance, by name."""
    turn = radians(ROTATE_DEG)
    # A range here is added to 1 and multiplies the grid: what is twice as large is half as scaled.
    scale = [(1 / SCALE[1] - 1, 1 / SCALE[0] - 1)] * 3
    made: dict[str, tuple[float, Callable[..., Any]]] = {
        "affine": (
            chances.affine,
            lambda prob: mt.RandAffined(
                keys=key,
                spatial_size=[size] * 3,
                prob=prob,
                rotate_range=[turn] * 3,
                scale_range=scale,
                padding_mode="border",
                cache_grid=True,
            ),
        ),
        **{
            f"flip {axis}": (
                chances.flip,
                lambda prob, axis=axis: mt.RandFlipd(keys=key, prob=prob, spatial_axis=axis),
            )
            for axis in range(3)
        },
        "factor": (
            chances.factor,
            lambda prob: mt.RandScaleIntensityd(
                keys=key, factors=(FACTOR[0] - 1, FACTOR[1] - 1), prob=prob
            ),
        ),
        "shift": (
            chances.shift,
            lambda prob: mt.RandShiftIntensityd(keys=key, offsets=(-SHIFT, SHIFT), prob=prob),
        ),
        "gamma": (
            chances.gamma,
            lambda prob: mt.RandAdjustContrastd(keys=key, prob=prob, gamma=GAMMA),
        ),
        "bias field": (
            chances.bias,
            lambda prob: mt.RandBiasFieldd(keys=key, prob=prob, coeff_range=(-BIAS, BIAS)),
        ),
        "blur": (
            chances.blur,
            lambda prob: mt.RandGaussianSmoothd(
                keys=key, sigma_x=BLUR, sigma_y=BLUR, sigma_z=BLUR, prob=prob
            ),
        ),
        "low resolution": (
            chances.low_resolution,
            lambda prob: mt.RandSimulateLowResolutiond(keys=key, prob=prob, zoom_range=ZOOM),
        ),
        "noise": (
            chances.noise,
            lambda prob: mt.RandGaussianNoised(keys=key, prob=prob, std=NOISE),
        ),
    }
    return {name: make(chance) for name, (chance, make) in made.items() if chance}
