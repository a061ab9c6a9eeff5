"""Metal in a CT: dark bands and streaks in its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.augment.intensity.base import Parameters, Views, between
from medssl.augment.intensity.parallel_beam import (
    ANGLES,
    FloatArray,
    back_projected,
    ellipse_lengths,
    filtered,
    num_detectors,
)

_WATER_PER_VOXEL = 0.19 * 0.15
_MOST_OPAQUE = 7.0
_WIDEST = 0.9


@dataclass(frozen=True)
class MetalStreaks:
    """Pieces of metal, and what beam hardening and photon starvation make of their shadows.

    The pieces are ellipses in the slice (axes 0 and 1 of the patch), the same in a run of slices.
    Two causes act on the line integral p through metal (De Man et al. 1999, "Metal streak artifacts
    in X-ray computed tomography: a simulation study"; Boas, Fleischmann 2012):
    - beam hardening: a beam of two energies, for which metal attenuates 1 + spread and 1 - spread
      times the mean, measures -log((exp(-(1 + spread) p) + exp(-(1 - spread) p)) / 2) =
      p - log(cosh(spread p)). What is missing makes dark bands along the lines that pass the most
      metal: between two pieces, or along a long one.
    - photon starvation: counting noise grows with exp(p / 2); what it has more than rays through
      tissue makes thin bright and dark streaks.
    The difference that both make to p, and nothing else, is filtered and projected back, and
    added. Metal is at the top of the range. The image is in units of 1000 HU. Voxels are taken as
    1.5 mm wide and water as 0.19 / cm (70 keV) for the line integrals.

    Attributes:
        pieces: largest number, drawn evenly from 1 up.
        radius: range of the root of the product of a piece's half axes, voxels; one axis is up to
            three times as long as the other.
        attenuation: range of metal's attenuation in terms of water's; titanium has about 10 at
            80 keV, iron 25 (NIST XCOM).
        spread: range of the relative spread of the attenuation; titanium and iron have 0.3 between
            60 and 80 keV.
        noise: range of the standard deviation of a ray's line integral through tissue.
        slices: range of the share of the slices that the metal is in.
        top: the image's highest value.
    """

    pieces: int = 3
    radius: tuple[float, float] = (1.0, 3.5)
    attenuation: tuple[float, float] = (8.0, 25.0)
    spread: tuple[float, float] = (0.15, 0.35)
    noise: tuple[float, float] = (0.003, 0.015)
    slices: tuple[float, float] = (0.05, 0.5)
    top: float = 1.0

    def draw(self, rng: np.random.Generator, strength: float) -> Parameters:
        count = int(rng.integers(1, self.pieces + 1))
        radius = np.array([between(rng, strength, *self.radius) for _ in range(count)])
        stretch = np.sqrt(rng.uniform(1.0, 3.0, count))
        return {
            "centre": rng.uniform(0.1, 0.9, (count, 2)),
            "half_axes": np.stack([radius * stretch, radius / stretch], axis=1),
            "turn_deg": rng.uniform(0.0, 180.0, count),
            "attenuation": between(rng, strength, *self.attenuation),
            "spread": min(between(rng, strength, *self.spread), _WIDEST),
            "noise": between(rng, strength, *self.noise),
            "slices": min(between(rng, strength, *self.slices), 1.0),
            "middle_slice": float(rng.uniform()),
            "noise_seed": int(rng.integers(1 << 62)),
        }

    def apply(self, views: Views, drawn: Sequence[Parameters]) -> Tensor:
        image = views.image
        plane, num_slices = (image.shape[2], image.shape[3]), image.shape[4]
        profiles = np.stack([filtered(lost_to_metal(plane, d)) for d in drawn])
        profiles /= _WATER_PER_VOXEL
        streaks = back_projected(torch.from_numpy(profiles).to(image), plane)
        metal = torch.from_numpy(np.stack([metal_in_plane(plane, d) for d in drawn])).to(image)
        within = np.stack([_slices_with_metal(num_slices, d) for d in drawn])
        present = torch.from_numpy(within).to(image)[:, None, None, None, :]
        image += streaks[:, None, :, :, None] * present
        covered = metal[:, None, :, :, None] * present
        image -= covered * image
        image += covered * self.top
        return image


def lost_to_metal(plane: tuple[int, int], drawn: Parameters) -> FloatArray:
    """(angles, detectors): what is measured in metal's shadow, less the true line integral."""
    lengths = np.zeros((ANGLES, num_detectors(plane)))
    for centre, half_axes, turn in _ellipses(plane, drawn):
        lengths += ellipse_lengths(plane, centre, half_axes, turn)
    p = lengths * (drawn["attenuation"] * _WATER_PER_VOXEL)
    measured = p - np.log(np.cosh(drawn["spread"] * p))
    rng = np.random.default_rng(drawn["noise_seed"])
    more_noise = drawn["noise"] * np.sqrt(np.expm1(np.minimum(measured, _MOST_OPAQUE)))
    lost: FloatArray = measured + more_noise * rng.standard_normal(p.shape) - p
    return lost


def metal_in_plane(plane: tuple[int, int], drawn: Parameters) -> FloatArray:
    """(D, H): 1 where a voxel's middle lies in metal, else 0."""
    x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in plane), indexing="ij")
    metal = np.zeros(plane)
    for (cx, cy), (a, b), turn in _ellipses(plane, drawn):
        along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        across = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        metal[(along / a) ** 2 + (across / b) ** 2 <= 1] = 1.0
    return metal


def _ellipses(
    plane: tuple[int, int], drawn: Parameters
) -> list[tuple[FloatArray, FloatArray, float]]:
    """Centre from the plane's middle and half axes in voxels, turn in radians, of each piece."""
    centres = (drawn["centre"] - 0.5) * (np.asarray(plane) - 1)
    return list(zip(centres, drawn["half_axes"], np.deg2rad(drawn["turn_deg"]), strict=True))


def _slices_with_metal(count: int, drawn: Parameters) -> FloatArray:
    """(count,): 1 in a run of slices about the middle one, at least in that; else 0."""
    middle = int(drawn["middle_slice"] * count)
    away = np.abs(np.arange(count) - middle)
    return np.where(away <= drawn["slices"] * count / 2, 1.0, 0.0)
