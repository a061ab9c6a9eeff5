"""Which intensity transforms fit which modality, and how often; what runs them on a batch.

A policy is a list of steps in the order in which a scanner would apply them, each with the
probability that a view gets it. All that is drawn for a view, which steps and with which numbers,
comes from a generator on the CPU, so that it is the same on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.intensity.base import Parameters, Transform, Views
from medssl.augment.intensity.bias_field import BiasField
from medssl.augment.intensity.blur import Blur
from medssl.augment.intensity.bounds import held_to_range
from medssl.augment.intensity.brightness import Brightness
from medssl.augment.intensity.calibration import HounsfieldCalibration
from medssl.augment.intensity.compiled import copy_of
from medssl.augment.intensity.count_noise import CountNoise
from medssl.augment.intensity.cut_out import CutOut
from medssl.augment.intensity.device import on_device
from medssl.augment.intensity.gamma import Gamma
from medssl.augment.intensity.gaussian_noise import GaussianNoise
from medssl.augment.intensity.ghosting import Ghosting
from medssl.augment.intensity.gibbs import GibbsRinging
from medssl.augment.intensity.histogram_shift import HistogramShift
from medssl.augment.intensity.low_resolution import LowResolution
from medssl.augment.intensity.metal_streaks import MetalStreaks
from medssl.augment.intensity.motion import Motion
from medssl.augment.intensity.rician_noise import RicianNoise
from medssl.augment.intensity.sharpen import Sharpen
from medssl.augment.intensity.spike import Spike
from medssl.augment.intensity.uptake_scale import UptakeScale
from medssl.augment.intensity.window import WindowJitter
from medssl.augment.normalise import SUV_MAX
from medssl.augment.rng import Stream, generator
from medssl.volume import Modality


@dataclass(frozen=True)
class Policy:
    """Steps of (probability, transform), and the highest value that the normalised image takes."""

    steps: tuple[tuple[float, Transform], ...]
    highest: float | None = None


POLICIES: dict[Modality, Policy] = {
    # Normalised: 1 is 1000 HU.
    "CT": Policy(
        steps=(
            (0.3, HounsfieldCalibration(offset_hu=20.0, slope=0.03)),
            (0.05, MetalStreaks()),
            (0.2, Blur(0.4, 1.0, axes=(0, 1))),
            (0.15, Sharpen(1.0)),
            (0.2, LowResolution(3.0, axes=(2,))),
            (0.2, GaussianNoise(0.005, 0.05)),
            (0.2, WindowJitter(low=0.15, high=0.4)),
            (0.1, CutOut(boxes=3, share=(0.02, 0.15))),
        ),
        highest=1.0,
    ),
    # Normalised: 1 is a standard deviation of the foreground.
    "MR": Policy(
        steps=(
            (0.2, HistogramShift(points=6, most=0.4)),
            (0.3, Gamma(1.5)),
            (0.2, BiasField(0.2)),
            (0.15, Blur(0.4, 1.0)),
            (0.2, LowResolution(2.5)),
            (0.05, Motion(movements=3, shift=2.0, turn_deg=3.0)),
            (0.05, Ghosting(ghosts=(2, 8), intensity=(0.02, 0.08))),
            (0.15, GibbsRinging(0.5)),
            (0.03, Spike(frequency=(0.05, 0.45), amplitude=(0.1, 0.4))),
            (0.2, RicianNoise(0.02, 0.12)),
            (0.1, CutOut(boxes=3, share=(0.02, 0.15))),
        ),
    ),
    # Normalised: the square root of SUV.
    "PT": Policy(
        steps=(
            (0.3, UptakeScale(1.15)),
            (0.2, Blur(0.4, 1.0)),
            (0.3, CountNoise(20.0, 200.0)),
            (0.1, CutOut(boxes=3, share=(0.02, 0.15))),
        ),
        highest=SUV_MAX**0.5,
    ),
    "OT": Policy(
        steps=(
            (0.2, Gamma(1.25)),
            (0.2, Brightness(1.15)),
            (0.15, GaussianNoise(0.01, 0.1)),
            (0.1, CutOut(boxes=3, share=(0.02, 0.15))),
        ),
    ),
}


Steps = list[tuple[Transform, Parameters]]


def draw_steps(policy: Policy, rng: np.random.Generator, strength: float) -> Steps:
    """The steps that one view gets, in order, each with the parameters drawn for it.

    With rng = generator(seed, step, index, Stream.INTENSITY + 16 * view) they are those that
    `augment_intensities` takes.
    """
    drawn = _draw(policy, rng, strength)
    steps = zip(policy.steps, drawn, strict=True)
    return [(transform, one) for (_, transform), one in steps if one is not None]


def apply_steps(image: Tensor, steps: Steps, background: float, noise_seed: int) -> Tensor:
    """One view (C, D, H, W) after the steps given, a new tensor; nothing is clipped."""
    noise = torch.Generator(device=image.device).manual_seed(noise_seed)
    floor = torch.tensor([background], device=image.device)
    changed = copy_of(image[None])
    for transform, parameters in steps:
        changed = transform.apply(Views(changed, floor, [noise]), [parameters])
    return changed[0]


def augment_intensities(
    batch: Batch, step: int, seed: int, strength: float, first_view: int = 0
) -> Batch:
    """As `augment_in_place`, on a copy."""
    copied = {**batch, "image": copy_of(batch["image"])}
    augment_in_place(copied, step, seed, strength, first_view)
    return copied


def augment_in_place(
    batch: Batch, step: int, seed: int, strength: float, first_view: int = 0
) -> None:
    """Change the values of each view by the policy of its scan; for any batch size.

    Every view has its own randomness, keyed by (seed, step, place in the global batch, view), and
    what it becomes depends on nothing else in the batch. Outside the scan the image stays
    background. On the CPU views are changed one after the other, on other devices together. Fields
    of noise are drawn where the image is: a GPU's are others of the same distribution, and so are
    those of array code where no loops are compiled.

    Args:
        first_view: number of the first view in "image" among all views of its volume.
    """
    num_views = batch["image"].shape[1]
    image = batch["image"].flatten(0, 1)
    assert image.data_ptr() == batch["image"].data_ptr(), "a view's voxels lie apart"
    valid = batch["valid"].flatten(0, 1)
    background = _of_views(batch["background"], num_views)
    index = batch["index"].tolist()
    groups: dict[Modality, list[_Drawn]] = {}
    for row, code in enumerate(_of_views(batch["policy"], num_views).tolist()):
        name = MODALITIES[code]
        view = first_view + row % num_views
        rng = generator(seed, step, index[row // num_views], Stream.INTENSITY + 16 * view)
        drawn = _draw(POLICIES[name], rng, strength)
        if any(one is not None for one in drawn):
            noise = torch.Generator(device=image.device).manual_seed(int(rng.integers(1 << 63)))
            groups.setdefault(name, []).append(_Drawn(row, drawn, noise))
    for name, views in groups.items():
        for together in [[view] for view in views] if _one_by_one(image.device) else [views]:
            _run(POLICIES[name], together, image, valid, background)


@dataclass(frozen=True)
class _Drawn:
    """What was drawn for the view at `row`: parameters, or None, for each of the policy's steps."""

    row: int
    steps: list[Parameters | None]
    noise: torch.Generator


