"""The error of a window against a loop over voxels and masks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from medssl.anomaly.masked_error import masked_error, passes
from medssl.augment.masks import deal_token_masks
from medssl.augment.rng import Stream, generator


def mean_of_visible(image: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    seen = (~hidden).float()
    mean = (image * seen).sum(dim=(2, 3, 4), keepdim=True) / seen.sum(dim=(2, 3, 4), keepdim=True)
    return mean.expand_as(image)


@pytest.mark.parametrize(("ratio", "repeats"), [(0.75, 1), (0.25, 2), (0.5, 3)])
def test_it_is_a_naive_loop_over_the_masks_that_hide_a_voxel(oracle, ratio, repeats) -> None:
    method = oracle(mean_of_visible, ratio)
    images = torch.randn(2, 1, 8, 8, 8)
    inside = torch.ones_like(images, dtype=torch.bool)
    inside[0, 0, 5:] = False
    windows = [11, 4]
    found = masked_error(method, images, inside, windows, repeats)
    cubes = list(product(range(2), repeat=3))
    for b, window in enumerate(windows):
        image = images[b, 0].double().numpy()
        body = torch.ones(2, 2, 2, dtype=torch.bool)  # each cube shows some
        expected = [[] for _ in cubes]  # of each cube: the answers of the masks that hide it
        for repeat in range(repeats):
            rng = generator(0, repeat, window, Stream.MASK)
            for mask in deal_token_masks(rng, (2, 2, 2), ratio, body).tolist():
                seen = [
                    image[4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 4 * k : 4 * k + 4]
                    for (i, j, k), hides in zip(cubes, mask, strict=True)
                    if not hides
                ]
                for place, hides in enumerate(mask):
                    if hides:
                        expected[place].append(float(np.mean(seen)))
        assert len({len(answers) for answers in expected}) == 1
        for i, j, k in product(range(8), repeat=3):
            if not inside[b, 0, i, j, k]:
                assert found[b, 0, i, j, k] == 0
                continue
            answers = expected[i // 4 * 4 + j // 4 * 2 + k // 4]
            distance = np.mean([abs(image[i, j, k] - answer) for answer in answers])
            assert found[b, 0, i, j, k].item() == pytest.approx(distance, abs=1e-5)


def test_who_knows_the_truth_errs_nowhere(oracle) -> None:
    image = torch.randn(1, 1, 8, 8, 8)
    inside = torch.ones_like(image, dtype=torch.bool)
    assert not masked_error(oracle(lambda seen, _: seen), image, inside, [0]).any()


def test_passes_are_the_answers_that_are_asked_for(oracle) -> None:
    asked = []

    def rule(image: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        asked.append(hidden)
        return image

    for ratio in (0.75, 0.3):
        asked.clear()
        method = oracle(rule, ratio)
        image = torch.zeros(3, 1, 8, 8, 8)
        masked_error(method, image, torch.ones_like(image, dtype=torch.bool), [0, 1, 2], 2)
        assert len(asked) == passes(method, 2)
        times = sum(hidden.int() for hidden in asked)
        assert times.unique().numel() == 1
