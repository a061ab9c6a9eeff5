"""Where a patch, or two overlapping ones, are cut from a volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.augment.spatial import Grid

Centre = npt.NDArray[np.float64]


def draw_centre(
    grid: Grid,
    size: tuple[int, int, int],
    spacing_mm: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Centre:
    """The middle, in RAS millimetres, of a patch that lies in the foreground's box if it fits.

    Along an axis where it does not fit, the middle of the box is taken.
    """
    extent_mm = np.array(size) * spacing_mm
    centre = grid.foreground.mean(axis=1) - 0.5
    draws = rng.random(3)
    for world, axis in enumerate(grid.order):
        half = extent_mm[world] / grid.spacing_ras_mm[world] / 2
        start, stop = grid.foreground[axis]
        room = (stop - start) - 2 * half
        if room > 0:
            centre[axis] = start + half - 0.5 + draws[world] * room
    return np.asarray(grid.affine[:3, :3] @ centre + grid.affine[:3, 3])


def draw_twin(
    centre_mm: Centre,
    grid: Grid,
    size: tuple[int, int, int],
    spacing_mm: npt.NDArray[np.float64],
    overlap: tuple[float, float],
    rng: np.random.Generator,
) -> Centre:
    """The middle of a second patch that covers a drawn share of the first.

    The share of volume that two upright boxes have in common is the product of the shares along
    their axes; it is drawn uniformly between the bounds of `overlap` and dealt out at random. Each
    axis shifts towards the side on which there is more of the foreground.
    """
    share = rng.uniform(*overlap)
    shares = share ** rng.dirichlet(np.ones(3))
    shifts = (1 - shares) * np.array(size) * spacing_mm
    middle = grid.foreground.mean(axis=1) - 0.5
    towards = grid.affine[:3, :3] @ middle + grid.affine[:3, 3] - centre_mm
    coins = np.where(rng.random(3) < 0.5, -1.0, 1.0)
    signs = np.where(np.abs(towards) > shifts / 2, np.sign(towards), coins)
    return np.asarray(centre_mm + signs * shifts)
