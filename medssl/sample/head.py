"""A head as T1-weighted MR shows it: magnitude signal before coil, bias and noise.

Canonical millimetres in RAS, origin in the middle of the brain. Signal of tissues is in the
scanner's own arbitrary numbers, ordered as T1 weighting orders them: fat, white matter, grey
matter, muscle, fluid, then bone and air with next to none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.sample.canvas import Canvas, Field, Grid, Point, SmoothNoise, capsule, ellipsoid, tube
from medssl.sample.draws import Stream, generator

AIR, BONE, FLUID, MUSCLE, SKIN = 0.0, 45.0, 170.0, 380.0, 420.0
GREY, WHITE, MARROW, FAT = 520.0, 760.0, 620.0, 980.0

_BRAIN_AT: Point = (0.0, -4.0, 8.0)
_BRAIN: Point = (67.0, 85.0, 61.0)


def render_head(seed: int, patient: int, grid: Grid, scale: Point, atrophy: float) -> Field:
    """Draw one patient's head on a grid, (D, H, W), arbitrary units.

    Args:
        scale: the head's size against the canonical one along R, A, S.
        atrophy: 0 for a young brain to 1 for wide ventricles and sulci.
    """
    rng = generator(seed, patient, Stream.HEAD)
    points = grid.points / np.array(scale, np.float32).reshape(3, 1, 1, 1)
    bend = [SmoothNoise(rng, 160.0) for _ in range(3)]
    p = points + 2.2 * np.stack([noise.at(points) for noise in bend])
    canvas = Canvas(grid, AIR, p)
    brain = ellipsoid(p, _BRAIN_AT, _BRAIN)
    # The base of the brain is flat but for the temporal lobes and the cerebellum.
    x, y, z = p
    base = z + 22 - 10 * np.clip((y - 18) / 40, 0, 1) + 0.1 * np.abs(x)
    cerebrum = np.minimum(brain, base)
    temporal = np.maximum(
        capsule(p, (47, 38, -22), (50, -30, -12), 17, 15),
        capsule(p, (-47, 38, -22), (-50, -30, -12), 17, 15),
    )
    cerebrum = np.maximum(cerebrum, temporal)
    cerebellum = np.maximum(
        ellipsoid(p, (24, -52, -36), (31, 29, 22)), ellipsoid(p, (-24, -52, -36), (31, 29, 22))
    )
    stem = tube(p, [(0, -14, 0), (0, -20, -30), (0, -32, -62), (0, -38, -140)], 11.0)
    cavity = np.maximum.reduce(
        [cerebrum + 3.2 + 1.5 * atrophy, cerebellum + 4, np.minimum(stem + 4, -z)]
    )
    _paint_outside(canvas, rng, cavity)
    canvas.paint(cavity, FLUID)
    _paint_cerebrum(canvas, rng, cerebrum, atrophy)
    _paint_cerebellum(canvas, rng, cerebellum)
    canvas.paint(stem + np.minimum(0, 90 - np.abs(z)), WHITE - 60)
    pons = ellipsoid(p, (0, -13, -30), (17, 14, 15))
    canvas.paint(pons, WHITE - 40)
    canvas.paint(ellipsoid(p, (0, -33, -36), (8, 6, 12)), FLUID)
    return np.maximum(canvas.values, 0)


def _paint_outside(canvas: Canvas, rng: np.random.Generator, cavity: Field) -> None:
    """Scalp, skull with its marrow, face, orbits, sinuses and neck."""
    p = canvas.points
    _, y, z = p
    patchy = SmoothNoise(rng, 22.0).at(p)
    skull = ellipsoid(p, (0, -4, 8), (77, 95, 71))
    scalp = ellipsoid(p, (0, -4, 7), (83, 101, 79))
    face = np.minimum(ellipsoid(p, (0, 40, -58), (64, 60, 84)), 91 + 0.06 * z - y)
    nose = capsule(p, (0, 82, -12), (0, 97, -50), 7, 12)
    jaw = ellipsoid(p, (0, 38, -108), (54, 52, 34))
    neck = np.minimum(ellipsoid(p, (0, -22, -130), (62, 66, 400)), -z - 20)
    skin = np.maximum.reduce([scalp, face, nose, jaw, neck])
    canvas.paint(skin, SKIN)
    canvas.paint(skin - 1.8, FAT - 90 + 60 * patchy)
    soft = np.maximum.reduce([face - 9, jaw - 7, neck - 7, np.minimum(scalp - 7, -z - 10)])
    canvas.paint(soft, MUSCLE + 60 * patchy)
    planes = np.minimum(soft, 2.5 - 9 * np.abs(SmoothNoise(rng, 34.0).at(p)))
    canvas.paint(planes, FAT - 200)
    bone = np.minimum(np.maximum(skull, cavity + 6), np.maximum(z + 52 - 0.25 * y, cavity + 6))
    canvas.paint(bone, BONE)
    clivus = capsule(p, (0, 18, -34), (0, -4, -56), 7, 5)
    canvas.paint(np.minimum(bone, clivus), MARROW)
    canvas.paint(np.minimum(bone - 4, 4 * patchy), 240.0)
    canvas.paint(2.1 - np.abs(bone - 3.6) + 0.6 * patchy, MARROW - 130)
    for side in (-1, 1):
        canvas.paint(capsule(p, (side * 31, 62, -20), (side * 14, 22, -18), 17, 4), FAT - 60)
        for aim in (-12, 0, 12):
            canvas.paint(
                capsule(p, (side * (31 + aim), 54, -20), (side * 14, 24, -18), 2.6, 2.2), MUSCLE
            )
        canvas.paint(tube(p, [(side * 31, 54, -20), (side * 12, 20, -17)], 2.4), WHITE - 160)
        canvas.paint(ellipsoid(p, (side * 31, 63, -20), (12.5, 12.5, 12.5)), SKIN)
        canvas.paint(ellipsoid(p, (side * 31, 63, -20), (11.2, 11.2, 11.2)), FLUID - 60)
        canvas.paint(ellipsoid(p, (side * 31, 72, -20), (5, 2.5, 5)), MUSCLE)
        sinus = ellipsoid(p, (side * 27, 56, -50), (15, 19, 17))
        canvas.paint(sinus + 2, GREY)
        canvas.paint(sinus, AIR)
        canvas.paint(ellipsoid(p, (side * 8, 58, -24), (5.5, 20, 12)), 60 + 60 * patchy)
        canvas.paint(capsule(p, (side * 9, 84, -58), (side * 9, 30, -54), 4, 5), AIR)
        mastoid = ellipsoid(p, (side * 60, -24, -42), (11, 15, 17))
        canvas.paint(mastoid, 40 + 90 * np.maximum(patchy, 0))
        ramus = capsule(p, (side * 50, 14, -40), (side * 46, 16, -96), 6, 7)
        jawbone = capsule(p, (side * 46, 16, -98), (side * 8, 78, -112), 9, 9)
        canvas.paint(np.maximum(ramus, jawbone), BONE)
        canvas.paint(np.maximum(ramus, jawbone) - 3.5, MARROW)
    frontal = ellipsoid(p, (0, 86, 4), (15, 4, 10))
    canvas.paint(frontal, AIR)
    canvas.paint(ellipsoid(p, (0, 30, -32), (10, 11, 8)), AIR)
    canvas.paint(tube(p, [(0, 24, -48), (0, 10, -70), (0, 4, -150)], 8.0), AIR)
    canvas.paint(ellipsoid(p, (0, 46, -82), (22, 34, 15)), MUSCLE + 70 + 50 * patchy)


def _paint_cerebrum(
    canvas: Canvas, rng: np.random.Generator, cerebrum: Field, atrophy: float
) -> None:
    """A folded cortex over white matter, with ventricles and deep nuclei."""
    p = canvas.points
    x, y, z = p
    width = 0.4 + 1.5 * atrophy
    depth = np.minimum(cerebrum, _fissure(p, width))
    to_fluid = np.minimum(depth, _sulcus_distance(p, rng, depth) - width)
    canvas.paint(to_fluid, GREY + 18 * SmoothNoise(rng, 9.0).at(p))
    thickness = 3.3 + 0.5 * SmoothNoise(rng, 40.0).at(p)
    callosum = tube(p, [(0, 33, 8), (0, 26, 22), (0, -6, 30), (0, -36, 22), (0, -42, 12)], 5.0)
    callosum = np.minimum(callosum, 26 - np.abs(x))
    white = np.maximum(to_fluid - thickness, callosum)
    canvas.paint(white, WHITE + 22 * SmoothNoise(rng, 30.0).at(p))
    wide = 3.6 + 4.5 * atrophy + float(rng.uniform(0, 1.2))
    for side in (-1, 1):
        thalamus = ellipsoid(p, (side * 12, -14, 7), (10, 15, 9))
        caudate = tube(p, [(side * 14, 20, 10), (side * 17, 0, 21), (side * 20, -16, 20)], 5.5)
        lentiform = ellipsoid(p, (side * 26, 2, 4), (8, 19, 11))
        for nucleus, signal in ((thalamus, 45), (caudate, 10), (lentiform, 40)):
            canvas.paint(nucleus, GREY + signal)
        horn = [(9, 32, 10), (12, 14, 17), (12, -12, 22), (19, -36, 16), (25, -60, 8)]
        canvas.paint(tube(p, [(side * a, b, c) for a, b, c in horn], wide), FLUID)
        lower = [(side * 23.0, -38.0, 10.0), (side * 36.0, -22.0, -12.0), (side * 34.0, 2.0, -20.0)]
        canvas.paint(tube(p, lower, 0.55 * wide), FLUID)
        island = np.minimum(4 - np.abs(np.abs(x) - 39 - 0.004 * (y - 4) ** 2), 24 - np.abs(y - 4))
        island = np.where(side * x > 0, np.minimum(island, 15 - np.abs(z - 4)), -99)
        canvas.paint(np.asarray(island, np.float32), GREY)
        canvas.paint(np.asarray(island - 2.6 - 0.2 * (1 - atrophy), np.float32), FLUID)
    third = np.minimum(0.9 + 1.8 * atrophy - np.abs(x), 11 - np.abs(z - 2))
    canvas.paint(np.minimum(third, 17 - np.abs(y + 8)), FLUID)


def _fissure(p: npt.NDArray[np.float32], width: float) -> Field:
    """Depth away from the fluid between the hemispheres; none where the callosum joins them."""
    x, y, z = p
    bridge = np.maximum(0, 30 - np.sqrt((y + 4) ** 2 / 1.9 + (z - 2) ** 2))
    return np.asarray(np.abs(x) - 0.6 - 0.6 * width + 3 * bridge, np.float32)


def _sulcus_distance(p: npt.NDArray[np.float32], rng: np.random.Generator, depth: Field) -> Field:
    """Distance to the nearest sulcus, mm.

    Sulci are the zero set of a smooth noise that changes along the brain's surface but hardly
    across it, so that they cut in at right angles, down to a varying depth.
    """
    centre = np.array([0, -6, 4], np.float32).reshape(3, 1, 1, 1)
    ray = (p - centre) / np.array(_BRAIN, np.float32).reshape(3, 1, 1, 1)
    length = np.sqrt((ray**2).sum(axis=0)) + 1e-3
    on_surface = ray / length * (0.8 + 0.2 * length) * 66
    winding = np.stack([SmoothNoise(rng, 40.0).at(on_surface) for _ in range(3)])
    folds = SmoothNoise(rng, 23.0).at(on_surface + 4 * winding)
    more = SmoothNoise(rng, 23.0).at(on_surface - 4 * winding)
    reach = 15 + 4 * SmoothNoise(rng, 60.0).at(p)
    narrower = np.clip(length, 0.3, 1)
    main = np.sqrt((6.5 * narrower * folds) ** 2 + np.maximum(0, depth - reach) ** 2)
    minor = np.sqrt((7.5 * narrower * more) ** 2 + np.maximum(0, depth - 0.6 * reach) ** 2)
    return np.asarray(np.minimum(main, minor), np.float32)


def _paint_cerebellum(canvas: Canvas, rng: np.random.Generator, cerebellum: Field) -> None:
    """Folia in thin leaves round a branching white core."""
    p = canvas.points
    x, y, z = p
    bent = 5 * SmoothNoise(rng, 40.0).at(p)
    angle = np.arctan2(z + 36, y + 26 + 0 * x)
    leaves = np.sin(16 * angle + bent * 0.4)
    canvas.paint(cerebellum, GREY + 10 - 55 * (leaves < -0.75))
    core = cerebellum - 10 + 5 * np.sin(8 * angle + bent * 0.3)
    canvas.paint(np.asarray(core, np.float32), WHITE - 50)
