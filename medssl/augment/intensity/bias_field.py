"""Inhomogeneity of a receive coil."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views
from medssl.augment.intensity.compiled import loops, run
from medssl.augment.intensity.device import on_device

_ORDER = 3
_LEGENDRE = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [-0.5, 0, 1.5, 0], [0, -1.5, 0, 2.5]])
_DEGREES = np.indices((_ORDER + 1,) * 3).sum(axis=0)
_USED = (_DEGREES >= 1) & (_DEGREES <= _ORDER)


@dataclass(frozen=True)
class BiasField:
    """A smooth factor, the exponential of a polynomial of third order (Van Leemput et al. 1999).

    The polynomial has no constant term and Legendre factors, so that its logarithm is near zero on
    the mean. It acts on the signal above the background.

    Attributes:
        most: largest coefficient, either way.
    """

    most: float

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        """`coefficients`: (4, 4, 4), of P_i(x) P_j(y) P_k(z), zero but for 1 <= i + j + k <= 3."""
        coefficients = rng.uniform(-self.most, self.most, _USED.shape) * strength
        return {"coefficients": np.where(_USED, coefficients, 0.0)}

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        library = loops(views.image)
        if library is not None:
            for image, background, _, one in views.one_by_one(drawn):
                powers, shape = _powers_of_two(one["coefficients"]), np.array(image.shape, np.int32)
                run(library, "field", image, shape, powers, background)
            return views.image
        coefficients = np.stack([one["coefficients"] for one in drawn]).astype(np.float32)
        field = bias_exponent(on_device(coefficients, views.image.device), views.image).exp_()
        return views.image.sub_(views.floor).mul_(field).add_(views.floor)


def _powers_of_two(coefficients: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(4, 4, 4) of z^i y^j x^k, of the exponent of 2."""
    plain = np.einsum("ijk,ia,jb,kc->abc", coefficients, _LEGENDRE, _LEGENDRE, _LEGENDRE)
    result: npt.NDArray[np.float32] = (plain / math.log(2)).astype(np.float32)
    return result


def bias_exponent(coefficients: Tensor, image: Tensor) -> Tensor:
    """(N, 1, D, H, W): the sum of c_ijk P_i(x) P_j(y) P_k(z) on -1 ... 1 cubed.

    Sums are written out: a matrix product's bits may depend on how many views there are.
    """
    x, y, z = (_legendre(n, image) for n in image.shape[2:])
    # From the last axis on, so that what lies between stays small: (N, i, j, W), then (N, i, H, W).
    lines = _total([coefficients[:, :, :, k, None] * z[k] for k in range(_ORDER + 1)])
    planes = _total([lines[:, :, j, None] * y[j][:, None] for j in range(_ORDER + 1)])
    field = planes[:, 0, None] * x[0][:, None, None]
    for i in range(1, _ORDER + 1):
        field.addcmul_(planes[:, i, None], x[i][:, None, None])
    return field[:, None]


def _total(terms: list[Tensor]) -> Tensor:
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


def _legendre(size: int, like: Tensor) -> Tensor:
    """The first four Legendre polynomials at the centres of `size` voxels, (4, size)."""
    t = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (2 / size) - 1
    return torch.stack([torch.ones_like(t), t, 1.5 * t**2 - 0.5, 2.5 * t**3 - 1.5 * t])
