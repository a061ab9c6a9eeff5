"""The polynomials in place of exp2 and log2 keep the errors that they state."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from medssl import kernels
from medssl.augment.intensity.compiled import run
from medssl.kernels.build import library_paths

best = kernels.library()
pytestmark = pytest.mark.skipif(best is None, reason="the loops were not compiled here")


@pytest.fixture(params=range(3), ids=lambda level: f"level {level}")
def loops(request: pytest.FixtureRequest) -> ctypes.CDLL:
    """The build for each generation of processors, as far as this one goes."""
    paths = library_paths()
    if best is None or request.param > min(best.medssl_level(), len(paths) - 1):
        pytest.skip("this processor does not run that build")
    return ctypes.CDLL(str(paths[request.param]))


def test_exp2_over_its_range(loops: ctypes.CDLL) -> None:
    x = np.linspace(-126, 126, 500_001).astype(np.float32)
    y = x.copy()
    run(loops, "exp2", y, y.size)
    assert np.abs(y / np.exp2(x.astype(float)) - 1).max() < 2e-7
    outside = np.array([-np.inf, -1000, 1000, np.inf], dtype=np.float32)
    run(loops, "exp2", outside, 4)
    np.testing.assert_array_equal(outside, np.float32([2.0**-126] * 2 + [2.0**126] * 2))


def test_log2_over_its_range(loops: ctypes.CDLL) -> None:
    x = np.concatenate([np.geomspace(2e-38, 3e38, 300_001), np.linspace(0.5, 2, 300_001)])
    x = x.astype(np.float32)
    y = x.copy()
    run(loops, "log2", y, y.size)
    exact = np.log2(x.astype(float))
    assert (np.abs(y - exact) / np.maximum(np.abs(exact), 1)).max() < 2e-7
    near_one = np.abs(x - 1) < 0.2
    assert np.abs(y - exact)[near_one & (exact != 0)].max() < 1e-7


def test_noise_is_the_same_up_to_rounding_for_every_processor(loops: ctypes.CDLL) -> None:
    assert best is not None
    fields = np.empty((2, 5000), dtype=np.float32)
    for library, field in zip((loops, best), fields, strict=True):
        run(library, "normal", field, field.size, 5)
    np.testing.assert_allclose(fields[0], fields[1], rtol=1e-5, atol=1e-6)


def test_matrices_along_an_axis_for_every_processor(loops: ctypes.CDLL) -> None:
    rng = np.random.default_rng(0)
    for size, rest in ((5, 3), (16, 64), (37, 70)):
        matrix = rng.normal(size=(size, size)).astype(np.float32)
        image = rng.normal(size=(2, size, rest)).astype(np.float32)
        expected = matrix.astype(float) @ image
        scratch, ranges = np.empty(size * 64, np.float32), np.array([[0, size]] * size, np.int32)
        run(loops, "along", image, 2, size, rest, matrix, ranges, scratch)
        np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-4)
