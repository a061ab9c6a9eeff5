"""Inhomogeneity of a receive coil."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.augment.intensity.base import Draw

_ORDER = 3


@dataclass(frozen=True)
class BiasField:
    """A smooth factor, the exponential of a polynomial of third order (Van Leemput et al. 1999).

    The polynomial has no constant term and Legendre factors, so that its logarithm is near zero on
    the mean. It acts on the signal above the background.

    Attributes:
        most: largest coefficient, either way.
    """

    most: float

    def __call__(self, image: Tensor, draw: Draw) -> Tensor:
        coefficients = draw.rng.uniform(-self.most, self.most, (_ORDER + 1,) * 3) * draw.strength
        field = bias_exponent(torch.from_numpy(coefficients), image)
        return (image - draw.background) * field.exp() + draw.background


def bias_exponent(coefficients: Tensor, image: Tensor) -> Tensor:
    """(D, H, W): sum over 1 <= i + j + k <= 3 of c_ijk P_i(x) P_j(y) P_k(z) on -1 ... 1 cubed."""
    x, y, z = (_legendre(n, image) for n in image.shape[1:])
    terms = coefficients.to(image.device, image.dtype)
    degrees = torch.arange(_ORDER + 1, device=image.device)
    total = degrees[:, None, None] + degrees[None, :, None] + degrees[None, None, :]
    terms = torch.where((total >= 1) & (total <= _ORDER), terms, 0.0)
    # From the last axis on, so that what lies between stays small.
    planes = torch.einsum("ijw,jh->ihw", terms @ z, y)
    return torch.einsum("ihw,id->dhw", planes, x)


def _legendre(size: int, like: Tensor) -> Tensor:
    """The first four Legendre polynomials at the centres of `size` voxels, (4, size)."""
    t = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (2 / size) - 1
    return torch.stack([torch.ones_like(t), t, 1.5 * t**2 - 0.5, 2.5 * t**3 - 1.5 * t])
