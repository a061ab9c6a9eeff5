"""The slow change of brightness over an MR image that receive coils leave."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

_DEGREE = 3


def bias_field(
    image: Tensor, rng: np.random.Generator, strength: float, *, coefficient: float
) -> Tensor:
    """Multiply the signal by the exponential of a polynomial of degree three in the place.

    Coefficients are uniform in ± `coefficient`; places run from -1 to 1 along each axis (Van
    Leemput et al. 1999, doi 10.1109/42.811268). The sample's minimum counts as no signal.
    """
    sides = image.shape[1:]
    axes = [
        torch.linspace(-1, 1, n, device=image.device, dtype=image.dtype) if n > 1
        else torch.zeros(1, device=image.device, dtype=image.dtype)
        for n in sides
    ]  # fmt: skip
    exponent = torch.zeros(sides, device=image.device, dtype=image.dtype)
    for powers in product(range(_DEGREE + 1), repeat=3):
        if 0 < sum(powers) <= _DEGREE:
            weight = strength * rng.uniform(-coefficient, coefficient)
            x, y, z = (axis.pow(p) for axis, p in zip(axes, powers, strict=True))
            exponent += weight * x[:, None, None] * y[None, :, None] * z[None, None, :]
    low = image.amin()
    return (image - low) * torch.exp(exponent) + low
