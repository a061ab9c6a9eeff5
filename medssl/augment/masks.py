"""Which tokens of a patch are hidden from the network."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from medssl.augment.rng import Stream, generator

Grid = tuple[int, int, int]


def draw_token_masks(
    seed: int,
    step: int,
    indices: torch.Tensor,
    grid: Grid,
    ratio: float,
    body: torch.Tensor | None = None,
    block: int = 1,
) -> torch.Tensor:
    """Hide a random subset of each sample's tokens (He et al. 2022, section 3, random sampling).

    Every sample has round(ratio * d*h*w) of its tokens hidden. With `body`, round(ratio * n) of
    these are among its n tokens of body, or n - 1 where that would leave none of them visible; the
    others are among the rest, where nothing is to be predicted: the loss leaves them out.

    Args:
        indices: (B,) places of the samples in the global batch.
        grid: tokens along each axis of the patch.
        ratio: share that is hidden.
        body: (B, d, h, w) bool, the tokens that hold some body.
        block: hide cubes of as many tokens a side, at places that differ from sample to sample
            (Xie et al. 2022, SimMIM, section 4.2.1: large hidden areas are harder to fill from
            next door). One cube is cut so that the number is exact.

    Returns:
        (B, d*h*w) bool on the CPU, True where hidden.
    """
    count = math.prod(grid)
    hidden = round(ratio * count)
    masks = np.zeros((len(indices), count), dtype=bool)
    for row, index in enumerate(indices.tolist()):
        order = _order(generator(seed, step, index, Stream.MASK), grid, block)
        if body is None:
            masks[row, order[:hidden]] = True
            continue
        is_body = body[row].reshape(-1).numpy()[order]
        number = _hidden_of_body(int(is_body.sum()), ratio)
        masks[row, order[is_body][:number]] = True
        masks[row, order[~is_body][: hidden - number]] = True
    return torch.from_numpy(masks)


def deal_token_masks(
    rng: np.random.Generator,
    grid: Grid,
    ratio: float,
    body: torch.Tensor | None = None,
    block: int = 1,
) -> torch.Tensor:
    """Masks that together hide every token equally often, each about `ratio` of them.

    The tokens are dealt into G parts. From a ratio of one half on each mask shows one part and
    hides the others, so that a token is hidden G - 1 times; below, each hides one part, and a token
    is hidden once. G is the whole number that comes nearest to the ratio, at least 2.

    Args:
        body: (d, h, w) bool, the tokens that hold some body: they are dealt first, so that each
            part has its share of them.
        block: cubes of as many tokens a side are dealt whole, as `draw_token_masks` hides them.

    Returns:
        (G, d*h*w) bool on the CPU, True where hidden. With a block of 1 the numbers of hidden
        tokens depend on the grid and the ratio alone.
    """
    i, j, k = (np.arange(n) // block for n in grid)
    cubes = (int(i[-1]) + 1, int(j[-1]) + 1, int(k[-1]) + 1)
    cube = ((i[:, None, None] * cubes[1] + j[:, None]) * cubes[2] + k).ravel()
    order = rng.permutation(math.prod(cubes))
    parts = max(2, round(1 / (1 - ratio) if ratio >= 0.5 else 1 / ratio))
    parts = min(parts, len(order))  # none of them is empty
    if body is not None:
        has_body = np.bincount(cube, weights=body.reshape(-1).numpy(), minlength=len(order)) > 0
        order = np.concatenate([order[has_body[order]], order[~has_body[order]]])
    part = np.empty(len(order), dtype=np.int64)
    part[order] = np.arange(len(order)) % parts
    mine = part[cube] == np.arange(parts)[:, None]
    return torch.from_numpy(~mine if ratio >= 0.5 else mine)


def _hidden_of_body(tokens: int, ratio: float) -> int:
    return min(round(ratio * tokens), max(tokens - 1, 0))


def _order(rng: np.random.Generator, grid: Grid, block: int) -> npt.NDArray[np.int64]:
    """The tokens in the order in which they are hidden: cube by cube, cubes at random."""
    if block == 1:
        return rng.permutation(math.prod(grid))
    start = rng.integers(0, block, 3)
    i, j, k = ((np.arange(n) + s) // block for n, s in zip(grid, start, strict=True))
    cubes = (int(i[-1]) + 1, int(j[-1]) + 1, int(k[-1]) + 1)
    cube = (i[:, None, None] * cubes[1] + j[:, None]) * cubes[2] + k
    rank = rng.permutation(math.prod(cubes))
    along = rng.choice([-1, 1])  # so that the cube that is cut favours neither end
    return np.lexsort((along * np.arange(cube.size), rank[cube.ravel()]))
