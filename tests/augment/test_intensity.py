"""Each transform against the physics that it stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.augment.intensity.base import Draw, IntensityTransform
from medssl.augment.intensity.bias_field import BiasField, bias_exponent
from medssl.augment.intensity.blur import Blur
from medssl.augment.intensity.brightness import Brightness
from medssl.augment.intensity.calibration import HounsfieldCalibration
from medssl.augment.intensity.count_noise import CountNoise
from medssl.augment.intensity.gamma import Gamma
from medssl.augment.intensity.gaussian_noise import GaussianNoise
from medssl.augment.intensity.gibbs import GibbsRinging, truncated
from medssl.augment.intensity.histogram_shift import HistogramShift
from medssl.augment.intensity.low_resolution import LowResolution
from medssl.augment.intensity.rician_noise import RicianNoise
from medssl.augment.intensity.sharpen import Sharpen
from medssl.augment.intensity.smoothing import smooth
from medssl.augment.intensity.uptake_scale import UptakeScale
from medssl.augment.intensity.window import WindowJitter

ALL: list[IntensityTransform] = [
    HounsfieldCalibration(20, 0.03),
    UptakeScale(1.15),
    GaussianNoise(0.02, 0.1),
    RicianNoise(0.02, 0.2),
    CountNoise(5, 100),
    Blur(0.4, 1.0),
    Sharpen(1.0),
    WindowJitter(0.15, 0.4),
    LowResolution(3.0),
    Gamma(1.5),
    HistogramShift(6, 0.4),
    BiasField(0.2),
    GibbsRinging(0.5),
    Brightness(1.15),
]


def draw(seed: int = 0, strength: float = 1.0, background: float = -1.0) -> Draw:
    noise = torch.Generator().manual_seed(seed)
    return Draw(np.random.default_rng(seed), noise, strength, background)


def scene(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(shape or (1, 18, 16, 14), generator=generator) * 1.5 - 0.8


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_every_transform_is_a_function_of_its_draw(transform: IntensityTransform) -> None:
    image = scene()
    before = image.clone()
    once, again, other = (transform(image, draw(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(image, before), "the input is left as it was"
    assert once.shape == image.shape
    assert once.dtype == torch.float32
    assert torch.isfinite(once).all()


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 40, 3)])
def test_every_transform_takes_thin_patches(
    transform: IntensityTransform, shape: tuple[int, ...]
) -> None:
    for seed in range(6):
        assert torch.isfinite(transform(scene(*shape), draw(seed, strength=2.0))).all()


@pytest.mark.parametrize(
    "transform",
    [
        Gamma(1.5),
        HistogramShift(6, 0.4),
        BiasField(0.3),
        Brightness(1.3),
        HounsfieldCalibration(0, 0.1),
    ],
)
def test_air_stays_air_where_only_the_signal_changes(transform: IntensityTransform) -> None:
    image = scene()
    image[:, :5] = -1.0
    changed = transform(image, draw())
    torch.testing.assert_close(changed[:, :5], image[:, :5])
    assert not torch.allclose(changed[:, 5:], image[:, 5:], atol=1e-3)


@pytest.mark.parametrize("transform", [Gamma(1.5), HistogramShift(6, 0.4), Brightness(1.3)])
def test_a_change_of_contrast_keeps_the_order_of_grey_values(transform: IntensityTransform) -> None:
    rising = torch.linspace(-1, 2, 500).view(1, 1, 1, 500)
    for seed in range(20):
        changed = transform(rising, draw(seed, strength=2.0)).flatten()
        assert (changed.diff() >= -1e-6).all()


@pytest.mark.parametrize("transform", [Gamma(1.5), HistogramShift(6, 0.4)])
def test_a_change_of_contrast_keeps_both_ends(transform: IntensityTransform) -> None:
    rising = torch.linspace(-1, 2, 500).view(1, 1, 1, 500)
    changed = transform(rising, draw(4)).flatten()
    torch.testing.assert_close(changed[[0, -1]], torch.tensor([-1.0, 2.0]))


def test_calibration_moves_water_by_its_offset_and_slope() -> None:
    transform = HounsfieldCalibration(offset_hu=20, slope=0.03)
    hu = torch.tensor([-1000.0, 0.0, 1000.0]).view(1, 1, 1, 3) / 1000
    for seed in range(50):
        air, water, bone = (transform(hu, draw(seed)) * 1000).flatten().tolist()
        assert abs(air + 1000) <= 20.001
        assert abs(water) <= 50.001
        assert (bone - water) == pytest.approx(water - air, abs=1e-2)


def test_uptake_is_scaled_in_suv() -> None:
    image = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3)
    suv = UptakeScale(1.15)(image, draw(5, background=0)).square().flatten()
    factor = suv[1].item()
    assert 1 / 1.15 <= factor <= 1.15
    torch.testing.assert_close(suv, factor * torch.tensor([0.0, 1.0, 4.0]))


def test_gaussian_noise_has_the_deviation_drawn_and_no_mean() -> None:
    added = GaussianNoise(0.05, 0.05)(torch.zeros(1, 40, 40, 40), draw())
    assert added.mean().abs() < 1e-3
    assert added.std().item() == pytest.approx(0.05, rel=0.01)
    lag = (added[..., 1:] * added[..., :-1]).mean() / added.var()
    assert lag.abs() < 0.02, "white"


def test_noise_without_signal_is_rayleigh_and_with_much_signal_normal() -> None:
    sigma = 0.1
    nothing = RicianNoise(sigma, sigma)(torch.full((1, 40, 40, 40), -1.0), draw()) + 1
    assert nothing.mean().item() == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.01)
    assert nothing.var().item() == pytest.approx((2 - math.pi / 2) * sigma**2, rel=0.02)
    much = RicianNoise(sigma, sigma)(torch.full((1, 40, 40, 40), 2.0), draw()) + 1
    assert much.std().item() == pytest.approx(sigma, rel=0.02)
    # Gudbjartsson, Patz 1995: E = sqrt(A^2 + sigma^2) for A >> sigma.
    assert much.mean().item() == pytest.approx(math.sqrt(9 + sigma**2), abs=1e-3)


def test_counting_noise_keeps_the_mean_and_its_variance_follows_it() -> None:
    transform = CountNoise(20, 20)
    for suv in (0.5, 2.0, 8.0):
        image = torch.full((1, 40, 40, 40), math.sqrt(suv))
        noisy = transform(image, draw(background=0)).square()
        assert noisy.mean().item() == pytest.approx(suv, rel=0.01)
        assert noisy.var().item() == pytest.approx(suv / 20, rel=0.03)


def test_smoothing_is_a_gaussian_that_keeps_sums_and_constants() -> None:
    point = torch.zeros(1, 25, 25, 25)
    point[0, 12, 12, 12] = 1.0
    spread = smooth(point, 1.3)
    assert spread.sum().item() == pytest.approx(1.0, abs=1e-5)
    at = torch.arange(25.0) - 12
    for axis in range(3):
        profile = spread[0].sum(dim=[a for a in range(3) if a != axis])
        # Cut off at 4 voxels, a Gaussian of 1.3 keeps 99 % of its variance.
        assert (profile * at**2).sum().item() == pytest.approx(1.3**2, rel=0.03)
    torch.testing.assert_close(
        smooth(torch.full((1, 5, 6, 7), 3.0), 0.7), torch.full((1, 5, 6, 7), 3.0)
    )
    one_axis = smooth(point, 1.0, (1,))
    assert (one_axis[0, 12, :, 12] > 0).sum() == 7
    assert (one_axis > 0).sum() == 7


def test_sharpening_lifts_high_frequencies_and_keeps_the_mean() -> None:
    image = scene()
    sharp = Sharpen(1.0)(image, draw(2))
    assert sharp.std() > image.std()
    assert sharp.mean().item() == pytest.approx(image.mean().item(), abs=0.01)
    flat = torch.full((1, 6, 6, 6), 0.3)
    torch.testing.assert_close(Sharpen(1.0)(flat, draw(2)), flat)


def test_a_window_clips_and_fills_the_range() -> None:
    ramp = torch.linspace(-1, 1, 201).view(1, 1, 1, 201)
    seen = WindowJitter(0.15, 0.4)(ramp, draw(1)).flatten()
    assert (seen[0].item(), seen[-1].item()) == pytest.approx((-1, 1))
    inner = (seen > -1) & (seen < 1)
    slopes = seen[inner].diff() * 100
    assert 1 < slopes[0] < 2 / (2 - 0.55) + 0.01
    torch.testing.assert_close(slopes, slopes[0].expand_as(slopes), rtol=1e-3, atol=1e-3)


def test_low_resolution_averages_along_one_axis_alone() -> None:
    image = scene(1, 24, 20, 18)
    coarse = LowResolution(3.0, axes=(2,))(image, draw(3))
    assert coarse.mean().item() == pytest.approx(image.mean().item(), abs=0.01)
    steps = coarse.diff(dim=3).square().mean() / image.diff(dim=3).square().mean()
    assert steps < 0.3
    across = torch.arange(20.0).view(1, 1, 20, 1).expand(1, 24, 20, 18).contiguous()
    torch.testing.assert_close(LowResolution(3.0, axes=(2,))(across, draw(3)), across)


def test_low_resolution_keeps_a_ramp_inside() -> None:
    ramp = torch.arange(30.0).view(1, 1, 1, 30)
    coarse = LowResolution(3.0, axes=(2,))(ramp, draw(6))
    # A voxel cut by an edge counts in part, which moves a mean by less than a tenth of a voxel.
    torch.testing.assert_close(coarse[..., 3:-3], ramp[..., 3:-3], atol=0.1, rtol=0)


def test_a_bias_field_is_smooth_positive_and_even_on_the_mean() -> None:
    image = torch.full((1, 32, 32, 32), 1.0)
    logs = []
    for seed in range(20):
        field = (BiasField(0.2)(image, draw(seed)) + 1) / 2
        assert (field > 0).all()
        logs.append(field.log().mean().item())
        spectrum = torch.fft.fftn(field.log()[0] * _hann(32)).abs()
        low = spectrum[:4, :4, :4].max()
        assert spectrum[8:24, 8:24, 8:24].max() < 1e-3 * low
    assert abs(np.mean(logs)) < 0.03
    assert np.std(logs) < 0.05


def test_a_bias_field_is_the_polynomial_it_says() -> None:
    rng = np.random.default_rng(0)
    c = torch.from_numpy(rng.normal(size=(4, 4, 4)))
    field = bias_exponent(c, torch.zeros(1, 5, 6, 7, dtype=torch.float64))
    t = [(np.arange(n) + 0.5) * 2 / n - 1 for n in (5, 6, 7)]
    expected = np.zeros((5, 6, 7))
    for i in range(4):
        for j in range(4):
            for k in range(4):
                if 1 <= i + j + k <= 3:
                    factors = [
                        np.polynomial.legendre.legval(x, np.eye(4)[n])
                        for x, n in zip(t, (i, j, k), strict=True)
                    ]
                    expected += float(c[i, j, k]) * np.einsum("a,b,c->abc", *factors)
    np.testing.assert_allclose(field.numpy(), expected, atol=1e-12)


def test_truncation_leaves_no_high_frequency_and_rings_at_an_edge() -> None:
    step = torch.zeros(1, 4, 4, 64)
    step[..., 16:48] = 1.0
    rung = truncated(step, 3, 0.5)
    spectrum = torch.fft.rfft(rung, dim=3).abs()
    assert spectrum[..., 17:].max() < 1e-4
    torch.testing.assert_close(
        torch.fft.rfft(step, dim=3)[..., :17], torch.fft.rfft(rung, dim=3)[..., :17]
    )
    # The overshoot of a truncated Fourier series is 9 % of the step, whatever the cut.
    assert 1.05 < rung.max().item() < 1.13
    assert truncated(step, 3, 1.0).allclose(step, atol=1e-5)


def _hann(n: int) -> Tensor:
    w = torch.hann_window(n)
    return w[:, None, None] * w[None, :, None] * w[None, None, :]
