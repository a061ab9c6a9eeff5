"""A spike is one point of k-space: one plane wave over the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medssl.augment.intensity.base import Views
from medssl.augment.intensity.spike import Spike


def spiked(image: Tensor, frequency: tuple[float, ...], phase: float, amplitude: float) -> Tensor:
    """(D, H, W) signal above a background of -1, with a spike."""
    views = Views(image[None, None] - 1, torch.tensor([-1.0]), [torch.Generator()])
    drawn = {"frequency": np.array(frequency), "phase": phase, "amplitude": amplitude}
    return Spike((0.0, 0.5), (0.0, 1.0)).apply(views, [drawn])[0, 0] + 1


def test_on_a_bright_object_it_is_one_wave_of_the_amplitude_set() -> None:
    size, points, amplitude = (12, 16, 20), (3, -5, 4), 0.01
    bright = torch.full(size, 5.0)
    frequency = tuple(k / n for k, n in zip(points, size, strict=True))
    change = spiked(bright, frequency, 0.7, amplitude) - bright
    spectrum = torch.fft.fftn(change) / change.numel()
    peak = spectrum[points]
    assert 2 * peak.abs().item() == pytest.approx(amplitude, rel=1e-3)
    assert peak.angle().item() == pytest.approx(0.7, abs=1e-3)
    spectrum[points] = spectrum[tuple(-k for k in points)] = 0.0
    # what is left is the curvature of the magnitude, amplitude^2 / signal
    assert spectrum.abs().max() < amplitude**2 / 5.0


def test_without_signal_it_lifts_the_image_by_its_amplitude() -> None:
    seen = spiked(torch.zeros(6, 7, 8), (0.3, 0.1, 0.2), 1.0, 0.25)
    torch.testing.assert_close(seen, torch.full_like(seen, 0.25), atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.sampled_from([1, 2, 5, 7, 12, 33])] * 3),
    seed=st.integers(0, 99),
)
def test_it_is_one_point_of_k_space(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 3, shape)
    frequency = rng.uniform(-0.5, 0.5, 3)
    spectrum = np.fft.fftn(image)
    point = tuple(round(f * n) % n for f, n in zip(frequency, shape, strict=True))
    spectrum[point] += 0.3 * np.exp(2j) * image.size
    seen = spiked(torch.from_numpy(image.astype(np.float32)), tuple(frequency), 2.0, 0.3)
    np.testing.assert_allclose(seen.numpy(), np.abs(np.fft.ifftn(spectrum)), atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_what_is_drawn_stays_in_its_ranges(strength: float) -> None:
    transform = Spike((0.05, 0.45), (0.1, 0.4))
    drawn = [transform.draw(np.random.default_rng(s), strength) for s in range(300)]
    length = np.array([np.linalg.norm(one["frequency"]) for one in drawn])
    assert 0.05 <= length.min() < 0.07
    assert 0.43 < length.max() <= 0.45
    amplitude = np.array([one["amplitude"] for one in drawn])
    assert amplitude.min() >= 0.1
    assert 0.1 + 0.285 * strength <= amplitude.max() <= 0.1 + 0.3 * strength + 1e-12
    towards = np.mean([one["frequency"] / np.linalg.norm(one["frequency"]) for one in drawn], 0)
    assert np.abs(towards).max() < 0.12, "any direction"
