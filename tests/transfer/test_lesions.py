"""Lesions against flood fill and a search over every assignment, and where a mask is empty."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from medssl.transfer.lesions import count_lesions

SHAPE = (12, 12, 12)


def components(mask: np.ndarray) -> list[frozenset[tuple[int, ...]]]:
    """By flood fill over all 26 neighbours."""
    left = {tuple(map(int, index)) for index in np.argwhere(mask)}
    found = []
    while left:
        todo = [left.pop()]
        members = set(todo)
        while todo:
            at = todo.pop()
            near = {v for v in left if max(abs(a - b) for a, b in zip(v, at, strict=True)) <= 1}
            left -= near
            members |= near
            todo += near
        found.append(frozenset(members))
    return found


def most_matches(allowed: list[list[bool]]) -> int:
    """The largest number of rows that can each have a column of their own, by trying all."""

    @cache
    def best(row: int, taken: frozenset[int]) -> int:
        if row == len(allowed):
            return 0
        options = [best(row + 1, taken)]
        for column, fits in enumerate(allowed[row]):
            if fits and column not in taken:
                options.append(1 + best(row + 1, taken | {column}))
        return max(options)

    return best(0, frozenset())


def by_search(predicted: np.ndarray, reference: np.ndarray) -> tuple[int, int, int]:
    p, r = components(predicted), components(reference)
    allowed = [[len(a & b) / len(a | b) >= 0.1 for b in r] for a in p]
    found = most_matches(allowed)
    return found, len(p) - found, len(r) - found


@pytest.mark.parametrize("seed", range(12))
def test_a_search_over_every_assignment_finds_as_many(seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.8) for _ in range(2)]
    reference = smooth[0] > 0.28
    predicted = (smooth[0] + 0.6 * smooth[1]) > 0.34
    found = count_lesions(predicted, reference)
    assert found == by_search(predicted, reference)
    assert min(found) > 0


def cubes(*corners: int, size: int = 3) -> np.ndarray:
    mask = np.zeros((30, 6, 6), dtype=bool)
    for corner in corners:
        mask[corner : corner + size, :size, :size] = True
    return mask


def test_empty_masks_count_as_stated() -> None:
    empty, two = np.zeros((30, 6, 6), dtype=bool), cubes(0, 10)
    assert count_lesions(empty, empty) == (0, 0, 0)
    assert count_lesions(two, empty) == (0, 2, 0)
    assert count_lesions(empty, two) == (0, 0, 2)
    assert count_lesions(two, two) == (2, 0, 0)


def test_one_prediction_over_two_lesions_finds_one_of_them() -> None:
    reference, predicted = cubes(0, 4), cubes(0, 4)
    predicted[:7, :3, :3] = True
    assert count_lesions(predicted, reference) == (1, 0, 1)
    assert count_lesions(reference, predicted) == (1, 1, 0)


def test_overlap_below_a_tenth_does_not_find() -> None:
    reference, predicted = np.zeros((2, 30, 6, 6), dtype=bool)
    reference[:10, 0, 0] = True
    predicted[9:10, 0, 0] = True  # one voxel of ten: IoU 0.1
    assert count_lesions(predicted, reference) == (1, 0, 0)
    predicted[10, 0, 0] = True  # one of eleven
    assert count_lesions(predicted, reference) == (0, 1, 1)


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True
    assert count_lesions(mask, mask) == (1, 0, 0)


def test_each_lesion_is_matched_so_that_most_are_found() -> None:
    # The long prediction overlaps both lesions, the short one the first alone.
    reference, predicted = np.zeros((2, 30, 6, 6), dtype=bool)
    reference[0:8, 0, 0] = reference[9:14, 0, 0] = True
    predicted[0:2, 0, 0] = predicted[3:14, 0, 0] = True
    assert count_lesions(predicted, reference) == (2, 0, 0)
