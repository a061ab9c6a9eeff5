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


def draw_lesions(
    rng: np.random.Generator, canvas: Canvas, lungs: Field, liver: npt.NDArray[np.bool_]
) -> list[Lesion]:
    """One to three masses in the lungs; in half of the patients also some in the liver."""
    lesions = []
    for organ, where, count, sizes in (
        ("lung", lungs > 9, int(rng.integers(1, 4)), (9.0, 19.0)),
        ("liver", liver, int(rng.integers(0, 2)) * int(rng.integers(1, 4)), (8.0, 16.0)),
    ):
        places = np.flatnonzero(where)
        for u in rng.random(count):
            radius = float(rng.uniform(*sizes))
            if places.size:
                chosen = canvas.points.reshape(3, -1)[:, places[int(u * places.size)]]
                centre = (float(chosen[0]), float(chosen[1]), float(chosen[2]))
                lesions.append(Lesion(centre, radius, organ))
    return lesions


def paint_lesions(
    canvas: Canvas, rng: np.random.Generator, lesions: list[Lesion]
) -> npt.NDArray[np.uint8]:
    """Lobulated masses, denser than lung and darker than liver; gives their mask."""
    edge = SmoothNoise(rng, 16.0).at(canvas.points)
    mask = np.zeros(canvas.values.shape, np.uint8)
    for lesion in lesions:
        radius = lesion.radius_mm
        depth = ellipsoid(canvas.points, lesion.centre, (radius, radius * 0.9, radius * 1.1))
        depth = depth + 0.16 * radius * edge
        if lesion.organ == "lung":
            canvas.paint(depth + 2.5, -420.0)
            canvas.paint(depth, 42 + 8 * edge)
        else:
            canvas.paint(depth, 38 + 10 * edge)
        mask[depth > 0] = 1
    return mask


def paint_granulomas(canvas: Canvas, rng: np.random.Generator, lungs: Field) -> None:
    """Small calcified scars that anybody may have: not a lesion, though round and dense."""
    places = np.flatnonzero(lungs > 6)
    for u in rng.random(int(rng.integers(0, 3))):
        if places.size:
            x, y, z = canvas.points.reshape(3, -1)[:, places[int(u * places.size)]]
            canvas.paint(ellipsoid(canvas.points, (x, y, z), (4.0, 4.0, 4.0)), 350.0)
