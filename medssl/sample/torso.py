"""A torso in Hounsfield units: from the lung tops to the lower poles of the kidneys.

Canonical millimetres in RAS, origin in the middle of the body at the height of the diaphragm;
a patient's torso is this one scaled, with organs of its own size and place, and then bent by a
smooth random deformation. Hounsfield units of tissues are the usual textbook values (for example
Kalender, Computed Tomography, 2011, table 1.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medssl.sample.abdomen import paint_abdomen
from medssl.sample.canvas import Canvas, Field, Grid, Point, SmoothNoise, capsule, ellipsoid
from medssl.sample.chest import paint_chest
from medssl.sample.draws import Stream, generator
from medssl.sample.lesions import draw_lesions, paint_effusion, paint_granulomas, paint_lesions
from medssl.sample.skeleton import paint_ribs, paint_spine

AIR, FAT, SKIN, MUSCLE = -1000.0, -100.0, 20.0, 55.0


@dataclass(frozen=True)
class Torso:
    """What a scanner without noise would see, and the truth beside it, each (D, H, W)."""

    hounsfield: Field
    organs: npt.NDArray[np.uint8]
    lesions: npt.NDArray[np.uint8]


def render_torso(
    seed: int, patient: int, grid: Grid, has_lesion: bool, scale: Point, contrast: float
) -> Torso:
    """Draw one patient's torso on a grid; the same patient looks alike on every grid.

    Args:
        scale: the body's size against the canonical one along R, A, S.
        contrast: 0 for a native scan to 1 for the portal venous phase.
    """
    rng = generator(seed, patient, Stream.TORSO)
    points = grid.points / np.array(scale, np.float32).reshape(3, 1, 1, 1)
    bend = [SmoothNoise(rng, 330.0) for _ in range(3)]
    ripple = [SmoothNoise(rng, 110.0) for _ in range(3)]
    outline = points + 6.0 * np.stack([n.at(points) for n in bend])
    warped = outline + 2.5 * np.stack([n.at(points) for n in ripple])
    canvas = Canvas(grid, AIR, warped)
    fat_mm = float(rng.uniform(7, 24))

    skin = body_depth(outline) + 1.5 * ripple[0].at(points)
    canvas.paint(skin, SKIN)
    canvas.paint(skin - 2.5, FAT + 12 * ripple[0].at(points))
    wall = skin - 2.5 - fat_mm * (0.8 + 0.35 * (warped[1] < -20))
    canvas.paint(wall, MUSCLE)
    canvas.paint(wall - 9, FAT)
    cavity = wall - 15
    canvas.paint(wall - 11, MUSCLE)
    canvas.paint(cavity, FAT + 20 * ripple[1].at(warped))

    diaphragm = _diaphragm_height(warped, rng)
    above = warped[2] - diaphragm
    organs = paint_abdomen(canvas, rng, np.minimum(cavity, -above - 1.0), contrast)
    _paint_back_muscles(canvas, wall)
    lungs = paint_chest(canvas, rng, cavity, above, contrast)
    paint_effusion(canvas, rng, lungs, has_lesion)
    paint_spine(canvas, skin, rng)
    paint_ribs(canvas, wall, rng)
    paint_granulomas(canvas, rng, lungs)
    lesions = draw_lesions(rng) if has_lesion else []
    mask = paint_lesions(canvas, rng, lesions, lungs, organs == 1)
    _paint_table(canvas, grid, float(scale[1]))
    return Torso(canvas.values, organs, mask)


def body_depth(points: npt.NDArray[np.float32]) -> Field:
    """Depth below the skin: a superellipse whose axes change with height."""
    x, y, z = points
    half_width = (
        162
        + 14 * np.exp(-(((z - 210) / 70) ** 2))
        - 10 * np.exp(-(((z + 90) / 60) ** 2))
        + 8 * np.exp(-(((z + 190) / 50) ** 2))
    )
    half_depth = 112 - 14 * np.clip((z - 120) / 110, 0, 1.2) - 3 * np.clip(-z / 150, 0, 1)
    # The back is flatter than the belly.
    power = np.where(y < 0, 2.7, 2.25)
    level = np.abs(x / half_width) ** power + np.abs(y / half_depth) ** power
    # Distance along the ray from the axis, near to the true one for so blunt a shape.
    away = np.sqrt(x**2 + y**2) + 1e-3
    depth = away * (np.maximum(level, 1e-6) ** (-1 / power) - 1)
    return np.asarray(np.minimum(depth, half_depth), np.float32)


def _diaphragm_height(points: npt.NDArray[np.float32], rng: np.random.Generator) -> Field:
    """Height of the diaphragm over each point: a dome on each side, deep recesses behind."""
    x, y, _ = points
    right, left = rng.uniform(6, 22), rng.uniform(-8, 8)
    domes = []
    for side, top in ((70, right), (-70, left)):
        away = ((x - side) / 70) ** 2 + ((y - 6) / 92) ** 2
        fall = 75 * (1 - np.sqrt(np.maximum(1 - 0.8 * away, 0.02)))
        domes.append(top - fall - 16 * np.clip(-y / 90, 0, 1))
    return np.asarray(np.maximum(*domes), np.float32)


def _paint_back_muscles(canvas: Canvas, wall: Field) -> None:
    """Erector spinae beside the spinous processes, psoas beside the lumbar spine."""
    p = canvas.points
    for side in (-1, 1):
        back = ellipsoid(p, (side * 32, -84, 0), (27, 19, 700))
        canvas.paint(np.minimum(back, wall - 1), MUSCLE)
        psoas = capsule(p, (side * 27, -48, -85), (side * 52, -40, -230), 8, 27)
        canvas.paint(psoas, MUSCLE)


def _paint_table(canvas: Canvas, grid: Grid, depth_scale: float) -> None:
    """A curved table of carbon fibre under the patient, foam inside."""
    x, y, _ = grid.points
    top = -(112 * depth_scale + 16) + 0.0011 * x**2
    slab = np.minimum(np.minimum(top - y, y - (top - 42)), 205 - np.abs(x))
    outside = canvas.values < -900
    shell = np.where(outside, slab, -99)
    canvas.paint(shell, -150.0)
    canvas.paint(np.where(outside, slab - 4, -99), -955.0)
