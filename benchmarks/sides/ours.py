"""medssl: threads, patches from the store's own integers, one interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import count

import numpy as np
import torch
from torch import Tensor

from medssl.augment.config import AugmentConfig, PatchConfig, SpatialConfig
from medssl.augment.intensity.base import Transform, Views
from medssl.augment.intensity.bias_field import BiasField
from medssl.augment.intensity.blur import Blur
from medssl.augment.intensity.brightness import Brightness
from medssl.augment.intensity.calibration import HounsfieldCalibration
from medssl.augment.intensity.gamma import Gamma
from medssl.augment.intensity.gaussian_noise import GaussianNoise
from medssl.augment.intensity.low_resolution import LowResolution
from medssl.augment.loader import Loader
from medssl.augment.policies import POLICIES, Policy
from medssl.augment.pretraining import PretrainSource
from medssl.store import open_store
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
    VIEW,
    ZOOM,
    Batch,
    Chances,
    Job,
    Single,
)


def batches(job: Job) -> Iterator[Batch]:
    """See `Side.batches`."""
    made = source(job)
    loader = Loader(made, num_workers=job.workers, finish=True)
    for _, batch in loader.batches(0, 1 << 40):
        images = batch["image"]
        yield [images[:, view] for view in range(images.shape[1])]


def singles(job: Job) -> dict[str, Single]:
    """See `Side.singles`."""
    made = source(replace(job, case="all"))
    never = dict.fromkeys(("rotate_probability", "scale_probability", "flip_probability"), 0.0)
    calls: dict[str, Single] = {}
    for name, spatial in {
        "affine": {"rotate_probability": 1.0, "scale_probability": 1.0},
        "three flips": {"flip_probability": 1.0},
    }.items():
        chosen = made.config.spatial.model_copy(update={**never, **spatial})
        alone = source(job)
        alone.config = made.config.model_copy(update={"spatial": chosen})
        calls[name] = _draw(alone)
    for name, (_, transform) in steps(Chances()).items():
        calls[name] = _apply(transform)
    zooms = [calls.pop(name) for name in list(calls) if name.startswith("low resolution")]
    return {**calls, "low resolution": _chain(zooms)}


def _draw(made: PretrainSource) -> Single:
    """A patch, read and sampled, once every volume is in the cache."""
    numbers = count(len(made.scans))
    for number in range(len(made.scans)):  # an epoch takes each volume once
        made.sample(*divmod(number, BATCH))

    def call(_: Tensor) -> Tensor:
        return made.sample(*divmod(next(numbers), BATCH))["image"][0]

    return call


def _apply(transform: Transform) -> Single:
    rng, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)

    def call(patch: Tensor) -> Tensor:
        views = Views(patch[None], patch.min()[None], [noise])
        return transform.apply(views, [transform.draw(rng, 1.0)])[0]

    return call


def _chain(calls: Sequence[Single]) -> Single:
    return lambda patch: reduce(lambda image, call: call(image), calls, patch)


def source(job: Job) -> PretrainSource:
    """Patches of every volume of the store under the job's chances."""
    set_policy(job.chances)
    store = open_store(job.folder / "store")
    chances = job.chances
    config = AugmentConfig(
        patch=PatchConfig(size=(job.size, job.size, job.size)),
        spatial=SpatialConfig(
            rotate_deg=ROTATE_DEG,
            rotate_probability=chances.rotate,
            scale=SCALE,
            scale_probability=chances.scale,
            flip=(0, 1, 2),
            flip_probability=chances.flip,
        ),
    )
    exported = [path.stem for path in job.files("nifti")]
    return PretrainSource(
        store,
        store.manifest.loc[exported],
        config,
        num_views=2 if job.two_views else 1,
        overlap=((2 * VIEW - REGION) ** 3 / VIEW**3, 1.0),
        global_batch=BATCH,
    )


def steps(chances: Chances) -> dict[str, tuple[float, Transform]]:
    """The transforms beside those of space, with their chances.

    The peers lower the resolution along all axes at once; here it is one axis at a time, so three.
    """
    zooms = {
        f"low resolution {axis}": (chances.low_resolution, LowResolution(1 / ZOOM[0], axes=(axis,)))
        for axis in range(3)
    }
    return {
        "factor": (chances.factor, Brightness(FACTOR[1])),
        "shift": (chances.shift, HounsfieldCalibration(1000 * SHIFT, 0.0)),
        "gamma": (chances.gamma, Gamma(GAMMA[1])),
        "bias field": (chances.bias, BiasField(BIAS)),
        "blur": (chances.blur, Blur(*BLUR)),
        **zooms,
        "noise": (chances.noise, GaussianNoise(0.0, NOISE)),
    }


def set_policy(chances: Chances) -> None:
    """Every modality's policy becomes that of the benchmark."""
    policy = Policy(tuple(step for step in steps(chances).values() if step[0]))
    for modality in POLICIES:
        POLICIES[modality] = policy
