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

    On a CPU numpy does it, in the calling thread alone. torch splits the work among its threads,
    and rounds a complex product another way where a thread's share does not fill a vector.
    """
    if spectrum.device.type == "cpu":
        values = spectrum.numpy()
        values *= factor.numpy()
    else:
        spectrum *= factor


def magnitude(image: Tensor) -> Tensor:
    """Absolute value of a complex image.

    Products, a sum and a root round alike wherever a voxel lies in memory; `Tensor.abs` does not,
    and is slower.
    """
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
