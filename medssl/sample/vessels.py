"""Branching trees of vessels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medssl.sample.canvas import Point


def grow_tree(
    rng: np.random.Generator,
    root: Point,
    towards: Point,
    radius_mm: float,
    length_mm: float,
    depth: int,
) -> npt.NDArray[np.float32]:
    """Rods of a tree that forks `depth` - 1 times: (n, 8) start, end, radius at both, mm.

    A fork keeps the sum of the cubes of the radii (Murray 1926) and divides it unequally.
    """
    start = np.array(root, float)[None]
    direction = np.array(towards, float)[None] - start
    direction /= np.linalg.norm(direction)
    radius, length = np.array([radius_mm]), length_mm
    generations = []
    for _ in range(depth):
        count = len(start)
        end = start + direction * (length * rng.uniform(0.75, 1.25, (count, 1)))
        share = rng.uniform(0.35, 0.65, count)
        children = np.stack([radius * share ** (1 / 3), radius * (1 - share) ** (1 / 3)])
        widths = np.stack([radius, children.max(axis=0)], axis=1)
        generations.append(np.concatenate([start, end, widths], axis=1))
        aside = np.cross(direction, rng.standard_normal((count, 3)))
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        turn = rng.uniform(0.35, 0.75, (2, count, 1)) * np.array([-1, 1])[:, None, None]
        direction = (direction * np.cos(turn) + aside * np.sin(turn)).reshape(-1, 3)
        start, radius, length = np.concatenate([end, end]), children.reshape(-1), length * 0.74
    return np.concatenate(generations).astype(np.float32)
