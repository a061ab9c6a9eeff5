"""Fields of noise are the generator's, normal, white, and independent of each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import torch

from medssl import kernels
from medssl.augment.intensity.base import Views
from medssl.augment.intensity.compiled import noise_key, run

loops = kernels.library()
pytestmark = pytest.mark.skipif(loops is None, reason="the loops were not compiled here")

COUNT = 1 << 18


def normal(key: int, count: int = COUNT) -> npt.NDArray[np.float32]:
    field = np.empty(count, dtype=np.float32)
    assert loops is not None
    run(loops, "normal", field, count, key)
    return field


def words(key: int, first: int, count: int) -> npt.NDArray[np.uint32]:
    out = np.empty((count, 4), dtype=np.int32)
    assert loops is not None
    run(loops, "philox", out, count, key, first)
    return out.view(np.uint32)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as its paper writes it, with whole numbers."""
    for _ in range(10):
        p, q = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            (q >> 32) ^ counter[1] ^ key[0],
            q & 0xFFFFFFFF,
            (p >> 32) ^ counter[3] ^ key[1],
            p & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def test_the_generator_is_philox() -> None:
    # The known answer that the paper's authors publish with their code, Random123.
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    for key, first in ((0, 0), (0x1234_5678_9ABC_DEF0, 5), ((1 << 63) - 1, (1 << 32) - 2)):
        for row, got in enumerate(words(key, first, 4).tolist()):
            at = first + row
            expected = philox([at & 0xFFFFFFFF, at >> 32, 0, 0], [key & 0xFFFFFFFF, key >> 32])
            assert got == expected


def test_a_field_is_normal() -> None:
    field = normal(7).astype(float)
    assert abs(field.mean()) < 4 / np.sqrt(COUNT)
    assert field.var() == pytest.approx(1, abs=4 * np.sqrt(2 / COUNT))
    assert abs(scipy.stats.skew(field)) < 4 * np.sqrt(6 / COUNT)
    assert abs(scipy.stats.kurtosis(field)) < 4 * np.sqrt(24 / COUNT)
    assert scipy.stats.kstest(field, "norm").pvalue > 1e-3
    # The tails too: beyond 3.5 lie 4.65e-4.
    beyond = (np.abs(field) > 3.5).sum()
    assert abs(beyond - 4.65e-4 * COUNT) < 4 * np.sqrt(4.65e-4 * COUNT)


@pytest.mark.parametrize("lag", [1, 2, 16, 63, 64, 65, 128, 192, 256, 512, 96, 96 * 96])
def test_a_field_is_white(lag: int) -> None:
    field = normal(11).astype(float)
    a, b = field[:-lag], field[lag:]
    limit = 4.5 / np.sqrt(len(a))
    assert abs(np.corrcoef(a, b)[0, 1]) < limit
    assert abs(np.corrcoef(a**2, b**2)[0, 1]) < limit
    assert abs(np.corrcoef(a, b**2)[0, 1]) < limit


def test_fields_of_neighbouring_keys_have_nothing_in_common() -> None:
    fields = np.stack([normal(key) for key in (0, 1, 2, 1 << 32, (1 << 32) + 1, 1 << 62)])
    correlations = np.corrcoef(fields)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(COUNT)


def test_a_longer_field_begins_as_a_shorter_one() -> None:
    for count in (1, 63, 64, 255, 256, 257, 1000):
        np.testing.assert_array_equal(normal(3, count), normal(3, 2000)[:count])


def test_each_field_of_a_view_is_another() -> None:
    views = Views(
        torch.zeros(2, 1, 20, 20, 20), torch.zeros(2), [torch.Generator(), torch.Generator()]
    )
    views.noise[0].manual_seed(1)
    views.noise[1].manual_seed(2)
    fields = torch.cat([views.normal(), views.normal()]).flatten(1)
    assert (torch.corrcoef(fields) - torch.eye(4)).abs().max() < 0.05
    again = torch.Generator().manual_seed(1)
    assert noise_key(again) != noise_key(again)
