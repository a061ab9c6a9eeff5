"""The body of a patch is what a loop over its voxels finds, and of a place what counting finds."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl import kernels
from medssl.augment.body import body_of_patch, body_shown, draw_with_body
from medssl.augment.normalise import Normaliser
from medssl.augment.placement import Pose, compose_map, rotation_about
from medssl.augment.scan_info import ScanInfo
from medssl.store.body import BodyMask

EDGES = st.tuples(*[st.integers(1, 6)] * 3)


def scan_of(shape: Any, affine: Any) -> ScanInfo:
    box = tuple((0, n) for n in shape)
    return ScanInfo("0" * 32, shape, affine, box, "OT", Normaliser("OT", 0, 1, 0, 1))  # type: ignore[arg-type]


def mask_of(rng: np.random.Generator, shape: Any, edge: Any, share: float = 0.5) -> BodyMask:
    blocks = tuple(-(-n // e) for n, e in zip(shape, edge, strict=True))
    return BodyMask(rng.random(blocks) < share, edge)


def naive_body(mask: BodyMask, shape: Any, at: Any) -> tuple[bool, bool]:
    """Body at a stored coordinate, and whether rounding could say otherwise."""
    near = np.clip(np.floor(at + 0.5), 0, np.asarray(shape) - 1).astype(int)
    unsure = bool((np.abs(at + 0.5 - np.rint(at + 0.5)) < 1e-3).any())
    return bool(mask.blocks[tuple(near // np.asarray(mask.edge))]), unsure


@pytest.mark.parametrize("compiled", [True, False])
@settings(max_examples=30, deadline=None)
@given(EDGES, st.integers(0, 10_000), st.booleans())
def test_body_of_a_patch_is_a_naive_loop(
    compiled: bool, edge: Any, seed: int, is_moved: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 30, 3))
    mask = mask_of(rng, shape, edge, rng.choice([0.0, 0.1, 0.5, 1.0]))
    scan = scan_of(shape, np.diag([*rng.uniform(0.5, 4, 3), 1.0]))
    size = tuple(int(n) for n in rng.integers(1, 9, 3))
    angles = rng.uniform(-1, 1, 3) * rng.integers(0, 2)
    pose = Pose(rotation_about(angles), rng.uniform(0.7, 1.4), (True, False, True))
    centre = scan.centre_mm + rng.uniform(-6, 6, 3)
    matrix = compose_map(scan, size, rng.uniform(0.5, 4, 3), centre, pose)  # type: ignore[arg-type]
    moved = rng.uniform(-4, 4, (3, *size)).astype(np.float32) if is_moved else None
    with nullcontext() if compiled else kernels.disabled():
        found = body_of_patch(mask, matrix, size, moved)  # type: ignore[arg-type]
    assert found.shape == size
    assert found.dtype == bool
    for index in np.ndindex(size):
        at = matrix[:3, :3] @ index + matrix[:3, 3]
        if moved is not None:
            at = at + moved[(slice(None), *index)]
        expected, unsure = naive_body(mask, shape, at)
        assert found[index] == expected or unsure


def test_what_is_shown_is_a_count_of_voxels_however_the_scan_is_stored() -> None:
    rng = np.random.default_rng(2)
    body = rng.random((12, 9, 7)) < 0.4
    plain = np.diag([1.5, 2.0, 3.0, 1.0])
    extent, shift = np.array([7.0, 9.0, 8.0]), np.array([1.1, -2.3, 0.4])
    places = [
        np.abs((np.arange(n) - (n - 1) / 2) * s - c) <= e / 2
        for n, s, c, e in zip(body.shape, (1.5, 2, 3), shift, extent, strict=True)
    ]
    count = body[np.ix_(*places)].sum()
    expected = min(count / min(np.prod(extent / [1.5, 2, 3]), body.sum()), 1)
    assert 0.1 < expected < 0.9
    for order in permutations(range(3)):
        for flips in product((False, True), repeat=3):
            affine, values = plain[:, [*order, 3]], body.transpose(order)
            for axis in np.flatnonzero(flips):
                affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
                affine[:3, axis] *= -1
                values = np.flip(values, axis)
            scan = scan_of(values.shape, affine)
            mask = BodyMask(values, (1, 1, 1))
            assert body_shown(mask, scan, scan.centre_mm + shift, extent) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(EDGES, st.integers(0, 10_000))
def test_what_is_shown_is_right_to_the_blocks_on_the_surface(edge: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(6, 40, 3))
    scan = scan_of(shape, np.diag([*rng.uniform(0.5, 3, 3), 1.0]))
    mask = mask_of(rng, shape, edge)
    extent = rng.uniform(0.2, 1.3, 3) * shape * scan.spacing_mm
    shift = rng.uniform(-0.3, 0.3, 3) * shape * scan.spacing_mm
    inside = [
        np.abs((np.arange(n) - (n - 1) / 2) * s - c) <= e / 2
        for n, s, c, e in zip(shape, scan.spacing_mm, shift, extent, strict=True)
    ]
    whole = [np.arange(n) // e for n, e in zip(shape, edge, strict=True)]
    count = mask.blocks[np.ix_(*whole)][np.ix_(*inside)].sum()
    sides = extent / scan.spacing_mm
    volume = np.prod(sides)
    thicker = np.prod(sides + 2 * np.asarray(edge)) - volume
    most = min(volume, mask.number * np.prod(edge))
    shown = body_shown(mask, scan, scan.centre_mm + shift, extent)
    assert 0 <= shown <= 1
    assert abs(min(count / max(most, 1), 1) - shown) <= thicker / max(most, 1)


def test_all_and_none() -> None:
    scan = scan_of((20, 30, 40), np.diag([1.0, 2.0, 0.5, 1.0]))
    for extent in (np.full(3, 0.1), np.full(3, 8.0), np.full(3, 500.0)):
        assert body_shown(BodyMask.whole(scan.shape), scan, scan.centre_mm, extent) == 1
    none = BodyMask(np.zeros((5, 5, 5), dtype=bool), (4, 6, 8))
    assert body_shown(none, scan, scan.centre_mm, np.full(3, 8.0)) == 0


@given(st.lists(st.floats(0, 1), min_size=16, max_size=16))
def test_the_first_good_draw_is_taken_or_the_best_of_sixteen(shown: list[float]) -> None:
    numbers = iter(range(16))
    taken = draw_with_body(lambda: next(numbers), lambda n: shown[n])
    good = [n for n, amount in enumerate(shown) if amount >= 0.25]
    assert taken == (good[0] if good else int(np.argmax(shown)))
    assert next(numbers, 16) == taken + 1 or not good
