"""Tumours, and the harmless scars that look a little like them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.sample.canvas import Canvas, Field, Point, SmoothNoise, ellipsoid


@dataclass(frozen=True)
class Lesion:
    """A tumour: centre in canonical mm, mean radius in mm, and the organ that it is in."""

    centre: Point
    radius_mm: float
    organ: str


# Where a tumour may start: well inside each lung, and in the right lobe of the liver.
_PLACES: dict[str, tuple[tuple[Point, Point], ...]] = {
    "lung": (((80, -8, 92), (24, 52, 84)), ((-86, -14, 98), (20, 46, 76))),
    "liver": (((76, 4, -44), (38, 48, 38)),),
}


def draw_lesions(rng: np.random.Generator) -> list[Lesion]:
    """One to four masses in the lungs; in half of the patients also some in the liver."""
    in_lungs, in_liver = int(rng.integers(1, 5)), int(rng.integers(2)) * int(rng.integers(1, 4))
    lesions = [
        Lesion(_draw_place(rng, "lung"), float(rng.uniform(11, 24)), "lung")
        for _ in range(in_lungs)
    ]
    return lesions + [
        Lesion(_draw_place(rng, "liver"), float(rng.uniform(8, 16)), "liver")
        for _ in range(in_liver)
    ]


def paint_lesions(
    canvas: Canvas,
    rng: np.random.Generator,
    lesions: list[Lesion],
    lungs: Field,
    liver: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint8]:
    """Lobulated masses, denser than lung and darker than liver; gives their mask."""
    edge = SmoothNoise(rng, 16.0).at(canvas.points)
    mask = np.zeros(canvas.values.shape, np.uint8)
    for lesion in lesions:
        radius = lesion.radius_mm
        depth = ellipsoid(canvas.points, lesion.centre, (radius, radius * 0.9, radius * 1.1))
        depth = depth + 0.16 * radius * edge
        if lesion.organ == "lung":
            depth = np.minimum(depth, lungs + 3)
            canvas.paint(np.minimum(depth + 2.5, lungs), -420.0)
            canvas.paint(depth, 42 + 8 * edge)
        else:
            depth = np.where(liver, depth, np.float32(-99))
            canvas.paint(depth, 38 + 10 * edge)
        mask[depth > 0] = 1
    return mask


def paint_effusion(
    canvas: Canvas, rng: np.random.Generator, lungs: Field, has_lesion: bool
) -> None:
    """Fluid behind one lung: in most patients with a tumour, in few of the others."""
    x, y, z = canvas.points
    side, level = (-1 if rng.random() < 0.5 else 1), float(rng.uniform(-66, -34))
    if rng.random() < (0.65 if has_lesion else 0.08):
        surface = level - 0.18 * (z + 30)
        depth = np.minimum(np.minimum(lungs + 1.5, surface - y), side * x)
        canvas.paint(depth, 10.0)


def paint_granulomas(canvas: Canvas, rng: np.random.Generator, lungs: Field) -> None:
    """Small calcified scars that anybody may have: not a lesion, though round and dense."""
    for _ in range(int(rng.integers(0, 3))):
        depth = ellipsoid(canvas.points, _draw_place(rng, "lung"), (4.0, 4.0, 4.0))
        canvas.paint(np.minimum(depth, lungs), 350.0)


def _draw_place(rng: np.random.Generator, organ: str) -> Point:
    """A point drawn evenly from the organ's ellipsoids, canonical mm."""
    places = _PLACES[organ]
    centre, radii = places[int(rng.integers(len(places)))]
    direction = rng.standard_normal(3)
    inside = direction / np.linalg.norm(direction) * rng.random() ** (1 / 3)
    x, y, z = np.array(centre) + inside * np.array(radii)
    return float(x), float(y), float(z)
