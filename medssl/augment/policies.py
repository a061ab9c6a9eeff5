"""Which transforms each modality gets, how often and how far.

An invariance is a claim about the diagnosis: a policy holds what the same patient could look like
on another scanner, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.augment.batch import MODALITIES
from medssl.augment.intensity.bias_field import bias_field
from medssl.augment.intensity.level import gamma, scale_and_shift, window
from medssl.augment.intensity.noise import gaussian_noise, poisson_noise, rician_noise
from medssl.augment.intensity.resolution import (
    gaussian_blur,
    gibbs_ringing,
    low_resolution,
    sharpen,
)
from medssl.augment.rng import generator

_STREAM = 100

Draws = np.random.Generator
Transform = Callable[[Tensor, Draws, torch.Generator, float], Tensor]


@dataclass(frozen=True)
class Step:
    """One transform of a policy and the share of samples that get it."""

    probability: float
    transform: Transform


CT = (
    Step(0.3, lambda x, rng, _, s: scale_and_shift(x, rng, s, scale=0.05, shift=0.03)),
    Step(0.2, lambda x, rng, _, s: window(x, rng, s, share=0.1)),
    Step(0.2, lambda x, rng, _, s: gaussian_blur(x, rng, s, sigma=0.8)),
    Step(0.1, lambda x, rng, _, s: sharpen(x, rng, s, amount=1.0)),
    Step(0.2, lambda x, rng, _, s: low_resolution(x, rng, s, factor=2.0)),
    Step(0.2, lambda x, rng, field, s: gaussian_noise(x, rng, field, s, deviation=0.05)),
)
MR = (
    Step(0.2, lambda x, rng, _, s: bias_field(x, rng, s, coefficient=0.3)),
    Step(0.2, lambda x, rng, _, s: gamma(x, rng, s, log_range=0.4)),
    Step(0.2, lambda x, rng, _, s: scale_and_shift(x, rng, s, scale=0.15, shift=0.15)),
    Step(0.2, lambda x, rng, _, s: gaussian_blur(x, rng, s, sigma=0.8)),
    Step(0.2, lambda x, rng, _, s: low_resolution(x, rng, s, factor=2.0)),
    Step(0.1, lambda x, rng, _, s: gibbs_ringing(x, rng, s, cut=0.4)),
    Step(0.2, lambda x, rng, field, s: rician_noise(x, rng, field, s, deviation=0.2)),
)
PT = (
    Step(0.3, lambda x, rng, _, s: scale_and_shift(x, rng, s, scale=0.1, shift=0.0)),
    Step(0.3, lambda x, rng, _, s: gaussian_blur(x, rng, s, sigma=1.0)),
    Step(0.3, lambda x, rng, field, s: poisson_noise(x, rng, field, s, relative=0.3)),
)
OTHER = (
    Step(0.2, lambda x, rng, _, s: gamma(x, rng, s, log_range=0.3)),
    Step(0.2, lambda x, rng, _, s: scale_and_shift(x, rng, s, scale=0.1, shift=0.1)),
    Step(0.2, lambda x, rng, _, s: gaussian_blur(x, rng, s, sigma=0.8)),
    Step(0.2, lambda x, rng, field, s: gaussian_noise(x, rng, field, s, deviation=0.1)),
)

POLICIES: dict[str, Sequence[Step]] = {"CT": CT, "MR": MR, "PT": PT, "OT": OTHER}


def augment_intensity(
    image: Tensor,
    valid: Tensor,
    modality: Tensor,
    index: Tensor,
    *,
    seed: int,
    step: int,
    view: int,
    strength: float,
) -> Tensor:
    """Apply each sample's policy to (B, C, D, H, W), on the device that it is on.

    What is drawn depends on (seed, step, index, view) alone. Voxels outside the scan keep their
    value.

    Args:
        valid: (B, 1, D, H, W) bool. modality, index: (B,) as in a batch.
    """
    augmented = image.clone()
    for row, (code, place) in enumerate(zip(modality.tolist(), index.tolist(), strict=True)):
        rng = generator(seed, step, place, _STREAM + view)
        field = torch.Generator(image.device)
        field.manual_seed(int(rng.integers(2**62)))
        for part in POLICIES[MODALITIES[code]]:
            if rng.random() < part.probability:
                augmented[row] = part.transform(augmented[row], rng, field, strength)
    return torch.where(valid, augmented, image)
