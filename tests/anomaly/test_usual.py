"""Bins of smoothed intensity, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from medssl.anomaly.scan_error import Screened
from medssl.anomaly.usual import BINS, BinSums, Usual, bin_edges, smoothed


def scan(seed: int, shape: tuple[int, int, int] = (14, 15, 16)) -> tuple[Screened, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=shape), 2).astype(np.float32) * 30
    counted = rng.random(shape) < 0.8
    error = np.where(counted, np.abs(image) + rng.random(shape), 0).astype(np.float32)
    return Screened(image, counted, np.eye(4), shape), error


def test_means_and_deviations_are_those_of_pandas_groups() -> None:
    scans = [scan(seed) for seed in range(3)]
    edges = bin_edges(found for found, _ in scans)
    assert len(edges) == BINS - 1
    sums = [BinSums.of(found, error, edges) for found, error in scans]
    usual = Usual.of(edges, sums[0] + sums[1] + sums[2])
    bright = np.concatenate([smoothed(found)[found.counted] for found, _ in scans])
    frame = pd.DataFrame(
        {
            "bin": pd.cut(bright, [-np.inf, *edges, np.inf], right=False, labels=False),
            "error": np.concatenate([error[found.counted] for found, error in scans]),
        }
    )
    groups = frame.groupby("bin")["error"]
    np.testing.assert_allclose(usual.mean, groups.mean(), rtol=1e-5)
    np.testing.assert_allclose(usual.sd, groups.std(ddof=0), rtol=1e-4)
    shares = groups.size() / len(frame)
    assert shares.between(0.1, 0.15).all()

    z = np.concatenate([usual.deviations(found, error)[found.counted] for found, error in scans])
    by_bin = frame.assign(z=z).groupby("bin")["z"]
    np.testing.assert_allclose(by_bin.mean(), 0, atol=1e-3)
    np.testing.assert_allclose(by_bin.std(ddof=0), 1, atol=1e-3)
    found, error = scans[0]
    assert not usual.deviations(found, error)[~found.counted].any()


def test_an_empty_bin_takes_what_is_usual_everywhere() -> None:
    found, error = scan(0)
    usual = Usual.of([-1e6], BinSums.of(found, error, [-1e6]))
    assert usual.mean[0] == pytest.approx(error[found.counted].mean(), rel=1e-5)


def test_a_flat_scan_has_one_bin_fewer_than_it_has_values() -> None:
    flat = Screened(np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), bool), np.eye(4), (4, 4, 4))
    edges = bin_edges([flat])
    usual = Usual.of(edges, BinSums.of(flat, np.ones((4, 4, 4), np.float32), edges))
    assert np.isfinite(usual.deviations(flat, np.ones((4, 4, 4), np.float32))).all()
