"""TorchIO: a Queue fed by subjects that lie in memory.

Its documentation transforms whole volumes and cuts many patches of each, which then share what was
drawn. Here a subject is cut first and only its patch is transformed, which is several times faster
and gives each patch its own draw, as with the other sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchio as tio
from torch import Tensor

from sides.job import (
    BATCH,
    BIAS,
    BLUR,
    FACTOR,
    NOISE,
    ROTATE_DEG,
    SCALE,
    SHIFT,
    ZOOM,
    Batch,
    Chances,
    Job,
    Single,
)

_TIMES = 100_000


def batches(job: Job) -> Iterator[Batch]:
    """See `Side.batches`."""
    chain = tio.Compose([t for group in transforms(job.chances).values() for t in group])
    sampler = tio.UniformSampler(job.size)
    subjects = []
    for path in job.files("nifti"):
        image = tio.ScalarImage(path)
        subjects.append(tio.Subject(image=tio.ScalarImage(tensor=image.data, affine=image.affine)))
    dataset = tio.SubjectsDataset(
        # An epoch's end ends its workers: one long epoch.
        subjects * _TIMES,
        transform=lambda subject: chain(next(sampler(subject, num_patches=1))),
    )
    queue = tio.Queue(dataset, BATCH, 1, tio.UniformSampler(job.size), num_workers=job.workers)
    for batch in tio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0):
        yield [batch["image"][tio.DATA]]


def singles(job: Job) -> dict[str, Single]:
    """See `Side.singles`."""
    return {name: _call(tio.Compose(group)) for name, group in transforms(Chances()).items()}


def _call(chain: Any) -> Single:
    def call(patch: Tensor) -> Tensor:
        result: Tensor = chain(tio.Subject(image=tio.ScalarImage(tensor=patch)))["image"].data
        return result

    return call


def transforms(chances: Chances) -> dict[str, list[Any]]:
    """The transforms that have a chance, by name."""
    made: dict[str, tuple[float, Callable[..., Any]]] = {
        "affine": (
            chances.affine,
            lambda p: tio.RandomAffine(scales=SCALE, degrees=ROTATE_DEG, isotropic=True, p=p),
        ),
        "three flips": (
            chances.flip,
            lambda p: tio.RandomFlip(axes=(0, 1, 2), flip_probability=p),
        ),
        "factor": (chances.factor, lambda p: tio.Lambda(_times, p=p)),
        "shift": (chances.shift, lambda p: tio.Lambda(_plus, p=p)),
        "gamma": (chances.gamma, lambda p: tio.RandomGamma(log_gamma=0.4, p=p)),
        "bias field": (chances.bias, lambda p: tio.RandomBiasField(BIAS, p=p)),
        "blur": (chances.blur, lambda p: tio.RandomBlur(std=BLUR, p=p)),
        "low resolution": (
            chances.low_resolution,
            lambda p: tio.RandomAnisotropy(downsampling=(1 / ZOOM[1], 1 / ZOOM[0]), p=p),
        ),
        "noise": (chances.noise, lambda p: tio.RandomNoise(std=(0, NOISE), p=p)),
    }
    return {name: [make(chance)] for name, (chance, make) in made.items() if chance}


def _times(values: Tensor) -> Tensor:
    return values * float(torch.empty(1).uniform_(*FACTOR))


def _plus(values: Tensor) -> Tensor:
    return values + float(torch.empty(1).uniform_(-SHIFT, SHIFT))
