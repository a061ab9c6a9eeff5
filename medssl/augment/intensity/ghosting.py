"""Copies of the object along the phase-encoding axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between
from medssl.augment.intensity.k_space import at_a_time, line_numbers, magnitude


@dataclass(frozen=True)
class Ghosting:
    """Every N-th line of k-space weakened, as by breath or pulse in step with the encoding.

    A modulation of period N along the phase-encoding axis repeats the object N times, at multiples
    of the field of view / N (Wood, Henkelman 1985, "MR image artifacts from periodic motion").
    Where lines k = offset (mod N) are multiplied by 1 - N a, ghost m = 0 ... N - 1 is the object
    times -a exp(2 pi i m offset / N); m = 0 falls on the object itself.

    Attributes:
        ghosts: least and largest N, drawn evenly.
        intensity: range of a, a ghost's amplitude as a share of the object's.
        centre: share of the lines, about the central one, that is left as it is; the central line
            always is.
        axes: of the patch; one of them is drawn for phase encoding.
    """

    ghosts: tuple[int, int]
    intensity: tuple[float, float]
    centre: float = 0.02
    axes: tuple[int, ...] = (0, 1, 2)

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        ghosts = int(rng.integers(self.ghosts[0], self.ghosts[1] + 1))
        return {
            "axis": int(rng.choice(self.axes)),
            "ghosts": ghosts,
            "offset": int(rng.integers(ghosts)),
            "intensity": between(rng, strength, *self.intensity),
        }

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        image = views.image
        for rows in at_a_time([d["axis"] for d in drawn], image.device):
            dim = drawn[rows[0]]["axis"] + 2
            size = image.shape[dim]
            weights = np.stack([self.weights(size, drawn[row]) for row in rows])
            shape = [len(rows), 1, 1, 1, 1]
            shape[dim] = size
            factor = torch.from_numpy(weights).to(image).view(shape)
            floor = views.floor[rows]
            spectrum = torch.fft.fft(image[rows] - floor, dim=dim)
            torch.view_as_real(spectrum).mul_(factor[..., None])
            image[rows] = magnitude(torch.fft.ifft(spectrum, dim=dim)).add_(floor)
        return image

    def weights(self, size: int, drawn: Parameters) -> npt.NDArray[np.float64]:
        """(size,) factor of each line, in the transform's order."""
        line = line_numbers(size)
        weakened = (line % drawn["ghosts"] == drawn["offset"]) & (
            np.abs(line) > self.centre * size / 2
        )
        return np.where(weakened, 1 - drawn["ghosts"] * drawn["intensity"], 1.0)
