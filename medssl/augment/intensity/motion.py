"""A patient who moves while k-space is acquired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from medssl.augment.intensity.base import Parameters, Views
from medssl.augment.intensity.k_space import at_a_time, line_numbers, magnitude, multiply


@dataclass(frozen=True)
class Motion:
    """Rigid movements between groups of lines (Godenschweger et al. 2016; Shaw et al. 2019).

    The lines along the phase-encoding axis are acquired one after the other, from one end to the
    other; at each of a few moments the patient takes another pose and keeps it. k-space is put
    together from the lines of each pose. A shift is a phase ramp on them, which is exact; a turn
    about one of the patch's axes is a resampling of the image, linear in the plane. The pose at
    the central lines is the reference, so that anatomy stays in its place.

    Attributes:
        movements: largest number of movements, drawn evenly from 1 up.
        shift: largest shift along each axis, either way, voxels.
        turn_deg: largest turn, either way, about a drawn axis.
        centre: share of the lines, about the central one, during which nobody moves.
    """

    movements: int
    shift: float
    turn_deg: float
    centre: float = 0.1

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        count = int(rng.integers(1, self.movements + 1))
        # moments in -1 ... 1, the central line at 0; none within the centre
        moment = rng.uniform(-1, 1, count)
        moment = np.sort(np.copysign(self.centre + (1 - self.centre) * np.abs(moment), moment))
        reference = int(np.searchsorted(moment, 0.0))
        shift = rng.uniform(-1, 1, (count + 1, 3)) * (self.shift * strength)
        turn = rng.uniform(-1, 1, count + 1) * (self.turn_deg * strength)
        shift[reference], turn[reference] = 0.0, 0.0
        return {
            "axis": int(rng.integers(3)),
            "turned_about": int(rng.integers(3)),
            "moment": moment,
            "shift": shift,
            "turn_deg": turn,
        }

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        image = views.image
        keys = [(d["axis"], d["turned_about"]) for d in drawn]
        for rows in at_a_time(keys, image.device):
            floor = views.floor[rows]
            seen = acquired(image[rows] - floor, [drawn[row] for row in rows])
            image[rows] = magnitude(seen).add_(floor)
        return image


def acquired(signal: Tensor, drawn: Sequence[Parameters]) -> Tensor:
    """The complex image (N, C, D, H, W) of what was acquired; all share `axis`, `turned_about`."""
    axis = drawn[0]["axis"]
    dim = axis + 2
    size = signal.shape[2:]
    poses = np.stack([pose_of_lines(size[axis], d["moment"]) for d in drawn])
    lines = torch.from_numpy(poses).to(signal.device)
    shape = [len(drawn), 1, 1, 1, 1]
    shape[dim] = size[axis]
    spectrum = torch.fft.fft(signal, dim=dim)
    for pose in range(max(len(d["moment"]) for d in drawn) + 1):
        turns = [d["turn_deg"][pose] if pose < len(d["turn_deg"]) else 0.0 for d in drawn]
        if any(turns):
            copy = torch.fft.fft(turned(signal, drawn[0]["turned_about"], turns), dim=dim)
            spectrum = torch.where((lines == pose).view(shape), copy, spectrum)
    others = [other for other in range(3) if other != axis]
    spectrum = torch.fft.fftn(spectrum, dim=[other + 2 for other in others])
    for other in others:
        ramp = np.stack([_ramp(size, axis, other, p, d) for p, d in zip(poses, drawn, strict=True)])
        if axis > other:
            ramp = ramp.swapaxes(1, 2)
        shape = [len(drawn), 1, 1, 1, 1]
        shape[dim], shape[other + 2] = size[axis], size[other]
        factor = torch.from_numpy(ramp.astype(np.complex64)).to(signal.device)
        multiply(spectrum, factor.reshape(shape))
    image: Tensor = torch.fft.ifftn(spectrum, dim=[2, 3, 4])
    return image


def pose_of_lines(size: int, moment: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(size,) number of the pose in which each line is acquired, in the transform's order."""
    return np.searchsorted(moment, line_numbers(size) * 2 / size, side="right")


def turned(signal: Tensor, about: int, degrees: Sequence[float]) -> Tensor:
    """(N, C, D, H, W) turned about an axis through its middle; beyond an edge it is repeated.

    A positive turn takes the first of the other two axes towards the second, as
    `placement.rotation_about` does for the axes in their cyclic order.
    """
    first, second = (about + 1) % 3, (about + 2) % 3
    planes = signal.movedim((first + 2, second + 2), (3, 4))
    n, c, depth, height, width = planes.shape
    angle = np.deg2rad(np.asarray(degrees))[:, None, None]
    v = (np.arange(height) - (height - 1) / 2)[None, :, None]
    w = (np.arange(width) - (width - 1) / 2)[None, None, :]
    # grid_sample asks for the last axis first, from -1 to 1 between the outer edges of the voxels
    at_w = (np.cos(angle) * w - np.sin(angle) * v) * (2 / width)
    at_v = (np.sin(angle) * w + np.cos(angle) * v) * (2 / height)
    grid = torch.from_numpy(np.stack([at_w, at_v], axis=-1)).to(signal)
    flat = planes.reshape(n, c * depth, height, width)
    result = grid_sample(flat, grid, "bilinear", "border", align_corners=False)
    return result.view(planes.shape).movedim((3, 4), (first + 2, second + 2))


def _ramp(
    size: Sequence[int], axis: int, other: int, poses: npt.NDArray[np.int64], drawn: Parameters
) -> npt.NDArray[np.complex128]:
    """(size[axis], size[other]) phase of each line for the shift along `other`.

    The shift along `axis` itself comes with the first of the other two.
    """
    shift = drawn["shift"][poses]
    cycles = shift[:, other, None] * (line_numbers(size[other]) / size[other])
    if other == (1 if axis == 0 else 0):
        cycles = cycles + (shift[:, axis] * line_numbers(size[axis]) / size[axis])[:, None]
    ramp: npt.NDArray[np.complex128] = np.exp(-2j * np.pi * cycles)
    return ramp
