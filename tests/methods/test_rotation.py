from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from medssl.errors import ConfigError
from medssl.methods.config import RotationConfig
from medssl.methods.rotation import Rotation, turns_of
from medssl.models.config import SegResNetConfig, ViTConfig

VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
CNN = SegResNetConfig(init_filters=4, blocks_down=(1, 1))


def make(model=CNN, patch=(16, 16, 16)) -> Rotation:
    torch.manual_seed(0)
    return Rotation(RotationConfig(), model, 1, patch, seed=3)


def turned_by_matrix(voxels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each voxel goes where the matrix takes its place about the middle of the patch."""
    shape = np.array(voxels.shape)
    new_shape = np.abs(matrix) @ shape
    out = np.full(new_shape, np.nan)
    for place in itertools.product(*map(range, voxels.shape)):
        there = matrix @ (np.array(place) - (shape - 1) / 2) + (new_shape - 1) / 2
        out[tuple(there.round().astype(int))] = voxels[place]
    return out


def rotations() -> list[np.ndarray]:
    """Every product of quarter turns about two axes, until none is new."""
    about_0 = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    about_1 = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    found = [np.eye(3, dtype=int)]
    for matrix in found:
        for turn in (about_0, about_1):
            new = turn @ matrix
            if not any((new == known).all() for known in found):
                found.append(new)
    return found


def test_a_cube_has_the_24_rotations_that_quarter_turns_make():
    voxels = torch.randn(1, 3, 3, 3)
    ours = {tuple(turn(voxels).flatten().tolist()) for turn in turns_of((3, 3, 3))}
    cube = voxels[0].double().numpy()
    naive = {tuple(turned_by_matrix(cube, m).flatten().tolist()) for m in rotations()}
    assert ours == naive
    assert len(turns_of((3, 3, 3))) == len(ours) == 24


@pytest.mark.parametrize(("patch", "axis"), [((2, 3, 3), 0), ((3, 2, 3), 1), ((3, 3, 2), 2)])
def test_two_equal_sides_give_four_quarter_turns(patch, axis):
    voxels = torch.randn(2, *patch)
    ours = {tuple(turn(voxels).flatten().tolist()) for turn in turns_of(patch)}
    plane = [a + 1 for a in range(3) if a != axis]
    naive = {tuple(torch.rot90(voxels, k, plane).flatten().tolist()) for k in range(4)}
    assert ours == naive
    assert len(turns_of(patch)) == 4


@pytest.mark.parametrize("patch", [(3, 3, 3), (2, 3, 3)])
def test_the_first_turn_is_none(patch):
    voxels = torch.randn(1, *patch)
    assert torch.equal(turns_of(patch)[0](voxels), voxels)


def test_three_different_sides_are_refused_with_advice():
    with pytest.raises(ConfigError, match="16x20x24 voxels has no two equal sides"):
        make(patch=(16, 20, 24))


def body_batch(make_batch):
    """Samples that show body in parts, and one that shows none."""
    batch = make_batch(4, 1, 16)
    batch["background"] = torch.full((4,), -1.5)
    batch["body"] = batch["valid"].clone()
    batch["body"][0, 0, 0, :, :7] = False
    batch["body"][2] = False
    return batch


@pytest.mark.parametrize("model", [CNN, VIT])
def test_the_loss_is_a_naive_loop_over_samples_with_body(make_batch, model):
    method = make(model)
    batch = body_batch(make_batch)
    chosen = method.draw(batch["index"], 7)
    total, right = 0.0, 0
    for b in (0, 1, 3):
        patch = batch["image"][b, 0].clone()
        patch[~batch["body"][b, 0]] = -1.5
        with torch.no_grad():
            logits = method.head(method.encoder.embed(method.turns[chosen[b]](patch)[None]))[0]
        exponents = [math.exp(x) for x in logits.tolist()]
        total -= math.log(exponents[chosen[b]] / sum(exponents))
        right += exponents[chosen[b]] == max(exponents)
    out = method(batch, 7)
    assert out["loss"].item() == pytest.approx(total / 4, rel=1e-4)
    assert out["accuracy"].item() == pytest.approx(right / 3)
    assert not out["accuracy"].requires_grad


def test_what_lies_outside_the_body_does_not_reach_the_loss(make_batch):
    method = make()
    batch = body_batch(make_batch)
    first = method(batch, 0)["loss"].item()
    batch["image"][~batch["body"].expand_as(batch["image"])] = float("nan")
    assert method(batch, 0)["loss"].item() == first
    batch["image"][1] += 1
    assert method(batch, 0)["loss"].item() != first


def test_a_batch_without_body_has_no_loss_and_no_gradient(make_batch):
    method = make()
    batch = body_batch(make_batch)
    batch["body"][:] = False
    out = method(batch, 0)
    out["loss"].backward()
    assert out["loss"].item() == out["accuracy"].item() == 0
    assert all((p.grad == 0).all() for p in method.parameters())


def test_every_turn_is_drawn_about_as_often_as_any_other():
    method = make()
    drawn = torch.tensor([method.draw(torch.arange(48), step) for step in range(50)]).flatten()
    counts = torch.bincount(drawn, minlength=24)
    assert len(counts) == 24
    # 100 each are expected; chi-square with 23 degrees of freedom exceeds 49.7 once in a thousand.
    assert ((counts - 100).square() / 100).sum() < 49.7


def test_turns_follow_step_and_index_and_nothing_else():
    method = make()
    whole = method.draw(torch.arange(32), 5)
    assert method.draw(torch.arange(16, 32), 5) == whole[16:]
    assert method.draw(torch.arange(32), 6) != whole
    method.seed = 4
    assert method.draw(torch.arange(32), 5) != whole


def test_samples_on_two_ranks_average_to_one_rank(make_batch):
    method = make(VIT)
    batch = body_batch(make_batch)
    whole = method(batch, 2)["loss"]
    halves = [
        method({name: value[part] for name, value in batch.items()}, 2)["loss"]
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert torch.stack(halves).mean().item() == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("model", [CNN, VIT])
def test_every_parameter_is_trained_in_float32_and_bfloat16(make_batch, model):
    method = make(model)
    batch = make_batch(4, 1, 16)
    out = method(batch, 0)
    out["loss"].backward()
    assert [n for n, p in method.named_parameters() if p.grad is None] == []
    with torch.autocast("cpu", torch.bfloat16):
        coarse = method(batch, 0)["loss"]
    assert coarse.dtype == torch.float32
    assert coarse.item() == pytest.approx(out["loss"].item(), rel=0.05)


def test_turns_of_a_patch_that_is_not_a_cube_are_learned(make_batch):
    """Patches with two bright sides: after a few steps no turn is taken for another."""
    method = make(CNN, patch=(8, 16, 16))
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-2)
    image = torch.zeros(8, 1, 1, 8, 16, 16)
    image[..., :3, :] = 1.0
    image[..., :3] += 2.0
    batch = {
        "image": image + 0.05 * torch.randn(image.shape, generator=torch.manual_seed(1)),
        "valid": torch.ones(8, 1, 1, 8, 16, 16, dtype=torch.bool),
        "index": torch.arange(8),
    }
    accuracies = []
    for step in range(60):
        out = method(batch, step)
        optimiser.zero_grad()
        out["loss"].backward()
        optimiser.step()
        accuracies.append(out["accuracy"].item())
    assert sum(accuracies[-10:]) / 10 > 0.9
