"""Organs under the diaphragm: liver, gall bladder, spleen, kidneys, stomach and bowel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.sample.canvas import Canvas, Field, SmoothNoise, ellipsoid, tube
from medssl.sample.vessels import grow_tree


def paint_abdomen(
    canvas: Canvas, rng: np.random.Generator, room: Field, contrast: float
) -> npt.NDArray[np.uint8]:
    """Fill `room` (depth inside the abdominal cavity); gives the organ mask.

    The mask holds 1 in the liver, 2 in the spleen, 3 in the kidneys.
    """
    p = canvas.points
    canvas.paint(room + 4, 50.0)
    canvas.paint(room, -98 + 14 * SmoothNoise(rng, 40.0).at(p))
    _paint_bowel(canvas, rng, room)
    _paint_stomach(canvas, rng, room)
    liver = _liver_depth(canvas, rng, room)
    spleen = _spleen_depth(canvas, rng, room)
    kidneys = _kidneys_depth(canvas, rng, room)
    grain = SmoothNoise(rng, 14.0).at(p)
    canvas.paint(liver, float(rng.uniform(52, 66)) + 50 * contrast + 4 * grain)
    for root, towards, radius in (
        ((28, 5, -48), (95, 0, -25), 7.0),
        ((22, -10, 0), (70, 10, -60), 6.0),
        ((20, 5, -40), (-20, 40, -25), 5.0),
    ):
        rods = grow_tree(rng, root, towards, radius, length_mm=38.0, depth=5)
        canvas.paint_rods(rods, 42 + 120 * contrast, liver - 4)
    gall = ellipsoid(p, (44, 46, -92), (13, 14, 24))
    canvas.paint(np.minimum(gall, room), 30.0)
    canvas.paint(np.minimum(gall - 2, room), 8.0)
    canvas.paint(spleen, 48 + 65 * contrast + 3 * grain)
    pancreas = tube(p, [(30, 2, -92), (5, 8, -78), (-35, -2, -66), (-70, -22, -58)], 10.0)
    canvas.paint(np.minimum(pancreas + 2.5 * grain, room), 38 + 45 * contrast)
    _paint_kidneys(canvas, rng, kidneys, contrast)
    organs = np.zeros(canvas.values.shape, np.uint8)
    for code, depth in ((1, liver), (2, spleen), (3, kidneys)):
        organs[depth > 0] = code
    return organs


def _liver_depth(canvas: Canvas, rng: np.random.Generator, room: Field) -> Field:
    p = canvas.points
    size = float(rng.uniform(0.9, 1.12))
    right = ellipsoid(p, (74, -4, -44), (82 * size, 96 * size, 82 * size))
    left = ellipsoid(
        p, (6, 42, -22), (float(rng.uniform(58, 82)), 42 * size, float(rng.uniform(28, 40)))
    )
    # The visceral face looks down, back and to the left.
    face = (0.55 * (p[0] - 8) + 0.25 * p[1] + 0.8 * (p[2] + 88)) * 0.9
    whole = np.maximum(right, np.minimum(left, p[2] + 62 + 0.3 * (p[0] + 60)))
    return np.asarray(np.minimum.reduce([whole, room - 2, face]), np.float32)


def _spleen_depth(canvas: Canvas, rng: np.random.Generator, room: Field) -> Field:
    p = canvas.points
    size = float(rng.uniform(0.85, 1.2))
    body = ellipsoid(p, (-108, -38, -38), (40 * size, 54 * size, 54 * size))
    hilum = ellipsoid(p, (-62, -4, -38), (38, 42, 70))
    return np.asarray(np.minimum.reduce([body, -hilum - 3, room - 2]), np.float32)


def _kidneys_depth(canvas: Canvas, rng: np.random.Generator, room: Field) -> Field:
    """Both kidneys, upper poles leaning to the spine, the hilum open to the middle."""
    depths = []
    for side, height in ((1, -118.0), (-1, -106.0)):
        z = height + float(rng.normal(0, 5))
        size = float(rng.uniform(0.9, 1.1))
        q = canvas.points.copy()
        q[0] = side * q[0] + 0.26 * (q[2] - z)
        q[1] = q[1] + 0.16 * (q[2] - z)
        body = ellipsoid(q, (66, -50, z), (29 * size, 27 * size, 54 * size))
        notch = ellipsoid(q, (38, -44, z), (16, 13, 17))
        depths.append(np.minimum(body, -notch))
    return np.asarray(np.minimum(np.maximum(*depths), room + 6), np.float32)


def _paint_kidneys(
    canvas: Canvas, rng: np.random.Generator, kidneys: Field, contrast: float
) -> None:
    """Cortex, pyramids of the medulla, and the fat and urine of the sinus."""
    lobes = SmoothNoise(rng, 26.0).at(canvas.points)
    canvas.paint(kidneys, 34 + 150 * contrast)
    canvas.paint(kidneys - 8 - 2.5 * lobes, 32 + 110 * contrast)
    canvas.paint(kidneys - 16.5 - 3 * lobes, -55.0)
    canvas.paint(kidneys - 21 - 3 * lobes, 8.0)


def _paint_stomach(canvas: Canvas, rng: np.random.Generator, room: Field) -> None:
    """A stomach half full: gas rises to the front of a patient who lies on his back."""
    p = canvas.points
    full = float(rng.uniform(0.75, 1.1))
    body = ellipsoid(p, (-62, 18, -34), (38 * full, 44 * full, 46 * full))
    outlet = tube(p, [(-55, 30, -62), (-15, 44, -92), (22, 30, -90)], 17 * full)
    stomach = np.minimum(np.maximum(body, outlet), room)
    canvas.paint(stomach, 42.0)
    inside = stomach - 5
    canvas.paint(inside, 18 + 12 * SmoothNoise(rng, 18.0).at(p))
    canvas.paint(np.minimum(inside, p[1] - float(rng.uniform(28, 46))), -950.0)


def _paint_bowel(canvas: Canvas, rng: np.random.Generator, room: Field) -> None:
    """Loops of small bowel in front, colon along both sides, some gas in each."""
    p = canvas.points
    loops = SmoothNoise(rng, 46.0).at(p)
    content = SmoothNoise(rng, 30.0).at(p)
    front = np.minimum(room - 6, np.minimum(p[1] + 12, -p[2] - 70))
    small = np.minimum(front, 11 - 15 * np.abs(loops))
    canvas.paint(small, 45.0)
    canvas.paint(small - 3, 18 + 12 * content)
    canvas.paint(np.minimum(small - 4.5, 9 * (content - 1.2)), -600.0)
    for side in (-1, 1):
        path = [(side * 108.0, 5.0, -75.0), (side * 112.0, 0.0, -140.0), (side * 106.0, 5, -230.0)]
        colon = np.minimum(tube(p, path, 21.0) + 3 * loops, room - 1)
        canvas.paint(colon, 42.0)
        canvas.paint(colon - 3, 5 + 35 * content)
        canvas.paint(np.minimum(colon - 4, 10 * (content + 0.25 * loops - 0.1)), -820.0)
