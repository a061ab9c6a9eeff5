from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from medssl.augment.placement import rotation_about
from medssl.methods.dense import (
    average_cells,
    centred,
    dense_alignment,
    dense_deviation,
    features_here,
    features_there,
    match_cells,
)
from medssl.methods.representation import feature_deviation

SIZE = (12, 8, 10)


def two_views(samples: int) -> dict[str, torch.Tensor]:
    """Views turned, scaled, flipped and moved against each other, partly outside the body."""
    generator = torch.Generator().manual_seed(5)
    maps = torch.eye(4).repeat(samples, 2, 1, 1)
    for sample, view in itertools.product(range(samples), range(2)):
        angles, scale, move = torch.rand(3, 3, generator=generator)
        turn = torch.from_numpy(rotation_about((angles.numpy() - 0.5) * 0.8)).float()
        flips = torch.tensor([1.0, -1.0 if view else 1.0, 1.0])
        linear = turn @ torch.diag((0.8 + 0.4 * scale) * flips)
        centre = (torch.tensor(SIZE) - 1) / 2
        maps[sample, view, :3, :3] = linear
        maps[sample, view, :3, 3] = 6 * move - linear @ centre
    body = torch.zeros(samples, 2, 1, *SIZE, dtype=torch.bool)
    body[..., 3:, :, :7] = True
    body[-1] = False
    valid = torch.ones_like(body)
    return {"map": maps, "body": body, "valid": valid}


def place_in_other_view(batch, sample: int, view: int, point: list[float]) -> list[float]:
    """Where a point of one view lies in the other, by the maps alone."""
    of, to = batch["map"][sample, view].double(), batch["map"][sample, 1 - view].double()
    stored = of @ torch.tensor([*point, 1.0]).double()
    there: list[float] = (torch.linalg.inv(to) @ stored)[:3].tolist()
    return there


def test_cells_are_counted_as_a_loop_over_their_voxels_says():
    batch = two_views(4)
    matches = match_cells(batch, (4, 4, 5))
    assert matches.cells == (4, 4, 5)
    found = matches.counted.reshape(4, 2, 4, 4, 5)
    for sample, view in itertools.product(range(4), range(2)):
        for i, j, k in itertools.product(range(4), range(4), range(5)):
            voxels = batch["body"][sample, view, 0, 3 * i : 3 * i + 3]
            voxels = voxels[:, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
            point = [3 * i + 1.0, 2 * j + 0.5, 2 * k + 0.5]
            there = place_in_other_view(batch, sample, view, point)
            both = all(-0.5 <= x <= n - 0.5 for x, n in zip(there, SIZE, strict=True))
            expected = both and 2 * int(voxels.sum()) >= voxels.numel()
            assert bool(found[sample, view, i, j, k]) == expected
    assert 0.1 < found[:3].float().mean() < 0.6
    assert not found[3].any()


def test_without_a_body_the_scan_is_what_counts():
    batch = two_views(2)
    body = batch.pop("body")
    everywhere = match_cells(batch, (4, 4, 5)).counted
    batch["valid"] = body
    within = match_cells(batch, (4, 4, 5)).counted
    assert (within <= everywhere).all()
    assert within.sum() < everywhere.sum()


def test_there_are_no_more_than_seven_cells_an_axis_and_no_more_than_features():
    assert match_cells(two_views(1), (12, 7, 3)).cells == (7, 7, 3)


def test_features_that_are_coordinates_meet_at_the_same_place():
    """Each crop's features say where in the stored scan they are; both then say the same."""
    batch = two_views(3)
    batch["body"][:] = True
    lines = (torch.arange(n, dtype=torch.float32) for n in SIZE)
    voxel = torch.stack([*torch.meshgrid(*lines, indexing="ij"), torch.ones(SIZE)])
    stored = torch.einsum("bvij,jdhw->bvidhw", batch["map"], voxel)[:, :, :3].flatten(0, 1)
    matches = match_cells(batch, (4, 4, 5))
    here, there = features_here(stored, matches), features_there(stored, matches)
    places = matches.places.flatten(1, 3)
    inner = (places.abs() * torch.tensor(SIZE[::-1]) <= torch.tensor(SIZE[::-1]) - 1).all(dim=2)
    compared = matches.counted & inner
    assert compared.sum() > 50
    assert torch.allclose(here[compared], there[compared], atol=1e-3)


def test_alignment_is_a_loop_over_counted_cells():
    predicted, target = torch.randn(2, 4, 9, 6, dtype=torch.float64)
    counted = torch.rand(4, 9) < 0.5
    counted[2] = False
    total = 0.0
    for n in range(4):
        apart = []
        for m in range(9):
            if counted[n, m]:
                a, b = predicted[n, m].tolist(), target[n, m].tolist()
                dot = sum(x * y for x, y in zip(a, b, strict=True))
                apart.append(2 - 2 * dot / math.hypot(*a) / math.hypot(*b))
        total += sum(apart) / len(apart) if apart else 0.0
    assert dense_alignment(predicted, target, counted).item() == pytest.approx(total / 4)
    parts = [dense_alignment(predicted[i], target[i], counted[i]) for i in ([0, 1], [2, 3])]
    assert torch.stack(parts).mean().item() == pytest.approx(total / 4)


def test_agreement_on_what_all_places_share_is_worth_nothing():
    """A teacher that says nearly the same everywhere is not agreed with by saying it too."""
    shared = torch.randn(6, dtype=torch.float64)
    own = 1e-3 * torch.randn(2, 50, 6, dtype=torch.float64)
    counted = torch.ones(2, 50, dtype=torch.bool)
    counted[1, 7:] = False
    constant = shared.expand(2, 50, 6)
    assert dense_alignment(constant, shared + own, counted) < 1e-4
    target = centred(shared + own, counted)
    assert target[0].mean(dim=0).abs().max() < 1e-12
    assert target[1, :7].mean(dim=0).abs().max() < 1e-12
    assert dense_alignment(constant, target, counted) > 1
    assert dense_alignment(target, target, counted).item() == pytest.approx(0.0, abs=1e-9)


def test_deviation_is_that_of_the_counted_cells():
    features = torch.randn(4, 9, 6)
    counted = torch.rand(4, 9) < 0.5
    expected = feature_deviation(features[counted])
    assert dense_deviation(features, counted).item() == pytest.approx(expected.item(), rel=1e-5)
    same = torch.ones(4, 9, 6)
    assert dense_deviation(same, counted).item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(dense_deviation(features, torch.zeros_like(counted)))


@given(st.integers(1, 13), st.integers(1, 7))
def test_cells_of_a_line_average_it_as_an_integral_does(length, cells):
    line = torch.rand(length)
    cells = min(cells, length)
    found = average_cells(line.reshape(1, 1, length, 1, 1), (cells, 1, 1)).flatten()
    fine = line.repeat_interleave(cells).reshape(cells, length)  # each voxel in `cells` pieces
    assert torch.allclose(found, fine.mean(dim=1), atol=1e-6)


def test_where_cells_divide_the_voxels_they_pool():
    maps = torch.randn(2, 3, 8, 6, 10)
    pooled = F.adaptive_avg_pool3d(maps, (4, 3, 5))
    assert torch.allclose(average_cells(maps, (4, 3, 5)), pooled, atol=1e-6)
