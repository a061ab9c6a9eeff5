"""Lungs, heart, great vessels and airways."""

from __future__ import annotations

import numpy as np

from medssl.sample.canvas import Canvas, Field, Point, SmoothNoise, ellipsoid, tube
from medssl.sample.vessels import grow_tree

AIR, LUNG, FAT, SOFT = -1000.0, -830.0, -100.0, 35.0


def paint_chest(
    canvas: Canvas, rng: np.random.Generator, cavity: Field, above: Field, contrast: float
) -> Field:
    """Lungs with their vessels, heart, great vessels and airways; gives the depth in a lung."""
    p = canvas.points
    x, y, z = p
    texture, fine = SmoothNoise(rng, 26.0), SmoothNoise(rng, 11.0)
    blood = 45 + 95 * contrast
    heart_at: Point = (-24 + float(rng.normal(0, 4)), 26.0, 42 + float(rng.normal(0, 4)))
    size = float(rng.uniform(0.92, 1.12))
    tilted = p.copy()
    tilted[0] = heart_at[0] + 0.83 * (x - heart_at[0]) + 0.56 * (z - heart_at[2])
    tilted[2] = heart_at[2] - 0.56 * (x - heart_at[0]) + 0.83 * (z - heart_at[2])
    heart = ellipsoid(tilted, heart_at, (43 * size, 42 * size, 60 * size))
    # Lungs end at the apex, the mediastinum, the heart and the spine.
    dome = 232 - 0.0045 * (np.abs(x) - 62) ** 2 - 0.004 * (y + 25) ** 2
    middle = 33 - 8 * np.exp(-(((z - 165) / 60) ** 2)) - 20 * np.clip((y - 30) / 60, 0, 1)
    spine = ellipsoid(p, (0, -62, 0), (27, 26, 2000))
    lung = np.minimum.reduce([cavity - 2, above, dome - z, np.abs(x) - middle, -heart - 6, -spine])
    gravity = 70 * np.clip(-y / 110, -1, 1)
    parenchyma = LUNG + gravity + 22 * texture.at(p) + 14 * fine.at(p)
    canvas.paint(np.minimum(cavity, np.minimum(above + 3, dome - z + 6)), FAT + 25)
    canvas.paint(lung + 1.5, SOFT)
    canvas.paint(lung, parenchyma)
    canvas.paint(np.minimum(heart + 1.5, above + 4), FAT + 10)
    canvas.paint(np.minimum(heart - 3, above + 3), 45 + 45 * contrast)
    for centre, radii in (((-42, 22, 34), (20, 20, 34)), ((4, 36, 44), (20, 17, 28))):
        canvas.paint(ellipsoid(p, centre, radii), blood)
    _paint_great_vessels(canvas, blood)
    for side in (-1, 1):
        hilum = (side * 34.0, -8.0, 92.0)
        for stem in (
            (side * 80.0, -60.0, 25.0),
            (side * 95.0, 0.0, 35.0),
            (side * 80.0, 45.0, 60.0),
            (side * 85.0, -45.0, 110.0),
            (side * 65.0, 15.0, 170.0),
            (side * 60.0, -30.0, 180.0),
        ):
            rods = grow_tree(rng, hilum, stem, radius_mm=5.5, length_mm=40.0, depth=7)
            canvas.paint_rods(rods, 30 + 60 * contrast, lung - 1.0)
    airway = tube(p, [(0, -14, 260), (0, -20, 112)], 9.0)
    for side, steep in ((1, 26), (-1, 18)):
        airway = np.maximum(airway, tube(p, [(0, -20, 114), (side * 40, -20, 114 - steep)], 6.5))
    canvas.paint(airway + 2, SOFT)
    canvas.paint(airway, AIR)
    return np.asarray(lung, np.float32)


def _paint_great_vessels(canvas: Canvas, blood: float) -> None:
    """Aorta with its arch, both caval veins, pulmonary trunk; fat round them is there already."""
    p = canvas.points
    arch: list[Point] = [(8, 22, 70), (10, 18, 118), (2, 0, 142), (-14, -24, 140), (-22, -44, 118)]
    down: list[Point] = [(-22, -44, 118), (-20, -42, 20), (-8, -34, -60), (-5, -30, -240)]
    for path, radius in (
        (arch, 14.0),
        (down, 11.0),
        ([(20.0, 10.0, 50.0), (20.0, 5.0, 190.0)], 9.0),
        ([(24.0, -2.0, 30.0), (20.0, -18.0, -60.0), (15.0, -26.0, -240.0)], 11.0),
        ([(-18.0, 24.0, 70.0), (-12.0, 4.0, 104.0), (34.0, -8.0, 92.0)], 12.0),
        ([(-12.0, 4.0, 104.0), (-34.0, -10.0, 96.0)], 11.0),
        ([(0.0, -34.0, 240.0), (-6.0, -36.0, 0.0)], 6.0),
    ):
        canvas.paint(tube(p, list(path), radius), blood if radius > 6 else SOFT)
