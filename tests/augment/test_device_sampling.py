"""Patches of a batch interpolated together, against the pass that takes one, and against scipy.

All of it on the CPU: no GPU is asked for here.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medssl.augment import device_sampling
from medssl.augment.device_sampling import nearest_in_blocks, sample_blocks
from medssl.augment.interpolate import Bounds, Finish, interpolate, sample_block
from medssl.augment.placement import rotation_about

FINISHES = (
    Finish(1.0, -1024.0, -1000.0, 1000.0, False, 0.0, 1e-3, -1.0),
    Finish(0.01, 0.0, 0.0, 20.0, True, 0.0, 1.0, 0.0),
    Finish(2.5, -7.0, 10.0, 4000.0, False, 300.0, 0.004, -1.16),
)
TYPES = (np.int16, np.float32, np.uint8)
sizes = st.tuples(*[st.integers(1, 19)] * 3)
seeds = st.integers(0, 2**32 - 1)


def some_blocks(rng: np.random.Generator, count: int, kinds: Any = TYPES) -> list[Any]:
    """Blocks of odd, thin and single-voxel shapes, smooth enough to tell rounding from error."""
    blocks = []
    for _ in range(count):
        shape = rng.integers(1, 17, 3)
        if rng.random() < 0.3:
            shape[rng.integers(3)] = 1
        kind = kinds[rng.integers(len(kinds))]
        blocks.append(rng.integers(0, 200 if kind == np.uint8 else 3000, shape).astype(kind))
    return blocks


def some_matrices(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Turns, permutations, mirrorings, scales and shifts, often without some of them."""
    matrices = np.tile(np.eye(4), (count, 1, 1))
    for matrix in matrices:
        linear = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        if rng.random() < 0.6:
            linear = rotation_about(rng.uniform(-1, 1, 3)) @ linear
        if rng.random() < 0.6:
            linear = linear * rng.uniform(0.3, 1.6, 3)
        matrix[:3, :3] = linear
        matrix[:3, 3] = rng.uniform(-3, 12, 3) if rng.random() < 0.5 else rng.integers(-3, 12, 3)
    return matrices


def some_bounds(rng: np.random.Generator, blocks: list[Any]) -> list[Bounds]:
    """Of blocks that are the scan, or a part of it that goes on."""
    return [
        Bounds(np.full(3, -0.5) - rng.integers(0, 3, 3), np.asarray(b.shape) - 0.5) for b in blocks
    ]


def together(
    blocks: list[Any],
    matrices: npt.NDArray[np.float64],
    bounds: list[Bounds],
    finishes: list[Finish],
    size: Any,
    moved: Any = None,
) -> tuple[Any, Any]:
    image, valid = sample_blocks(
        [torch.from_numpy(block) for block in blocks],
        torch.from_numpy(matrices),
        torch.tensor(np.array([(each.low, each.high) for each in bounds])),
        torch.tensor([astuple(finish) for finish in finishes]),
        size,
        None if moved is None else torch.from_numpy(moved),
    )
    assert image.shape == valid.shape == (len(blocks), 1, *size)
    return image[:, 0].numpy(), valid[:, 0].numpy()


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 5), size=sizes, seed=seeds, elastic=st.booleans())
def test_a_batch_is_what_one_patch_after_the_other_is(
    count: int, size: Any, seed: int, elastic: bool
) -> None:
    rng = np.random.default_rng(seed)
    blocks, matrices = some_blocks(rng, count), some_matrices(rng, count)
    bounds = some_bounds(rng, blocks)
    finishes = [FINISHES[rng.integers(3)] for _ in blocks]
    moved = rng.normal(0, 1, (count, 3, *size)).astype(np.float32) if elastic else None
    images, valids = together(blocks, matrices, bounds, finishes, size, moved)
    for row, finish in enumerate(finishes):
        image, valid = np.empty(size, np.float32), np.empty(size, np.bool_)
        shift = None if moved is None else in_the_block(matrices[row], moved[row])
        sample_block(blocks[row], matrices[row], size, finish, bounds[row], image, valid, shift)
        assert_same_places(valids[row], valid, matrices[row], bounds[row], shift)
        assert (images[row][~valids[row]] == np.float32(finish.background)).all()
        both = valid & valids[row]
        if finish.root:  # its slope is without bound at 0; what was under it is compared
            image, images[row] = image**2, images[row] ** 2
        span = min(3000 * finish.slope, finish.high - finish.low) * finish.factor
        assert np.abs(images[row][both] - image[both]).max(initial=0) < 1e-4 * span


