"""Ringing at edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.augment.intensity.along import Matrix, along
from medssl.augment.intensity.base import Parameters, Views, between
from medssl.augment.intensity.compiled import loops, run

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
        library = loops(views.image)
        if library is not None:
            axes = [one["axis"] for one in drawn]
            sizes = [views.image.shape[axis + 2] for axis in axes]
            kept = [one["kept"] for one in drawn]
            along(views.image, list(map(truncation, sizes, kept)), axes)
            for image, background, _, _ in views.one_by_one(drawn):
                run(library, "magnitude", image, image.numel(), background)
            return views.image
        signal = views.image.sub_(views.floor)
        for axis in range(3):
            rows = [row for row, one in enumerate(drawn) if one["axis"] == axis]
            if rows:
                kept = [drawn[row]["kept"] for row in rows]
                signal[rows] = truncated(signal[rows], axis, kept)
        return signal.abs_().add_(views.floor)


def truncation(size: int, kept: float) -> Matrix:
    """(size, size): what `truncated` does to a line. A constant stays, so that the background may
    be taken off afterwards."""
    spectrum = np.fft.rfft(np.eye(size), axis=0)
    spectrum[_count(size, kept) :] = 0
    return np.fft.irfft(spectrum, n=size, axis=0).astype(np.float32)


def truncated(signal: Tensor, axis: int, kept: Sequence[float]) -> Tensor:
    """(N, C, D, H, W) without each view's frequencies above its `kept` of the highest."""
    dim = axis + 2
    size = signal.shape[dim]
    spectrum = torch.fft.rfft(signal, dim=dim)
    counts = torch.tensor([_count(size, share) for share in kept])
    passed = torch.arange(spectrum.shape[dim]) < counts[:, None]
    shape = [len(kept), 1, 1, 1, 1]
    shape[dim] = -1
    spectrum.mul_(passed.to(signal.device).view(shape))
    result: Tensor = torch.fft.irfft(spectrum, n=size, dim=dim)
    return result


def _count(size: int, kept: float) -> int:
    """How many frequencies stay, that of the mean included."""
    return int(kept * (size // 2)) + 1
