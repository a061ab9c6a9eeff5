"""What a method was shown of a patch, what it made of it, and what it should have been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from medssl.methods.base import Pictures

_SIDE = 2.2  # inches
_TITLES = ("input, hidden voxels hatched", "output where hidden", "target")

Plane = npt.NDArray[Any]


def reconstruction_figure(
    pictures: Pictures, names: Sequence[str], spacing_mm: npt.NDArray[np.float64]
) -> Figure:
    """A row a patch: the axial plane with most to see, as the patch was sampled.

    Where the input was shown the target stands in the output's place, for most methods ask nothing
    of the output there. It has the target's window, the input one of its own, for it may be in
    other units.

    Args:
        names: what stands beside each row.
        spacing_mm: (B, 3).
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown, output, target = (
        x.float().cpu().numpy()[:, 0] for x in (pictures.shown, pictures.output, pictures.target)
    )
    images = (shown, np.where(np.isnan(shown), output, target), target)
    drawn, grid = plt.subplots(
        len(names), 3, figsize=(3 * _SIDE, len(names) * _SIDE), squeeze=False, layout="constrained"
    )
    for row, name in enumerate(names):
        level = richest_level(target[row])
        planes = [axial_plane(image[row], level) for image in images]
        own, common = _window(planes[0]), _window(planes[2])
        aspect = float(spacing_mm[row, 1] / spacing_mm[row, 0])
        for axes, plane, window in zip(grid[row], planes, (own, common, common), strict=True):
            show_plane(axes, plane, window, aspect)
        grid[row][0].set_ylabel(name, fontsize=8)
    for axes, title in zip(grid[0], _TITLES, strict=True):
        axes.set_title(title, fontsize=9)
    return drawn


def richest_level(image: Plane) -> int:
    """Where along its last axis a patch (D, H, W) varies most; its middle may be air."""
    return int(image.std(axis=(0, 1), dtype=np.float64).argmax())


def axial_plane(image: Plane, level: int) -> Plane:
    """(rows, columns) of a patch: rows run to the back, columns to the patient's left."""
    plane: Plane = image[:, :, level].T[::-1, ::-1]
    return plane


def show_plane(
    axes: Axes,
    plane: Plane,
    window: tuple[float, float],
    aspect: float = 1.0,
    inverted: bool = False,
) -> None:
    """A plane in grey, without ticks; what is NaN shows the hatched ground."""
    axes.imshow(
        np.ma.masked_invalid(plane),
        cmap="gray_r" if inverted else "gray",
        vmin=window[0],
        vmax=window[1],
        aspect=aspect,
        interpolation="nearest",
    )
    axes.patch.set(facecolor="#dce6f0", edgecolor="#6f8fb0", hatch="//////")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color="#9aa4b0", linewidth=0.6)


def _window(plane: Plane) -> tuple[float, float]:
    known = plane[np.isfinite(plane)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(x) for x in np.percentile(known, [0.5, 99.5]))
    return low, high if high > low else low + 1.0
