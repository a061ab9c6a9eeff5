"""Patches lie on the foreground; two views share what they are asked to."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.augment.crops import draw_centre, draw_two_centres
from medssl.augment.normalise import Normaliser
from medssl.augment.scan_info import ScanInfo
from medssl.store.body import BodyMask

SIZES = st.tuples(*[st.integers(1, 120)] * 3)
AFFINES = [
    np.diag([1.0, 1.0, 1.0, 1.0]),
    np.array([[0, -0.8, 0, 9], [0, 0, 2.0, -4], [-1.5, 0, 0, 7], [0, 0, 0, 1.0]]),
]


def scan_of(shape: tuple[int, int, int], foreground: Any, affine: Any) -> ScanInfo:
    normaliser = Normaliser("OT", 0, 1, 0, 1)
    return ScanInfo("0" * 32, shape, np.asarray(affine), foreground, "OT", normaliser)


@st.composite
def scans(draw: st.DrawFn) -> ScanInfo:
    shape = draw(SIZES)
    box = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        box.append((start, draw(st.integers(start + 1, n))))
    return scan_of(shape, tuple(box), draw(st.sampled_from(AFFINES)))


@settings(max_examples=200)
@given(scans(), SIZES, st.integers(0, 1000))
def test_a_patch_lies_on_the_foreground_and_in_the_scan(
    scan: ScanInfo, size: tuple[int, int, int], seed: int
) -> None:
    extent = np.asarray(size, dtype=float)
    centre = draw_centre(np.random.default_rng(seed), scan, extent)
    middle = scan.frame.T @ (centre - scan.centre_mm)
    low, high = middle - extent / 2, middle + extent / 2
    scan_half = np.asarray(scan.frame_shape) * scan.spacing_mm / 2
    start, stop = scan.foreground_mm()
    for axis in range(3):
        if extent[axis] <= 2 * scan_half[axis]:
            assert low[axis] >= -scan_half[axis] - 1e-6
            assert high[axis] <= scan_half[axis] + 1e-6
            if extent[axis] <= stop[axis] - start[axis]:
                assert low[axis] >= start[axis] - 1e-6
                assert high[axis] <= stop[axis] + 1e-6
            else:
                assert low[axis] <= start[axis] + 1e-6
                assert high[axis] >= stop[axis] - 1e-6
        else:
            assert abs(middle[axis]) <= 0.1 * extent[axis] + 1e-6
            assert low[axis] <= -scan_half[axis] + 1e-6, "the whole scan is in the patch"
            assert high[axis] >= scan_half[axis] - 1e-6


@settings(max_examples=200)
@given(
    scans(),
    SIZES,
    st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(lambda ends: (min(ends), max(ends))),
    st.integers(0, 1000),
)
def test_views_share_what_is_asked_or_more_where_the_scan_is_small(
    scan: ScanInfo, size: tuple[int, int, int], overlap: tuple[float, float], seed: int
) -> None:
    extent = np.asarray(size, dtype=float)
    one, other = draw_two_centres(np.random.default_rng(seed), scan, extent, overlap)
    apart = np.abs(scan.frame.T @ (one - other))
    shared = float(np.prod(np.maximum(1 - apart / extent, 0)))
    assert shared >= overlap[0] - 1e-6
    start, stop = scan.foreground_mm()
    if (stop - start >= 2 * extent).all():
        assert shared <= overlap[1] + 1e-6
    for centre in (one, other):
        middle = np.abs(scan.frame.T @ (centre - scan.centre_mm))
        half = np.asarray(scan.frame_shape) * scan.spacing_mm / 2
        assert (middle <= np.maximum(half - extent / 2, 0.1 * extent) + 1e-6).all()
        at = scan.frame.T @ (centre - scan.centre_mm)
        seen = np.minimum(at + extent / 2, stop) - np.maximum(at - extent / 2, start)
        assert (seen >= np.minimum(extent, stop - start) * 2 / 3 - 1e-6).all()


def test_shares_fill_the_range_and_views_move_along_every_axis() -> None:
    scan = scan_of((200, 200, 200), ((0, 200),) * 3, np.eye(4))
    extent = np.full(3, 50.0)
    pairs = [
        draw_two_centres(np.random.default_rng(seed), scan, extent, (0.4, 0.8))
        for seed in range(400)
    ]
    apart = np.array([one - other for one, other in pairs])
    shared = np.prod(1 - np.abs(apart) / 50, axis=1)
    assert shared.min() < 0.42
    assert shared.max() > 0.78
    assert (np.abs(apart).mean(axis=0) > 3).all()
    assert (np.abs((apart > 0).mean(axis=0) - 0.5) < 0.1).all(), "either view may be the left one"
    centres = np.array([centre for pair in pairs for centre in pair])
    assert centres.min() < 30
    assert centres.max() > 170


def test_a_nodule_in_an_empty_scan_stays_whole_in_views_as_large_as_the_scan() -> None:
    scan = scan_of((64, 64, 10), ((20, 44), (18, 40), (1, 9)), np.eye(4))
    for seed in range(50):
        pair = draw_two_centres(np.random.default_rng(seed), scan, np.full(3, 64.0), (0.4, 0.8))
        for centre in pair:
            assert (centre - 32 <= np.array([20, 18, 1]) - 0.5).all()
            assert (centre + 32 >= np.array([44, 40, 9]) - 0.5).all()


def two_arms_and_a_thorax() -> tuple[ScanInfo, BodyMask]:
    """400 x 300 x 400 mm of air with a narrow thorax and two arms apart, in blocks of 5 mm."""
    x, y = np.meshgrid(np.arange(80) * 5 - 197.5, np.arange(60) * 5 - 147.5, indexing="ij")
    plane = x**2 / 80**2 + y**2 / 60**2 < 1
    for side in (-1, 1):
        plane |= (x - side * 170) ** 2 + (y - 100) ** 2 < 25**2
    blocks = np.repeat(plane[:, :, None], 80, axis=2)
    box = tuple((int(n.min()) * 5, int(n.max()) * 5 + 5) for n in np.nonzero(blocks))
    return scan_of((400, 300, 400), box, np.eye(4)), BodyMask(blocks, (5, 5, 5))


def air(scan: ScanInfo, body: BodyMask, centre: Any, extent: Any) -> float:
    """Share of a patch's blocks, counted one by one, that are no body."""
    ranges = [
        np.arange(int(np.ceil((c - e / 2) / 5)), int(np.floor((c + e / 2) / 5)))
        for c, e in zip(centre, extent, strict=True)
    ]
    return 1 - float(np.mean([body.blocks[i, j, k] for i, j, k in product(*ranges)]))


