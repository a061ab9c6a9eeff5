"""Policies run on a batch: by units, with the probabilities they state, scan by scan."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from medssl import kernels
from medssl.augment import policies
from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.intensity.cut_out import CutOut
from medssl.augment.policies import POLICIES, apply_steps, augment_intensities, draw_steps
from medssl.augment.rng import Stream, generator
from medssl.volume import Modality


def batch_of(names: list[str], background: float = -1.0) -> Batch:
    count = len(names)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((count, 2, 1, 10, 9, 8), generator=generator) * 1.8 - 0.9
    valid = torch.ones(count, 2, 1, 10, 9, 8, dtype=torch.bool)
    valid[..., :2] = False
    return {
        "image": torch.where(valid, image, background),
        "valid": valid,
        "background": torch.full((count,), background),
        "index": torch.arange(count),
        "policy": torch.tensor([MODALITIES.index(p) for p in names]),  # type: ignore[arg-type]
    }


def test_every_modality_has_a_policy() -> None:
    assert set(POLICIES) == set(MODALITIES)
    for policy in POLICIES.values():
        assert all(0 < p <= 0.5 for p, _ in policy.steps)


def test_a_sample_does_not_depend_on_its_company() -> None:
    together = augment_intensities(batch_of(["CT", "MR", "PT", "OT"] * 2), 3, 5, 1.0)["image"]
    whole = batch_of(["CT", "MR", "PT", "OT"] * 2)
    for row in range(8):
        alone = {k: v[row : row + 1] for k, v in whole.items()}
        assert torch.equal(augment_intensities(alone, 3, 5, 1.0)["image"][0], together[row])


@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("compiled", [True, False])
def test_views_changed_together_are_the_views_changed_alone(
    name: Modality, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together is how a GPU does it; array code on the CPU may then round otherwise."""
    batch = batch_of([name] * 16, background=0.0 if name == "PT" else -1.0)
    batch["image"] += 1.0 * (name == "PT")
    with contextlib.nullcontext() if compiled else kernels.disabled():
        alone = augment_intensities(batch, 3, 5, 1.5)["image"]
        monkeypatch.setattr(policies, "_one_by_one", lambda device: False)
        together = augment_intensities(batch, 3, 5, 1.5)["image"]
    assert not torch.equal(alone, batch["image"])
    if compiled and kernels.library() is not None:
        assert torch.equal(together, alone)
    else:
        # A rounded count is another where it rounds at a half.
        other = (together - alone).abs() > 1e-5
        assert other.float().mean() < 1e-3


def test_the_number_of_threads_changes_no_bit() -> None:
    batch = batch_of(["CT", "MR", "PT", "OT"] * 4)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = augment_intensities(batch, 1, 2, 1.0)["image"]
        torch.set_num_threads(3)
        assert torch.equal(augment_intensities(batch, 1, 2, 1.0)["image"], one)
    finally:
        torch.set_num_threads(threads)


def test_the_batch_given_is_left_alone_and_outside_stays_background() -> None:
    batch = batch_of(["MR"] * 30)
    before = batch["image"].clone()
    changed = augment_intensities(batch, 0, 0, 2.0)["image"]
    assert torch.equal(batch["image"], before)
    assert (changed[~batch["valid"]] == -1.0).all()
    assert (changed >= -1.0).all()
    assert not torch.equal(changed, before)


@pytest.mark.parametrize("name", ["CT", "MR", "PT", "OT"])
def test_steps_are_as_frequent_as_their_probabilities_say(name: str) -> None:
    policy = POLICIES[name]  # type: ignore[index]
    drawn = [draw_steps(policy, np.random.default_rng(seed), 1.0) for seed in range(600)]
    for probability, step in policy.steps:
        share = sum(any(one is step for one, _ in steps) for steps in drawn) / 600
        assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / 600)
    untouched = sum(not steps for steps in drawn) / 600
    expected = np.prod([1 - p for p, _ in policy.steps])
    assert abs(untouched - expected) < 4 * np.sqrt(expected * (1 - expected) / 600)


def test_what_a_contact_sheet_draws_is_what_the_view_got() -> None:
    batch = batch_of(["OT"] * 12)
    changed = augment_intensities(batch, 3, 5, 1.0)["image"]
    for row in range(12):
        for view in range(2):
            rng = generator(5, 3, row, Stream.INTENSITY + 16 * view)
            steps = draw_steps(POLICIES["OT"], rng, 1.0)
            image = batch["image"][row, view]
            alone = apply_steps(image, steps, -1.0, int(rng.integers(1 << 63))).clamp_min(-1)
            inside = batch["valid"][row, view]
            assert torch.equal(alone[inside], changed[row, view][inside])


def test_clipped_ranges_stay_clipped() -> None:
    ct = augment_intensities(batch_of(["CT"] * 40), 0, 0, 2.0)["image"]
    assert ct.max() <= 1.0
    uptake = batch_of(["PT"] * 40, background=0.0)
    uptake["image"] = uptake["image"].abs() * 5
    uptake["image"].clamp_max_(20**0.5)
    pet = augment_intensities(uptake, 0, 0, 2.0)["image"]
    assert pet.min() >= 0
    assert pet.max() <= 20**0.5 + 1e-6


def test_anatomy_survives_the_strongest_draws_where_it_is_not_cut_out() -> None:
    smooth = torch.linspace(-3, 3, 24)
    image = torch.sin(smooth)[:, None, None] * torch.cos(smooth)[None, :, None] * torch.ones(24)
    for name in ("CT", "MR", "PT", "OT"):
        background = 0.0 if name == "PT" else -1.0
        scene = (image + 1 if name == "PT" else image)[None]
        for seed in range(60):
            rng = np.random.default_rng(seed)
            drawn = draw_steps(POLICIES[name], rng, 1.0)  # type: ignore[index]
            steps = [step for step in drawn if not isinstance(step[0], CutOut)]
            changed = apply_steps(scene, steps, background, seed)
            pair = torch.stack([scene.flatten(), changed.flatten()])
            assert torch.corrcoef(pair)[0, 1] > 0.8, (name, seed)
