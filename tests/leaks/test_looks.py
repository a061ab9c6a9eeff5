"""Perceptual hashes: distances to copies and mirror images, and the search against a loop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import ndimage

from medssl.leaks.looks import (
    MIRRORS,
    Limits,
    bits_apart,
    hash_words,
    natural_limits,
    near_looks,
)
from medssl.leaks.nearest import Natural
from medssl.store.describe import perceptual_hash
from medssl.volume import Volume

AXES = {"left-right": 0, "front-back": 1, "head-feet": 2}


def looks(voxels: npt.NDArray[np.floating], spacing_mm: float = 1.0) -> str:
    return perceptual_hash(
        Volume(voxels.astype(np.float32), np.diag([spacing_mm] * 3 + [1.0]), "MR")
    )


def smooth(seed: int, shape: tuple[int, int, int] = (40, 44, 36)) -> npt.NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(100 + 500 * ndimage.gaussian_filter(noise, 4))


def bits(hash_: str) -> npt.NDArray[np.bool_]:
    return np.array([digit == "1" for digit in f"{int(hash_, 16):0256b}"])


def mirrored(hash_: str, mirror: str) -> npt.NDArray[np.bool_]:
    """What a hash's bits become, one coefficient at a time."""
    turned = bits(hash_)
    for number in range(256):
        place = np.unravel_index(number + 1, (8, 8, 8))
        odd = sum(place[AXES[axis]] % 2 for axis in mirror.split(", ") if axis)
        turned[number] ^= bool(odd % 2)
    return turned


def words(*hashes: str) -> npt.NDArray[np.uint32]:
    return hash_words(pd.Series(hashes))[0]


def test_distances_equal_a_count_bit_by_bit() -> None:
    a, b = looks(smooth(1)), looks(smooth(2))
    found = bits_apart(words(a), words(b))[0]
    for mirror, distance in zip(MIRRORS, found, strict=True):
        assert distance == np.count_nonzero(bits(a) != mirrored(b, mirror)), mirror


@pytest.mark.parametrize("mirror", MIRRORS)
def test_a_mirrored_scan_is_near_in_its_own_column(mirror: str) -> None:
    scan = smooth(3)
    axes = [AXES[axis] for axis in mirror.split(", ") if axis]
    distances = bits_apart(words(looks(scan)), words(looks(np.flip(scan, axes))))[0]
    assert MIRRORS[int(distances.argmin())] == mirror
    assert distances.min() <= 12
    assert np.delete(distances, distances.argmin()).min() > 60


def test_copies_are_nearer_than_patients() -> None:
    scan = smooth(4)
    low, high = scan.min(), scan.max()
    copies = {
        "scaled": looks(1.7 * scan + 20),
        "brighter": looks(((scan - low) / (high - low)) ** 1.2),
        "coarser": looks(ndimage.zoom(scan, 0.5, order=1, grid_mode=True, mode="nearest"), 2.0),
        "finer": looks(ndimage.zoom(scan, 1.4, order=1, grid_mode=True, mode="nearest"), 1 / 1.4),
        "a voxel less": looks(scan[1:, 1:, 1:]),
        "noisy": looks(scan + np.random.default_rng(0).normal(size=scan.shape)),
    }
    theirs = words(*copies.values())
    distances = bits_apart(np.repeat(words(looks(scan)), len(copies), axis=0), theirs)[:, 0]
    others = words(*(looks(smooth(n)) for n in range(100, 130)))
    apart = bits_apart(np.repeat(words(looks(scan)), len(others), axis=0), others)
    assert distances.max() <= 40
    assert distances.max() < apart.min()


def test_what_is_no_hash_is_told_apart() -> None:
    good = looks(smooth(5))
    numbers, there = hash_words(pd.Series([good, "", "0" * 64, "f" * 64, "ab", good.upper()]))
    assert there.tolist() == [True, False, False, False, False, False]
    assert numbers.shape == (6, 8)


def test_the_search_finds_what_a_loop_finds() -> None:
    rng = np.random.default_rng(6)
    a = rng.integers(0, 2**32, (700, 8), dtype=np.uint32)
    b = rng.integers(0, 2**32, (1500, 8), dtype=np.uint32)
    for n in range(40):  # planted: near as they are, and near when mirrored
        b[1000 + n] = a[n * 17] ^ np.uint32(1 << n % 32)
        b[1200 + n] = a[n * 17 + 1] ^ np.where([bin(g & (n % 8)).count("1") % 2 for g in range(8)],
                                               np.uint32(0xFFFFFFFF), np.uint32(0))  # fmt: skip
    patient_a, patient_b = rng.integers(0, 300, 700), rng.integers(0, 300, 1500)
    # Thresholds at which random pairs are found too.
    limits = Limits(Natural(97.0, 0.0, 10_000), Natural(92.0, 0.0, 10_000))
    upright, turned = near_looks(
        a, b, limits, lambda i, j: patient_a[i] != patient_b[j], most=100_000
    )
    every = bits_apart(np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1)))
    others = (patient_a[:, None] != patient_b[None, :]).ravel()
    near = others & (every[:, 0] < 97)
    flipped = others & ~near & (every[:, 1:].min(axis=1) < 92)
    assert (near.sum(), flipped.sum()) == (upright.found, turned.found)
    assert min(upright.found, turned.found) > 50
    for found, truth, distance in (
        (upright, near, every[:, 0]),
        (turned, flipped, every[:, 1:].min(axis=1)),
    ):
        i, j, bits_found = found.pairs()
        assert set(zip(i.tolist(), j.tolist(), strict=True)) == {
            divmod(int(k), len(b)) for k in np.flatnonzero(truth)
        }
        np.testing.assert_array_equal(bits_found, distance[i * len(b) + j])


def test_few_patients_leave_a_fixed_number_of_bits() -> None:
    numbers = words(*(looks(smooth(n)) for n in range(5)))
    limits = natural_limits(numbers, np.array([0, 1, 2]), np.array([1, 2, 3]))
    assert limits.upright.pairs == 3
    assert limits.upright_bits == limits.mirrored_bits == 24
