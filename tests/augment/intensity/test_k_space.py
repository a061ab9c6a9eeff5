"""Lines are numbered as the transform orders them; rows are grouped by device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.ghosting import Ghosting
from medssl.augment.intensity.k_space import at_a_time, line_numbers, magnitude, multiply
from medssl.augment.intensity.motion import Motion

from .test_every_transform import several


@pytest.mark.parametrize("size", [1, 2, 5, 8, 33])
def test_a_wave_of_each_line_number_falls_on_its_line(size: int) -> None:
    x = np.arange(size)
    for place, line in enumerate(line_numbers(size)):
        spectrum = np.fft.fft(np.exp(2j * np.pi * line * x / size))
        np.testing.assert_allclose(spectrum, size * (x == place), atol=1e-10)
        assert -size / 2 <= line < size / 2


def test_products_are_complex_products() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers, factor = (
        torch.randn(shape, dtype=torch.complex64, generator=generator)
        for shape in ((2, 1, 5, 6, 7), (2, 1, 5, 1, 7))
    )
    expected = numbers * factor
    multiply(numbers, factor)
    torch.testing.assert_close(numbers, expected)


def test_magnitude() -> None:
    numbers = torch.complex(torch.tensor([3.0, 0.0]), torch.tensor([-4.0, 0.0]))
    assert magnitude(numbers).tolist() == [5.0, 0.0]


def test_a_cpu_takes_one_row_and_others_take_all_that_are_alike() -> None:
    keys = [2, 0, 2, 1, 0]
    assert at_a_time(keys, torch.device("cpu")) == [[0], [1], [2], [3], [4]]
    assert at_a_time(keys, torch.device("meta")) == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize("transform", [Ghosting((2, 6), (0.05, 0.1)), Motion(3, 2.0, 4.0)])
def test_rows_done_together_are_the_rows_done_alone(
    transform: Ghosting | Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = transform.apply(*several(transform, 12))
    module = type(transform).__module__
    monkeypatch.setattr(
        f"{module}.at_a_time", lambda keys, _: at_a_time(keys, torch.device("meta"))
    )
    together = transform.apply(*several(transform, 12))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
