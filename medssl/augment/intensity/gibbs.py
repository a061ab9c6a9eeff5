"""Ringing at edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between

_LEAST = 0.2


@dataclass(frozen=True)
class GibbsRinging:
    """High spatial frequencies cut off along one axis, as by a phase encoding that stops early.

    The magnitude of what is left rings at sharp edges (Gibbs; Czervionke et al. 1988).

    Attributes:
        least: smallest share of the frequencies that is kept; at most all are.
    """

    least: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        axis = int(rng.integers(3))
        kept = max(_LEAST, 1 - between(rng, strength, 0.0, 1 - self.least))
        return {"axis": axis, "kept": kept}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        signal = views.image.sub_(views.floor)
        for axis in range(3):
            rows = [row for row, one in enumerate(drawn) if one["axis"] == axis]
            if rows:
                kept = [drawn[row]["kept"] for row in rows]
                signal[rows] = truncated(signal[rows], axis, kept)
        return signal.abs_().add_(views.floor)


def truncated(signal: Tensor, axis: int, kept: Sequence[float]) -> Tensor:
    """(N, C, D, H, W) without each view's frequencies above its `kept` of the highest."""
    dim = axis + 2
    size = signal.shape[dim]
    spectrum = torch.fft.rfft(signal, dim=dim)
    counts = torch.tensor([int(share * (size // 2)) + 1 for share in kept])
    passed = torch.arange(spectrum.shape[dim]) < counts[:, None]
    shape = [len(kept), 1, 1, 1, 1]
    shape[dim] = -1
    spectrum.mul_(passed.to(signal.device).view(shape))
    result: Tensor = torch.fft.irfft(spectrum, n=size, dim=dim)
    return result
