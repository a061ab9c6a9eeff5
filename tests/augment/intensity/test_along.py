"""The three ways to multiply with a matrix along an axis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.along import _diagonals, along, gaussian
from medssl.augment.intensity.gibbs import truncated, truncation

from .conftest import scene


def band(size: int, reach: int, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    """Random weights up to `reach` from the diagonal, more below it than above."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(size, size)).astype(np.float32)
    return np.ascontiguousarray(np.tril(np.triu(matrix, -reach), reach // 2))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(5, 7, 70), (66, 3, 5), (2, 33, 16), (1, 1, 1), (9, 1, 2)])
@pytest.mark.usefixtures("computed_both_ways")
def test_every_line_is_multiplied(shape: tuple[int, int, int], axis: int) -> None:
    image = scene(3, 2, *shape)
    matrices = [band(shape[axis], reach, reach) for reach in (0, 2, 100)]
    expected = np.stack(
        [
            np.moveaxis(
                np.tensordot(matrix.astype(float), view.numpy(), ([1], [axis + 1])), 0, axis + 1
            )
            for matrix, view in zip(matrices, image, strict=True)
        ]
    )
    got = along(image.clone(), matrices, [axis] * 3)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    diagonals = _diagonals(image, matrices, axis)  # what other devices do
    np.testing.assert_allclose(diagonals, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("computed_both_ways")
def test_each_view_has_its_own_axis() -> None:
    image = scene(3, 1, 6, 6, 6)
    matrices = [band(6, 2, seed) for seed in range(3)]
    together = along(image.clone(), matrices, [2, 0, 1])
    for row, axis in enumerate((2, 0, 1)):
        alone = along(image[row : row + 1].clone(), [matrices[row]], [axis])
        assert torch.equal(alone[0], together[row])


def test_what_a_view_becomes_does_not_depend_on_wider_bands_beside_it() -> None:
    image = scene(2, 1, 9, 9, 9)
    narrow, wide = gaussian(9, 0.5, 2), gaussian(9, 2.0, 6)
    together = _diagonals(image, [narrow, wide], 1)
    assert torch.equal(together[:1], _diagonals(image[:1], [narrow], 1))


@pytest.mark.parametrize("size", [1, 2, 31, 32])
@pytest.mark.parametrize("kept", [0.2, 0.61, 1.0])
def test_truncation_by_transforms_is_truncation_by_a_matrix(size: int, kept: float) -> None:
    image = scene(2, 1, 3, size, 4)
    by_matrix = along(image.clone(), [truncation(size, kept)] * 2, [1, 1])
    torch.testing.assert_close(truncated(image, 1, [kept] * 2), by_matrix, rtol=1e-5, atol=1e-5)
