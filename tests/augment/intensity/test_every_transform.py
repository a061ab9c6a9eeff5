"""What all transforms of all policies have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl import kernels
from medssl.augment.intensity.base import Transform, Views
from medssl.augment.intensity.count_noise import CountNoise
from medssl.augment.intensity.gaussian_noise import GaussianNoise
from medssl.augment.intensity.rician_noise import RicianNoise
from medssl.augment.policies import POLICIES

from .conftest import change, scene

STEPS = [transform for policy in POLICIES.values() for _, transform in policy.steps]
ALL = list({type(transform): transform for transform in STEPS}.values())
RANDOM = (GaussianNoise, RicianNoise, CountNoise)
DETERMINISTIC = [transform for transform in ALL if not isinstance(transform, RANDOM)]


def name(transform: object) -> str:
    return type(transform).__name__


def several(transform: Transform, count: int = 5) -> tuple[Views, list[dict[str, object]]]:
    """Views that differ in all, background too, and what was drawn for each."""
    image = torch.stack([scene(2, 13, 18, 21) * (1 + 0.2 * row) for row in range(count)])
    image[:, :, :3] = -1.3
    background = torch.linspace(-1.3, -0.9, count)
    drawn = [transform.draw(np.random.default_rng(row), 1.5) for row in range(count)]
    noise = [torch.Generator().manual_seed(row) for row in range(count)]
    return Views(image, background, noise), drawn


@pytest.mark.parametrize("transform", ALL, ids=name)
@pytest.mark.usefixtures("computed_both_ways")
def test_a_view_is_a_function_of_what_was_drawn(transform: Transform) -> None:
    image = scene()
    before = image.clone()
    once, again, other = (change(transform, image, seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(image, before), "the input is left as it was"
    assert once.shape == image.shape
    assert once.dtype == torch.float32
    assert torch.isfinite(once).all()


@pytest.mark.parametrize("transform", ALL, ids=name)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 40, 3), (2, 3, 5, 33)])
@pytest.mark.usefixtures("computed_both_ways")
def test_thin_patches(transform: Transform, shape: tuple[int, ...]) -> None:
    for seed in range(6):
        changed = change(transform, scene(*shape), seed, strength=2.0)
        assert changed.shape == shape
        assert torch.isfinite(changed).all()


@pytest.mark.parametrize("transform", ALL, ids=name)
@pytest.mark.usefixtures("computed_both_ways")
def test_views_together_are_the_views_alone(transform: Transform) -> None:
    views, drawn = several(transform)
    alone = []
    for row, one in enumerate(drawn):
        part = slice(row, row + 1)
        noise = [torch.Generator().manual_seed(row)]
        single = Views(views.image[part].clone(), views.background[part], noise)
        alone.append(transform.apply(single, [one]))
    together = transform.apply(views, drawn)
    if kernels.library() is not None:
        assert torch.equal(together, torch.cat(alone))
    else:  # the last bits of array code on the CPU depend on how it splits its loops
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("transform", DETERMINISTIC, ids=name)
@pytest.mark.skipif(kernels.library() is None, reason="the loops were not compiled here")
def test_loops_agree_with_array_code(transform: Transform) -> None:
    views, drawn = several(transform)
    fast = transform.apply(Views(views.image.clone(), views.background, views.noise), drawn)
    with kernels.disabled():
        slow = transform.apply(views, drawn)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("transform", ALL, ids=name)
def test_nothing_is_read_back_from_the_device(transform: Transform) -> None:
    """On the meta device there are no values: reading one, which makes a GPU wait, fails."""
    views, drawn = several(transform)
    elsewhere = Views(views.image.to("meta"), views.background.to("meta"), views.noise)
    assert transform.apply(elsewhere, drawn).shape == views.image.shape


@pytest.mark.parametrize("transform", ALL, ids=name)
def test_parameters_can_be_printed(transform: Transform) -> None:
    for one in (transform.draw(np.random.default_rng(seed), 1.0) for seed in range(20)):
        assert all(isinstance(value, float | int | np.ndarray) for value in one.values()), one
        assert all(key.isidentifier() for key in one)