@pytest.mark.parametrize("side", [40.0, 64.0, 96.0])
def test_patches_of_mostly_air_are_not_drawn(side: float) -> None:
    scan, body = two_arms_and_a_thorax()
    extent = np.full(3, side)
    shares = []
    for mask in (None, body):
        single = [draw_centre(np.random.default_rng(s), scan, extent, mask) for s in range(150)]
        pairs = [
            draw_two_centres(np.random.default_rng(s), scan, extent, (0.4, 0.8), mask)
            for s in range(150)
        ]
        for centres in (single, [centre for pair in pairs for centre in pair]):
            mostly = [air(scan, body, centre, extent) > 0.8 for centre in centres]
            shares.append(np.mean(mostly))
    assert min(shares[:2]) > 0.15, "what is drawn without a mask"
    assert max(shares[2:]) <= 0.01


@settings(max_examples=100)
@given(scans(), SIZES, st.integers(0, 1000), st.floats(0.01, 1), st.booleans())
def test_with_a_body_a_place_is_one_that_is_drawn_without(
    scan: ScanInfo, size: tuple[int, int, int], seed: int, share: float, pair: bool
) -> None:
    """So all that holds of places without a mask holds with one, and the whole changes nothing."""
    rng, extent = np.random.default_rng(seed), np.asarray(size, dtype=float)
    blocks = np.random.default_rng(seed).random([-(-n // 4) for n in scan.shape]) < share
    sparse = BodyMask(blocks, (4, 4, 4))

    def draw(rng: np.random.Generator, body: BodyMask | None) -> Any:
        if pair:
            return draw_two_centres(rng, scan, extent, (0.4, 0.8), body)
        return draw_centre(rng, scan, extent, body)

    plain = [draw(rng, None) for _ in range(16)]
    taken = draw(np.random.default_rng(seed), sparse)
    assert any(np.array_equal(taken, other) for other in plain)
    np.testing.assert_array_equal(draw(np.random.default_rng(seed), sparse), taken)
    whole = BodyMask.whole(scan.shape)
    np.testing.assert_array_equal(draw(np.random.default_rng(seed), whole), plain[0])


def test_a_patch_larger_than_the_body_is_taken_at_once() -> None:
    scan = scan_of((100, 100, 100), ((45, 55),) * 3, np.eye(4))
    blocks = np.zeros((20, 20, 20), dtype=bool)
    blocks[9:11, 9:11, 9:11] = True
    for seed in range(20):
        first = draw_centre(np.random.default_rng(seed), scan, np.full(3, 80.0))
        body = BodyMask(blocks, (5, 5, 5))
        again = draw_centre(np.random.default_rng(seed), scan, np.full(3, 80.0), body)
        np.testing.assert_array_equal(first, again)
