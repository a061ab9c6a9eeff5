"""Noise of the acquisition."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def gaussian_noise(
    image: Tensor,
    rng: np.random.Generator,
    field: torch.Generator,
    strength: float,
    *,
    deviation: float,
) -> Tensor:
    """Add white noise; its standard deviation is uniform up to `deviation`."""
    size = strength * rng.uniform(0, deviation)
    return image + size * _white(image, field)


def rician_noise(
    image: Tensor,
    rng: np.random.Generator,
    field: torch.Generator,
    strength: float,
    *,
    deviation: float,
) -> Tensor:
    """Magnitude of a signal with noise in both of its channels.

    MR images are magnitudes of complex numbers, so noise in the dark is never negative
    (Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618, eq. 1). The sample's minimum counts as
    no signal.
    """
    size = strength * rng.uniform(0, deviation)
    low = image.amin()
    signal = image - low
    real = signal + size * _white(image, field)
    imaginary = size * _white(image, field)
    return torch.sqrt(real.square() + imaginary.square()) + low


def poisson_noise(
    image: Tensor,
    rng: np.random.Generator,
    field: torch.Generator,
    strength: float,
    *,
    relative: float,
) -> Tensor:
    """Noise whose variance grows with the signal, as of counted decays.

    The normal approximation of counts: deviation = `relative` * sqrt(signal / mean signal) *
    mean signal, drawn up to that.
    """
    size = strength * rng.uniform(0, relative)
    low = image.amin()
    signal = image - low
    mean = signal.mean().clamp_min(1e-6)
    return image + size * torch.sqrt(signal * mean) * _white(image, field)


def _white(image: Tensor, field: torch.Generator) -> Tensor:
    return torch.randn(image.shape, generator=field, device=image.device, dtype=image.dtype)
