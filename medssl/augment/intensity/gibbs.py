"""Ringing at edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.augment.intensity.base import Draw


@dataclass(frozen=True)
class GibbsRinging:
    """High spatial frequencies cut off along one axis, as by a phase encoding that stops early.

    The magnitude of what is left rings at sharp edges (Gibbs; Czervionke et al. 1988).

    Attributes:
        least: smallest share of the frequencies that is kept; at most all are.
    """

    least: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        dim = int(draw.rng.integers(3)) + 1
        kept = max(0.2, 1 - draw.between(0.0, 1 - self.least))
        signal = truncated(image - draw.background, dim, kept)
        return signal.abs() + draw.background


def truncated(signal: Tensor, dim: int, kept: float) -> Tensor:
    """The signal without frequencies above `kept` of the highest along one axis."""
    size = signal.shape[dim]
    spectrum = torch.fft.rfft(signal, dim=dim)
    count = int(kept * (size // 2)) + 1
    spectrum.narrow(dim, count, spectrum.shape[dim] - count).zero_()
    result: Tensor = torch.fft.irfft(spectrum, n=size, dim=dim)
    return result
