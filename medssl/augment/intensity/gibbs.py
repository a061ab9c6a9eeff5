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
from medssl.augment.intensity.device import on_device

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
        # A constant stays what it is, so that the background can be taken off afterwards.
        image = _truncated(views.image, drawn)
        library = loops(image)
        if library is None:
            return image.sub_(views.floor).abs_().add_(views.floor)
        for view, background, _, _ in views.one_by_one(drawn):
            run(library, "magnitude", view, view.numel(), background)
        return image


def _truncated(image: Tensor, drawn: Sequence[Parameters]) -> Tensor:
    axes, kept = [one["axis"] for one in drawn], [one["kept"] for one in drawn]
    if image.device.type == "cpu":  # a product with a small matrix is faster than transforms
        sizes = [image.shape[axis + 2] for axis in axes]
        return along(image, list(map(truncation, sizes, kept)), axes)
    for axis in set(axes):
        rows = np.flatnonzero(np.asarray(axes) == axis)
        at = on_device(rows, image.device)
        image[at] = truncated(image[at], axis, [kept[row] for row in rows])
    return image


def truncation(size: int, kept: float) -> Matrix:
    """(size, size): what `truncated` does to a line."""
    spectrum = np.fft.rfft(np.eye(size), axis=0)
    spectrum[_count(size, kept) :] = 0
    matrix: Matrix = np.fft.irfft(spectrum, n=size, axis=0).astype(np.float32)
    return matrix


def truncated(image: Tensor, axis: int, kept: Sequence[float]) -> Tensor:
    """(N, C, D, H, W) without each view's frequencies above its `kept` of the highest."""
    dim = axis + 2
    size = image.shape[dim]
    spectrum = torch.fft.rfft(image, dim=dim)
    counts = np.array([_count(size, share) for share in kept])
    passed = on_device(np.arange(spectrum.shape[dim]) < counts[:, None], image.device)
    shape = [len(kept), 1, 1, 1, 1]
    shape[dim] = -1
    spectrum.mul_(passed.view(shape))
    result: Tensor = torch.fft.irfft(spectrum, n=size, dim=dim)
    return result


def _count(size: int, kept: float) -> int:
    """How many frequencies stay, that of the mean included."""
    return int(kept * (size // 2)) + 1
