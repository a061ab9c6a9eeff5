"""Lines of k-space, the tool of MR's artefacts.

k-space is the discrete Fourier transform of the signal above the background, and the patch stands
for the field of view: what leaves it on one side comes in on the other. A scanner's magnitude image
is what is made of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def line_numbers(size: int) -> npt.NDArray[np.float64]:
    """Signed numbers of the lines along an axis, in the transform's order; 0 is the centre."""
    half = size // 2
    return np.mod(np.arange(size, dtype=np.float64) + half, size) - half


def multiply(spectrum: Tensor, factor: Tensor) -> None:
    """Complex product in place; `factor` broadcasts.

    Products and sums are taken one by one, which gives the same bits wherever a number lies in
    memory; complex operations and `Tensor.abs` do not (where a vector of the processor is not full
    they round another way).
    """
    real, imaginary = torch.view_as_real(spectrum).unbind(-1)
    cos, sin = factor.real.contiguous(), factor.imag.contiguous()
    across = real * sin
    real.mul_(cos).sub_(imaginary * sin)
    imaginary.mul_(cos).add_(across)


def magnitude(image: Tensor) -> Tensor:
    """Absolute value of a complex image; its parts one by one, as in `multiply`."""
    parts = torch.view_as_real(image).square()
    return (parts[..., 0] + parts[..., 1]).sqrt_()


def at_a_time(keys: Sequence[Hashable], device: torch.device) -> list[list[int]]:
    """Rows that are transformed together: on a CPU one, else those whose `keys` are alike.

    A CPU's library may choose another order of sums for several transforms than for one, and gains
    nothing by doing them together.
    """
    if device.type == "cpu":
        return [[row] for row in range(len(keys))]
    return [[row for row, k in enumerate(keys) if k == key] for key in dict.fromkeys(keys)]
