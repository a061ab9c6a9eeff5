"""Classes on a scan's own grid do not depend on how the network's answer is cut into slabs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from medssl.transfer.own_grid import classes_on_own_grid

SHAPE = (13, 17, 11)


def smooth(shape: tuple[int, int, int], classes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    maps = [ndimage.gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(classes)]
    return np.stack(maps).astype(np.float32)


def cut(probabilities: np.ndarray, axis: int, edges: list[int]) -> list[tuple[int, np.ndarray]]:
    return [
        (start, probabilities.take(range(start, stop), axis=axis + 1))
        for start, stop in itertools.pairwise(edges)
    ]


def all_at_once(probabilities: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    own = [
        ndimage.affine_transform(
            p, np.linalg.inv(matrix), output_shape=SHAPE, order=1, mode="nearest"
        )
        for p in probabilities
    ]
    return np.argmax(own, axis=0)


def maps() -> dict[str, np.ndarray]:
    """Index on the network's grid to index of the scan's voxel."""
    permuted = np.zeros((4, 4))
    permuted[[0, 1, 2, 3], [2, 0, 1, 3]] = 1
    flipped = np.diag([-1.0, 1, -1, 1])
    flipped[:3, 3] = (SHAPE[0] - 1, 0, SHAPE[2] - 1)
    coarse = np.diag([0.7, 1.3, 0.9, 1])
    coarse[:3, 3] = (0.2, -0.3, 0.1)
    sheared = coarse.copy()
    sheared[0, 1], sheared[2, 0] = 0.25, -0.2
    turned = sheared @ permuted
    return {
        "same": np.eye(4),
        "permuted": permuted,
        "flipped": flipped,
        "coarse": coarse,
        "sheared": sheared,
        "turned": turned,
        "far": np.diag([0.3, 0.3, 0.3, 1.0]),  # the scan reaches beyond the network's grid
    }


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(maps()))
@pytest.mark.parametrize("step", [1, 4, 100])
def test_slabs_give_what_the_whole_gives(name: str, axis: int, step: int) -> None:
    matrix = maps()[name]
    probabilities = smooth((22, 19, 24), 3, seed=axis)
    edges = [*range(0, probabilities.shape[axis + 1], step), probabilities.shape[axis + 1]]
    found = classes_on_own_grid(cut(probabilities, axis, edges), axis, matrix, SHAPE)
    assert found.dtype == np.uint8
    expected = all_at_once(probabilities, matrix)
    assert len(np.unique(expected)) == 3
    np.testing.assert_array_equal(found, expected)


def test_of_equal_classes_the_first_counts() -> None:
    same = np.ones((3, 4, 4, 4), dtype=np.float32)
    for matrix in (np.eye(4), np.diag([0.5, 0.5, 0.5, 1.0])):
        assert not classes_on_own_grid([(0, same)], 0, matrix, (4, 4, 4)).any()


def test_many_classes_fit_into_the_answer() -> None:
    probabilities = np.zeros((300, 2, 2, 2), dtype=np.float32)
    probabilities[299] = 1
    found = classes_on_own_grid([(0, probabilities)], 0, np.eye(4), (2, 2, 2))
    assert (found == 299).all()