def _of_views(numbers: Tensor, num_views: int) -> Tensor:
    """(B * V,) of numbers that a sample's views share, (B,), or that each has, (B, V)."""
    return numbers.repeat_interleave(num_views) if numbers.ndim == 1 else numbers.flatten()


def _one_by_one(device: torch.device) -> bool:
    """A CPU keeps a view in its cache from step to step; other devices want much at a time."""
    return device.type == "cpu"


def _draw(policy: Policy, rng: np.random.Generator, strength: float) -> list[Parameters | None]:
    chosen = rng.random(len(policy.steps))
    return [
        transform.draw(rng, strength) if u < probability else None
        for u, (probability, transform) in zip(chosen, policy.steps, strict=True)
    ]


def _run(
    policy: Policy, views: Sequence[_Drawn], image: Tensor, valid: Tensor, background: Tensor
) -> None:
    """Change rows of (N, C, D, H, W) in place, step by step, then put them back in bounds."""
    for number, (_, transform) in enumerate(policy.steps):
        chosen = [view for view in views if view.steps[number] is not None]
        if chosen:
            rows = _rows(chosen, image)
            part = Views(image[rows], background[rows], [view.noise for view in chosen])
            drawn = [one for view in chosen if (one := view.steps[number]) is not None]
            _put(image, rows, transform.apply(part, drawn), part.image)
    rows = _rows(views, image)
    inside = image[rows]
    held = held_to_range(inside, valid[rows], background[rows], policy.highest)
    _put(image, rows, held, inside)


def _put(image: Tensor, rows: slice | Tensor, changed: Tensor, part: Tensor) -> None:
    if isinstance(rows, Tensor) or changed.data_ptr() != part.data_ptr():
        image[rows] = changed


def _rows(views: Sequence[_Drawn], image: Tensor) -> slice | Tensor:
    """Their rows; of one view as a slice, which is worked on in place, not copied."""
    rows = [view.row for view in views]
    if len(rows) == 1:
        return slice(rows[0], rows[0] + 1)
    return on_device(np.array(rows), image.device)
