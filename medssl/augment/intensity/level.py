"""Scale and offset of all numbers: calibration error of a CT, gain of an MR coil."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def scale_and_shift(
    image: Tensor, rng: np.random.Generator, strength: float, *, scale: float, shift: float
) -> Tensor:
    """Multiply by 1 ± `scale` and add ± `shift`, in units of the normalised image."""
    factor = 1 + strength * rng.uniform(-scale, scale)
    offset = strength * rng.uniform(-shift, shift)
    return image * factor + offset


def gamma(image: Tensor, rng: np.random.Generator, strength: float, *, log_range: float) -> Tensor:
    """Raise to a power within the sample's own range: tissue contrast shifts, order stays.

    The exponent is exp(u), u uniform in ± `log_range`.
    """
    exponent = float(np.exp(strength * rng.uniform(-log_range, log_range)))
    low, high = image.amin(), image.amax()
    span = (high - low).clamp_min(1e-6)
    unit = ((image - low) / span).clamp(0, 1)
    return unit.pow(exponent) * span + low


def window(image: Tensor, rng: np.random.Generator, strength: float, *, share: float) -> Tensor:
    """Clip to a window whose ends lie up to `share` of the range inside the sample's own.

    Display windows of CT differ between readers; so does what they cut off.
    """
    cut_low, cut_high = strength * rng.uniform(0, share, 2)
    low, high = image.amin(), image.amax()
    span = high - low
    return image.clamp(low + cut_low * span, high - cut_high * span)