def in_the_block(matrix: npt.NDArray[np.float64], moved: Any) -> Any:
    """A displacement in the patch's voxels, (3, D, H, W), in those of the block."""
    return np.einsum("ab,bdhw->adhw", matrix[:3, :3], moved).astype(np.float32)


def assert_same_places(
    one: Any, other: Any, matrix: npt.NDArray[np.float64], bounds: Bounds, moved: Any
) -> None:
    """Alike but where a voxel's centre lies on the scan's face to a ten-thousandth or two."""
    index = np.indices(one.shape).reshape(3, -1)
    at = (matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(3, *one.shape)
    at = at if moved is None else at + moved
    faces = (bounds.low, bounds.high)
    near = [np.abs(at - face.reshape(3, 1, 1, 1)).min(0) < 3e-4 for face in faces]
    assert (one == other)[~(near[0] | near[1])].all()


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=seeds)
def test_values_are_those_that_scipy_interpolates(size: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks, matrices = some_blocks(rng, 3), some_matrices(rng, 3)
    finish = Finish(background=-9.0)
    bounds = [Bounds.of(block.shape) for block in blocks]
    images, valids = together(blocks, matrices, bounds, [finish] * 3, size)
    index = np.indices(size).reshape(3, -1)
    for block, matrix, image, valid in zip(blocks, matrices, images, valids, strict=True):
        at = (matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(3, *size)
        expected = ndimage.map_coordinates(block.astype(np.float64), at, order=1, mode="nearest")
        np.testing.assert_allclose(image[valid], expected[valid], rtol=0, atol=3e-2)
        assert (image[~valid] == -9).all()


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 4), size=sizes, seed=seeds, elastic=st.booleans())
def test_labels_are_those_of_the_nearest_voxel(
    count: int, size: Any, seed: int, elastic: bool
) -> None:
    rng = np.random.default_rng(seed)
    blocks = some_blocks(rng, count, (np.uint8,))
    matrices = some_matrices(rng, count)
    moved = rng.normal(0, 1, (count, 3, *size)).astype(np.float32) if elastic else None
    labels = nearest_in_blocks(
        [torch.from_numpy(block) for block in blocks],
        torch.from_numpy(matrices),
        size,
        None if moved is None else torch.from_numpy(moved),
    )
    assert labels.dtype == torch.uint8
    index = np.indices(size).reshape(3, -1)
    for row, block in enumerate(blocks):
        at = (matrices[row, :3, :3] @ index + matrices[row, :3, 3:]).reshape(3, *size)
        at = at if moved is None else at + in_the_block(matrices[row], moved[row])
        clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(0)
        last = np.asarray(block.shape).reshape(3, 1, 1, 1) - 1
        i, j, k = np.clip(np.rint(at), 0, last).astype(int)
        assert (labels[row, 0].numpy() == block[i, j, k])[clear].all()
        if moved is None:
            shown = interpolate(block, matrices[row], size, order=0)
            near = clear & (at > -0.5).all(0) & (at < last + 0.5).all(0)
            assert (labels[row, 0].numpy() == shown)[near].all()


@pytest.mark.parametrize("at_once", [1, 500, 1 << 24])
def test_a_patch_does_not_depend_on_the_others(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    blocks, matrices = some_blocks(rng, 9), some_matrices(rng, 9)
    bounds = some_bounds(rng, blocks)
    finishes = [FINISHES[row % 3] for row in range(9)]
    size = (9, 7, 11)
    whole = together(blocks, matrices, bounds, finishes, size)
    monkeypatch.setattr(device_sampling, "_VOXELS_AT_ONCE", at_once)
    again = together(blocks, matrices, bounds, finishes, size)
    for row in range(9):
        rows = slice(row, row + 1)
        alone = together(blocks[rows], matrices[rows], bounds[rows], finishes[rows], size)
        for of_whole, of_parts, of_one in zip(whole, again, alone, strict=True):
            assert np.array_equal(of_whole[row], of_one[0])
            assert np.array_equal(of_parts[row], of_one[0])


def test_whole_numbers_that_fall_on_voxels_stay_exact() -> None:
    block = np.arange(-3000, 3000, dtype=np.int16).reshape(10, 20, 30)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]])
    matrix[:3, 3] = 9, 0, 0
    bounds, finish = [Bounds.of(block.shape)], [Finish(1.0, -1024.0)]
    image, valid = together([block], matrix[None], bounds, finish, (30, 20, 10))
    assert valid.all()
    assert (image[0] == block[::-1].transpose(2, 1, 0).astype(np.float32) - 1024).all()
