"""Policies run on a batch: by units, with the probabilities they state, scan by scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.intensity.cut_out import CutOut
from medssl.augment.policies import POLICIES, apply_steps, augment_intensities, draw_steps
from medssl.augment.rng import Stream, generator


def batch_of(policies: list[str], background: float = -1.0) -> Batch:
    count = len(policies)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((count, 2, 1, 10, 9, 8), generator=generator) * 1.8 - 0.9
    valid = torch.ones(count, 2, 1, 10, 9, 8, dtype=torch.bool)
    valid[..., :2] = False
    return {
        "image": torch.where(valid, image, background),
        "valid": valid,
        "background": torch.full((count,), background),
        "index": torch.arange(count),
        "policy": torch.tensor([MODALITIES.index(p) for p in policies]),  # type: ignore[arg-type]
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
