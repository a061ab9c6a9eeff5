"""Spine, ribs and breastbone."""

from __future__ import annotations

import numpy as np

from medssl.sample.canvas import Canvas, Field, capsule, ellipsoid

CORTICAL, SPONGY, CARTILAGE, DISC = 620.0, 190.0, 110.0, 85.0


def paint_spine(canvas: Canvas, skin: Field, rng: np.random.Generator) -> None:
    """Vertebral bodies with discs between, the canal, arches and processes."""
    p = canvas.points
    x, y, z = p
    density = float(rng.uniform(0.75, 1.2))
    # Vertebrae grow from 22 mm high at the top to 34 mm at the bottom.
    count = 9.6 - 0.038 * z + 0.00003 * z**2
    period = 1 / (0.038 - 0.00006 * z)
    within = (count - np.floor(count) - 0.5) * period
    lower = np.clip((120 - z) / 300, 0, 1)
    radius = 13 + 9 * lower
    body = radius - np.sqrt((x / 1.18) ** 2 + (y + 60) ** 2)
    bone = np.minimum(body, period / 2 - 3 - np.abs(within))
    canvas.paint(body - 0.5, DISC)
    canvas.paint(bone, CORTICAL * 0.62 * density)
    canvas.paint(bone - 2.6, SPONGY * density)
    canal_y = -60 - radius - 9
    to_canal = np.sqrt(x**2 + (y - canal_y) ** 2)
    level = period / 2 - 4 - np.abs(within)
    canvas.paint(
        np.minimum(np.minimum(14 - to_canal, level + 3), skin - 5), CORTICAL * 0.7 * density
    )
    spinous = np.minimum(4.0 - np.abs(x), 24 - np.abs(y - canal_y + 20 + 0.15 * within))
    spinous = np.minimum(spinous, np.minimum(level + 1 + 0.2 * (y - canal_y), skin - 5))
    canvas.paint(spinous, CORTICAL * 0.6 * density)
    across = np.minimum(5 - np.abs(y - canal_y - 4 + 0.22 * np.abs(x)), 33 + 6 * lower - np.abs(x))
    canvas.paint(np.minimum(across, level - 3), CORTICAL * 0.55 * density)
    canvas.paint(8.5 - to_canal, 22.0)
    canvas.paint(5.0 - to_canal, 42.0)


def paint_ribs(canvas: Canvas, wall: Field, rng: np.random.Generator) -> None:
    """Ribs in the chest wall, falling from back to front; cartilage in front; breastbone."""
    p = canvas.points
    x, y, z = p
    density = float(rng.uniform(0.8, 1.15))
    slanted = z + 0.62 * y + 0.0006 * x**2
    within = np.mod(slanted, 29.0) - 14.5
    # An ellipse across the rib: 4 mm through the wall, 6 mm along it.
    across = (wall - 8.5) / 3.8
    rib = (1 - np.sqrt(across**2 + (within / 5.8) ** 2)) * 3.8
    # The lowest ribs end at the side, higher ones reach the breastbone.
    front_end = np.clip(62 + 0.35 * (z + 20), -40, 78)
    rib = np.minimum(rib, slanted + 82)
    bony = np.minimum(rib, front_end - y)
    gristle = np.minimum(rib, np.minimum(y - front_end + 2, z + 15))
    away = np.abs(x) - 20
    canvas.paint(np.minimum(gristle, 70 - np.abs(x)), CARTILAGE)
    bony = np.minimum(bony, away)
    canvas.paint(bony, CORTICAL * density)
    canvas.paint(bony - 1.6, SPONGY * density)
    sternum = np.minimum(ellipsoid(p, (0, 0, 118), (19, 900, 82)), 5.5 - np.abs(wall - 9.5))
    sternum = np.where(y > 0, sternum, np.float32(-99))
    canvas.paint(sternum, CORTICAL * 0.6 * density)
    canvas.paint(sternum - 2.2, SPONGY * density)
    for side in (-1, 1):
        blade = capsule(p, (side * 128, -70, 205), (side * 92, -84, 110), 5, 4)
        canvas.paint(np.where(wall > 2, blade, np.float32(-99)), CORTICAL * 0.8 * density)
