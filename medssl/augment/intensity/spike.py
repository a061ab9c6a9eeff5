"""One wrong sample in k-space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between

ComplexArray = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class Spike:
    """A discharge that adds to a single point of k-space: stripes over the image ("herringbone").

    The point's transform is a plane wave, A exp(i (2 pi f x + phase)), which adds to the signal
    before the magnitude is taken (Stadler et al. 2007, "Artifacts in body MR imaging"; Heiland
    2008). Where the signal s >> A, the image changes by A cos(2 pi f x + phase); without signal it
    rises by A.

    Attributes:
        frequency: range of f's length, cycles per voxel, in any direction; it is moved onto the
            nearest point of the patch's k-space.
        amplitude: range of A, in the image's normalised unit.
    """

    frequency: tuple[float, float]
    amplitude: tuple[float, float]

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        return {
            "frequency": direction * rng.uniform(*self.frequency),
            "phase": float(rng.uniform(0, 2 * np.pi)),
            "amplitude": between(rng, strength, *self.amplitude),
        }

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        image = views.image
        size = (image.shape[2], image.shape[3], image.shape[4])
        waves = [_wave(size, one) for one in drawn]
        x = np.stack([first for first, _ in waves])[:, None, :, None, None]
        yz = np.stack([across for _, across in waves])[:, None, None]
        x_cos, x_sin, yz_cos, yz_sin = (
            torch.from_numpy(part.astype(np.float32)).to(image.device)
            for part in (x.real, x.imag, yz.real, yz.imag)
        )
        real = image.sub_(views.floor).add_(x_cos * yz_cos).sub_(x_sin * yz_sin)
        imaginary = (x_cos * yz_sin).add_(x_sin * yz_cos)
        return real.square_().add_(imaginary.square_()).sqrt_().add_(views.floor)


def _wave(size: tuple[int, int, int], drawn: Parameters) -> tuple[ComplexArray, ComplexArray]:
    """A exp(2 pi i k x + i phase) along the first axis, exp(2 pi i k x) over the other two.

    k is the frequency moved onto a whole number of periods along each axis.
    """
    x, y, z = (
        np.exp(2j * np.pi * round(frequency * n) / n * np.arange(n))
        for n, frequency in zip(size, drawn["frequency"], strict=True)
    )
    return drawn["amplitude"] * np.exp(1j * drawn["phase"]) * x, y[:, None] * z
