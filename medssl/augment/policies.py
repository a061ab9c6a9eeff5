"""Which intensity transforms fit which modality, and how often.

A policy is a list of steps in the order in which a scanner would apply them, each with the
probability that a view gets it. `augment_intensities` runs them on a batch, on its device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.intensity.base import Draw, IntensityTransform
from medssl.augment.intensity.bias_field import BiasField
from medssl.augment.intensity.blur import Blur
from medssl.augment.intensity.brightness import Brightness
from medssl.augment.intensity.calibration import HounsfieldCalibration
from medssl.augment.intensity.count_noise import CountNoise
from medssl.augment.intensity.gamma import Gamma
from medssl.augment.intensity.gaussian_noise import GaussianNoise
from medssl.augment.intensity.gibbs import GibbsRinging
from medssl.augment.intensity.histogram_shift import HistogramShift
from medssl.augment.intensity.low_resolution import LowResolution
from medssl.augment.intensity.rician_noise import RicianNoise
from medssl.augment.intensity.sharpen import Sharpen
from medssl.augment.intensity.uptake_scale import UptakeScale
from medssl.augment.intensity.window import WindowJitter
from medssl.augment.normalise import SUV_MAX
from medssl.augment.rng import Stream, generator
from medssl.volume import Modality


@dataclass(frozen=True)
class Policy:
    """Steps of (probability, transform), and the highest value that the normalised image takes."""

    steps: tuple[tuple[float, IntensityTransform], ...]
    highest: float | None = None


POLICIES: dict[Modality, Policy] = {
    # Normalised: 1 is 1000 HU.
    "CT": Policy(
        steps=(
            (0.3, HounsfieldCalibration(offset_hu=20.0, slope=0.03)),
            (0.2, Blur(0.4, 1.0, axes=(0, 1))),
            (0.15, Sharpen(1.0)),
            (0.2, LowResolution(3.0, axes=(2,))),
            (0.2, GaussianNoise(0.005, 0.05)),
            (0.2, WindowJitter(low=0.15, high=0.4)),
        ),
        highest=1.0,
    ),
    # Normalised: 1 is a standard deviation of the foreground.
    "MR": Policy(
        steps=(
            (0.2, HistogramShift(points=6, most=0.4)),
            (0.3, Gamma(1.5)),
            (0.2, BiasField(0.2)),
            (0.15, Blur(0.4, 1.0)),
            (0.2, LowResolution(2.5)),
            (0.15, GibbsRinging(0.5)),
            (0.2, RicianNoise(0.02, 0.12)),
        ),
    ),
    # Normalised: the square root of SUV.
    "PT": Policy(
        steps=(
            (0.3, UptakeScale(1.15)),
            (0.2, Blur(0.4, 1.0)),
            (0.3, CountNoise(20.0, 200.0)),
        ),
        highest=SUV_MAX**0.5,
    ),
    "OT": Policy(
        steps=(
            (0.2, Gamma(1.25)),
            (0.2, Brightness(1.15)),
            (0.15, GaussianNoise(0.01, 0.1)),
        ),
    ),
}


def augment_intensities(batch: Batch, step: int, seed: int, strength: float) -> Batch:
    """The batch with each view's values changed by the policy of its scan.

    Every view has its own randomness, keyed by (seed, step, place in the global batch, view), and
    is computed alone, so that it does not depend on what else is in the batch. Outside the scan the
    image stays background.
    """
    images = batch["image"].clone()
    rows = zip(
        batch["index"].tolist(),
        batch["policy"].tolist(),
        batch["background"].tolist(),
        strict=True,
    )
    for row, (index, policy, background) in enumerate(rows):
        for view in range(images.shape[1]):
            rng = generator(seed, step, index, Stream.INTENSITY + 16 * view)
            noise = torch.Generator(device=images.device)
            noise.manual_seed(int(rng.integers(1 << 63)))
            draw = Draw(rng, noise, strength, background)
            changed = apply_policy(images[row, view], POLICIES[MODALITIES[policy]], draw)
            if changed is not None:
                images[row, view] = torch.where(batch["valid"][row, view], changed, background)
    return {**batch, "image": images}


def apply_policy(image: torch.Tensor, policy: Policy, draw: Draw) -> torch.Tensor | None:
    """One view (C, D, H, W) under a policy; None where no step was drawn."""
    chosen = draw.rng.random(len(policy.steps))
    drawn = [t for u, (p, t) in zip(chosen, policy.steps, strict=True) if u < p]
    for transform in drawn:
        image = transform(image, draw)
    return image.clamp(draw.background, policy.highest) if drawn else None
